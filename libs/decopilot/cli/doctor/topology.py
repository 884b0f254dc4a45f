"""Checks of the topology: all of it is there, as `provision` would make it, on every replica."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from nats.js.api import ConsumerInfo, StreamConfig

from decopilot.cli.doctor.findings import Finding, fault, ok
from decopilot.cli.doctor.patient import Patient
from decopilot.contracts import subjects
from decopilot.log.drift import consumer_differences, stream_differences, wanted_consumers, wanted_streams
from decopilot.log.topology import Sizes

SILENT_NS = 5_000_000_000
"""A replica says something every second; the broker calls it offline much later, if at all (2.15.1)."""
_NOT_FOUND = 404
_STREAMS_HOLD = {
    subjects.EVENTS_STREAM: "It is the only truth. If it was deleted, restore a backup (docs/backup.md) first",
    subjects.CHUNKS_STREAM: "Chunks of runs that go on are in it: viewers see nothing, runners can't write",
    subjects.WATCH_STREAM: "Lists and badges follow it: they stand still",
    subjects.COUNTS_STREAM: "Limits of messages a minute are not kept without it",
    subjects.PLACES_STREAM: "Limits of runs at once are not kept without it",
    subjects.BLOBS_STREAM: "Files and large outputs are in it; if it was deleted, only a backup has them",
}


async def check_topology(patient: Patient) -> AsyncIterator[Finding]:
    """Look at every stream and every consumer."""
    sizes = Sizes(replicas=await _replicas(patient))
    provision = (
        "decopilot provision" if sizes.replicas == 1 else f"DECOPILOT_REPLICAS={sizes.replicas} decopilot provision"
    )
    missing: set[str] = set()
    replicated: dict[_Copies, list[str]] = {}
    for wanted in wanted_streams(sizes):
        info = await patient.stream(str(wanted.name))
        if "error" in info:
            missing.add(str(wanted.name))
        else:
            copies = _copies(info.get("cluster") or {}, sizes.replicas)
            replicated.setdefault(copies, []).append(str(wanted.name))
        for finding in _stream(wanted, info, provision):
            yield finding
    for finding in _replicated(replicated, sizes.replicas):
        yield finding
    async for finding in _mirrored(patient):
        yield finding
    for stream, consumer in wanted_consumers():
        if stream in missing:
            continue  # said already
        info = await patient.consumer(stream, str(consumer.name))
        name = f"{consumer.name} on {stream}"
        if "error" in info:
            yield fault(
                "topology",
                "consumer_missing",
                f"Consumer {name} is not there: {info['error'].get('description')}.",
                "Nobody is handed what it would hand out: that work stands still.",
                f"{provision}  (then restart the service that works it off)",
            )
            continue
        differing = consumer_differences(consumer, ConsumerInfo.from_response(info).config)
        if differing:
            what = f"Consumer {name} is not as it is made: {'; '.join(map(str, differing))}."
            why = "Work is handed out twice, too late, or not at all."
            yield fault("topology", "consumer_changed", what, why, provision)
        else:
            yield ok("topology", "consumer", f"Consumer {name} is as it is made.")


async def _mirrored(patient: Patient) -> AsyncIterator[Finding]:
    """Find mirrors that answer for a stream of ours: they hold what was purged, and lack what was just written."""
    ours = {str(wanted.name) for wanted in wanted_streams(Sizes())}
    async for info in patient.streams():
        config = info["config"]
        mirrored = config.get("mirror") or {}
        if mirrored.get("name") in ours and not mirrored.get("external") and config.get("mirror_direct"):
            yield fault(
                "topology",
                "mirror",
                f"{config['name']} is a mirror of {mirrored['name']} in the same account.",
                "It answers reads in its place: readers are told of what is gone, or find holes.",
                f"nats stream rm {config['name']}  (copy with `sources`, or into another account: docs/nats.md)",
            )


async def _replicas(patient: Patient) -> int:
    """Take what is said to `provision`, else what the event log has."""
    if "replicas" in patient.settings.model_fields_set:
        return patient.settings.replicas
    info = await patient.stream(subjects.EVENTS_STREAM)
    return int(info.get("config", {}).get("num_replicas", 1))


def _stream(wanted: StreamConfig, info: dict[str, Any], provision: str) -> Iterator[Finding]:
    name = str(wanted.name)
    if "error" in info:
        yield _not_there(name, info["error"], provision)
        return
    found = StreamConfig.from_response(dict(info["config"]))
    differing = stream_differences(wanted, found)
    if differing:
        yield fault(
            "topology",
            "stream_changed",
            f"{name} is not as it is made: {'; '.join(map(str, differing))}.",
            "The log relies on it: what is kept, for how long, and who hears of it.",
            provision,
        )
    else:
        yield ok("topology", "stream", f"{name} is as it is made.")


def _not_there(name: str, error: dict[str, Any], provision: str) -> Finding:
    if error.get("code") == _NOT_FOUND:
        holds = _STREAMS_HOLD.get(name, "Views are in it: lists and histories are empty until they are rebuilt")
        remedy = f"{provision}  (and, for a bucket of views, decopilot rebuild-views)"
        return fault("topology", "stream_missing", f"{name} is not there.", f"{holds}.", remedy)
    why = "A stream without a leader neither takes nor tells anything."
    remedy = "Start the nodes that are away: most of its replicas must be there (nats server report jetstream)."
    return fault("topology", "stream_silent", f"{name} does not answer: {error.get('description')}.", why, remedy)


@dataclass(frozen=True, slots=True)
class _Copies:
    """Replicas of one stream that are not there, and those that are behind."""

    lost: tuple[str, ...]
    behind: tuple[str, ...]
    lacking: int


def _copies(cluster: dict[str, Any], replicas: int) -> _Copies:
    peers = cluster.get("replicas") or []
    away = [peer for peer in peers if not peer.get("current")]
    lost = tuple(sorted(peer["name"] for peer in away if peer.get("offline") or peer.get("active", 0) > SILENT_NS))
    behind = tuple(sorted(peer["name"] for peer in away if peer["name"] not in lost))
    return _Copies(lost, behind, max(0, replicas - 1 - len(peers)))


def _replicated(found: dict[_Copies, list[str]], replicas: int) -> Iterator[Finding]:
    """Tell streams together that lack the same: a node that is lost is one fault, not one a stream."""
    for copies, names in found.items():
        streams = ", ".join(names)
        if copies.lost or copies.lacking:
            whom = f"{', '.join(copies.lost)} is away" if copies.lost else f"{copies.lacking} were never made"
            why = "With one more away they may take nothing any more."
            remedy = (
                "Start that node again; if it is gone for good: nats server cluster peer-remove NAME, and add another."
            )
            yield fault("topology", "replica_lost", f"Of {replicas} replicas, {whom}: {streams}.", why, remedy)
        elif copies.behind:
            why = "It may serve reads that are old, and can't take over."
            remedy = "Wait, and look again; if it stays so: look at that node's disk and log."
            what = f"{', '.join(copies.behind)} is behind: {streams}."
            yield fault("topology", "replica_behind", what, why, remedy)
        elif replicas > 1:
            yield ok("topology", "replicas", f"All {replicas} replicas are current: {streams}.")
