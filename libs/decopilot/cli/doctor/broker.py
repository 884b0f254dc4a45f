"""Checks of the broker itself: version, JetStream, sizes, room, how it writes to disk."""

from collections.abc import AsyncIterator
from typing import Any

from decopilot.cli.broker import MAX_PAYLOAD_BYTES
from decopilot.cli.doctor.findings import Finding, fault, note, ok
from decopilot.cli.doctor.patient import Patient
from decopilot.contracts import subjects
from decopilot.kit.connection import SERVER_FLOOR
from decopilot.log.capacity import NEARLY_FULL

MIB = 1 << 20
SMALLEST_PAYLOAD_BYTES = MIB
"""NATS's default: less holds no message of a usual size."""
_CONFIGURE = "decopilot nats-config nats, then nats-server --signal reload"


async def check_broker(patient: Patient) -> AsyncIterator[Finding]:
    """Look at the server; a fault of `jetstream` means that nothing else can be looked at."""
    yield _version(patient)
    yield _payload(patient)
    account = await patient.ask("INFO")
    if "error" in account:
        yield fault(
            "broker",
            "jetstream",
            f"JetStream does not answer: {account['error'].get('description')}.",
            "Everything that is true stands in its streams: no message is taken, no run goes on.",
            "Give nats.conf a jetstream block (`decopilot nats-config nats` writes one) and restart nats-server.",
        )
        return
    yield ok("broker", "jetstream", "JetStream answers.")
    server = await patient.monitor("jsz")
    yield _room(account, server)
    yield await _syncing(patient, server)
    yield await _chunks(patient)


def _version(patient: Patient) -> Finding:
    version = patient.client.connected_server_version
    told = f"{version.major}.{version.minor}.{version.patch}"
    floor = ".".join(map(str, SERVER_FLOOR))
    if (version.major, version.minor) >= SERVER_FLOOR:
        return ok("broker", "version", f"nats-server {told}.")
    why = "Older servers silently ignore guards and options of streams: two writers would both win."
    return fault("broker", "version", f"nats-server {told} is too old.", why, f"Update it to {floor} or newer.")


def _payload(patient: Patient) -> Finding:
    size = patient.client.max_payload
    what = f"Messages may have {_bytes(size)}."
    if size >= MAX_PAYLOAD_BYTES:
        return ok("broker", "max_payload", what)
    why = f"Ours are made for {_bytes(MAX_PAYLOAD_BYTES)}: long threads, files and answers are refused earlier."
    remedy = f"Set max_payload: {MAX_PAYLOAD_BYTES} in nats.conf ({_CONFIGURE}), and restart the services."
    tell = fault if size < SMALLEST_PAYLOAD_BYTES else note
    return tell("broker", "max_payload", what, why, remedy)


def _room(account: dict[str, Any], server: dict[str, Any] | None) -> Finding:
    used, limit = account.get("storage", 0), account.get("limits", {}).get("max_storage", -1)
    if limit <= 0 and server is not None:
        used, limit = server.get("storage", 0), server.get("config", {}).get("max_storage", -1)
    if limit <= 0:
        return ok(
            "broker", "store", f"{_bytes(used)} are stored; no limit is known here (--monitor tells the server's)."
        )
    what = f"{_bytes(used)} of {_bytes(limit)} are stored."
    if used <= NEARLY_FULL * limit:
        return ok("broker", "store", what)
    why = "A full store refuses everything: messages are 503, runs that go on wait for room."
    return fault(
        "broker", "store", what, why, "Raise jetstream { max_file_store } in nats.conf, or add disk; restart NATS."
    )


async def _syncing(patient: Patient, server: dict[str, Any] | None) -> Finding:
    if server is None:
        return note("broker", "sync", "How it writes to disk is not known here: name its monitoring by --monitor.")
    config = server.get("config", {})
    if config.get("sync_always"):
        return ok("broker", "sync", "What is acknowledged is on the disk (sync_interval: always).")
    what = f"The disk is written to every {config.get('sync_interval', 0) / 1e9:g} s, not before each acknowledgement."
    copies = (await patient.stream(subjects.EVENTS_STREAM)).get("config", {}).get("num_replicas", 1)
    if copies > 1:
        why = (
            "A power cut of all nodes takes back what was acknowledged since; one of a single node may (docs/nats.md)."
        )
        return note(
            "broker", "sync", what, why, "Set jetstream { sync_interval: always }, or keep nodes in other zones."
        )
    why = (
        "A power cut takes back messages that were accepted and answers that were seen; viewers then miss what is new."
    )
    return fault("broker", "sync", what, why, "Set jetstream { sync_interval: always } in nats.conf, and restart NATS.")


async def _chunks(patient: Patient) -> Finding:
    info = await patient.stream(subjects.CHUNKS_STREAM)
    limit, used = info.get("config", {}).get("max_bytes", -1), info.get("state", {}).get("bytes", 0)
    what = f"The chunk log has {_bytes(used)}" + (f" of {_bytes(limit)}." if limit > 0 else ".")
    if limit <= 0 or used <= NEARLY_FULL * limit:
        return ok("broker", "chunks_full", what)
    why = "Above 80 % new runs are refused (503 storage_full); when it is full, those that go on wait."
    remedy = (
        "See under `runs` whether chunks stay that should be gone (start a reactor: decopilot reactor); else raise "
        f"it: nats stream edit {subjects.CHUNKS_STREAM} --max-bytes SIZE."
    )
    return fault("broker", "chunks_full", what, why, remedy)


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:  # noqa: PLR2004  a unit
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.4g} TiB"
