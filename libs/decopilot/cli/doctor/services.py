"""Checks of the services: is anybody there, does the work get done, may each do what it must."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from decopilot.cli.doctor.findings import Finding, fault, note, ok
from decopilot.cli.doctor.patient import Patient
from decopilot.cli.health import probe
from decopilot.cli.reaching import UnreachableError, violations
from decopilot.contracts import subjects
from decopilot.kit.settings import Settings
from decopilot.log.drift import wanted_consumers
from decopilot.log.permissions import OPERATOR, SERVICES
from decopilot.log.running import LOOKS, PAUSE_S, WORKED_OFF_BY
from decopilot.log.store import Stored

_MATTERS = {
    subjects.RUNNER_CONSUMER: "Runs wait, and end as undeliverable after DECOPILOT_START_LIMIT_S.",
    subjects.TITLER_CONSUMER: "New threads keep the first words of their message as their title.",
    subjects.REACTOR_CONSUMER: "Views and watch events are behind the log: lists and histories are old.",
    subjects.JANITOR_CONSUMER: "Nobody ends what died, starts what is queued, or purges what has ended.",
    subjects.SWEEPER_CONSUMER: "Files that nobody will ask for stay.",
}
_READS = ("$JS.API.STREAM.INFO.", "$JS.API.CONSUMER.INFO.", "$JS.API.STREAM.MSG.GET.", "$JS.API.DIRECT.GET.")
_OPTIONAL = {subjects.TITLER_CONSUMER}
"""Titles may be switched off: nobody works them off then."""


async def check_services(patient: Patient) -> AsyncIterator[Finding]:
    """Look at who is there, and at what they may do."""
    for process in patient.broker.processes:
        if process.service != "nats" and (reason := await probe(process.health_url)) is not None:
            what = f"{process.service}#{process.index} is not ready: {reason}."
            remedy = (
                f"Read its lines in the terminal of `decopilot up`; it is restarted when it ends (kill {process.pid})."
            )
            yield fault("services", "not_ready", what, "It does none of its work.", remedy)
    yield await _command(patient)
    now = await patient.broker_now()
    for finding in await asyncio.gather(*(_worked_off(patient, s, str(c.name), now) for s, c in wanted_consumers())):
        if finding is not None:
            yield finding
    async for finding in _permitted(patient):
        yield finding


async def _command(patient: Patient) -> Finding:
    try:
        # Refused for its form, so that nothing comes of it but an answer.
        await patient.client.request(subjects.command("send_message"), b"", timeout=5)
    except NoRespondersError:
        what, why = "Nobody answers requests: no `command` is there.", "Every POST is 503; attached viewers see on."
        return fault("services", "command_missing", what, why, "decopilot command  (with command's user and password)")
    except (NatsError, TimeoutError):
        what, why = "`command` does not answer within 5 s.", "POSTs are 503 after their deadline."
        return fault(
            "services", "command_silent", what, why, "Start more copies of it, and look at its log: decopilot command"
        )
    return ok("services", "command", "`command` answers.")


async def _worked_off(patient: Patient, stream: str, name: str, now: datetime | None) -> Finding | None:
    service = WORKED_OFF_BY[name]
    info: dict[str, Any] = {}
    waits = 0
    for look in range(LOOKS):
        info = await patient.consumer(stream, name)
        if "error" in info:
            return None  # its topology's business
        waits = int(info.get("num_waiting", 0))
        if waits:
            break
        await asyncio.sleep(PAUSE_S if look < LOOKS - 1 else 0)
    pending = int(info.get("num_pending", 0))
    oldest = await _oldest(patient, stream, info) if pending else None
    age_s = (
        0.0 if oldest is None or oldest.stored_at is None or now is None else (now - oldest.stored_at).total_seconds()
    )
    backlog = f"{pending} wait to be handed out, the oldest for {age_s:.0f} s" if pending else "nothing waits"
    again = f"; {info['num_redelivered']} were handed out again" if info.get("num_redelivered") else ""
    if waits and age_s <= patient.late_s:
        return ok("services", "worked_off", f"{name} is worked off ({backlog}{again}).")
    remedy = f"decopilot {service}  (with the user and password of {service}; any number of copies)"
    if not waits and name in _OPTIONAL:
        return note("services", "nobody_pulls", f"Nobody works off {name}: {backlog}{again}.", _MATTERS[name], remedy)
    if not waits and (age_s > patient.late_s or not info.get("num_ack_pending")):
        what = f"Nobody works off {name}: {backlog}{again}."
        return fault("services", "nobody_pulls", what, _MATTERS[name], remedy)
    if age_s > patient.late_s:
        return fault(
            "services", "behind", f"{name} is behind: {backlog}{again}.", _MATTERS[name], f"One more: {remedy}"
        )
    return note("services", "busy", f"Whoever works off {name} is busy, or gone: {backlog}{again}.", "", remedy)


async def _oldest(patient: Patient, stream: str, info: dict[str, Any]) -> Stored | None:
    """Read the first message that was never handed out."""
    config = info["config"]
    after = int(info.get("delivered", {}).get("stream_seq", 0))
    found: list[Stored] = []
    for filter_ in config.get("filter_subjects") or [config.get("filter_subject") or ">"]:
        async for batch in patient.store.read(stream, filter_, after, count=1):
            found += batch
            break
    return min(found, key=lambda stored: stored.sequence, default=None)


async def _permitted(patient: Patient) -> AsyncIterator[Finding]:
    renew = "Write it anew and reload: decopilot nats-config DIR, nats-server --signal reload."
    if not patient.broker.passwords:
        yield note(
            "services", "permissions", "The services' users were not tried: name their secrets by --secrets DIR."
        )
    for user, password in patient.broker.passwords.items():
        told = patient.settings.model_dump() | {
            "nats_user": user,
            "nats_password": password,
            "nats_password_file": None,
        }
        allowed = SERVICES[user]
        reads = [subject for subject in allowed.publish if subject.startswith(_READS)]
        # The last one is the operator's alone.
        foreign = f"{subjects.inbox(OPERATOR)}.doctor"
        try:
            refused = await violations(Settings.model_validate(told), reads, [*allowed.subscribe, foreign])
        except UnreachableError as error:
            what, why = f"User {user!r} is not let in: {error.text}", f"No {user} can work."
            remedy = f"Give {user} the password that the server has ({user}.env), or {renew}"
            yield fault("services", "password", what, why, remedy)
            continue
        heard = {subject.split(" ")[0].lower() for subject in allowed.subscribe}
        lacking = sorted(({s.lower() for s in reads} & refused[0]) | (heard & refused[1]))
        if lacking:
            what = f"User {user!r} may not: {', '.join(lacking)}."
            why = f"The server's configuration is older than this version: {user} is not ready, or answers 503."
            yield fault("services", "permission_missing", what, why, renew)
        if foreign.lower() not in refused[1]:
            what = f"User {user!r} may hear what is the operator's alone."
            why = "Whoever has the password of one service reads and writes everything (ADR 0039)."
            yield fault("services", "permission_broad", what, why, renew)
        elif not lacking:
            yield ok("services", "permissions", f"User {user!r} is let in, and may read what it must and no more.")
