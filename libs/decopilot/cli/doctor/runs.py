"""Checks of the runs: those that stand still, threads whose views are behind, chunks that should be gone."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime

from decopilot.cli.doctor.findings import Finding, fault, ok
from decopilot.cli.doctor.patient import Patient
from decopilot.contracts import subjects
from decopilot.contracts.events import TERMINAL_TYPES, UnknownEventError
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.domain.thread import ThreadState
from decopilot.kit.holding import SETTLED_S, Gaps, may_be_held
from decopilot.log.chunklog import ChunkLog, frame_of
from decopilot.log.journal import CORRELATION, Journal
from decopilot.log.views import Views

FOUND_MAX = 10
"""So many of a kind are named; the rest are counted."""
UNSEEN_MAX = 200
FRAMES_LOOKED_AT = 20_000
PURGE_LATEST_S = 900.0
"""A run's end, the longest wait for a slow viewer, and some."""
_REACTOR = "decopilot reactor  (it ends, promotes and purges within seconds; --late tells how long that may take)"

Place = tuple[OrgId, ThreadId]


async def check_runs(patient: Patient) -> AsyncIterator[Finding]:
    """Look at every run that has not ended, and at the oldest chunks."""
    now = await patient.broker_now()
    if now is None:
        return
    found: dict[str, list[Finding]] = {}
    looked_at = 0
    async for org, thread in _unfinished(patient):
        looked_at += 1
        async for finding in _thread(patient, org, thread, now):
            found.setdefault(finding.check, []).append(finding)
    async for finding in _unpurged(patient, now):
        found.setdefault(finding.check, []).append(finding)
    for check, findings in found.items():
        for finding in findings[:FOUND_MAX]:
            yield finding
        if len(findings) > FOUND_MAX:
            first, more = findings[0], len(findings) - FOUND_MAX
            yield fault("runs", check, f"{more} more like these.", first.why, first.remedy)
    if not found:
        yield ok("runs", "runs", f"No run stands still ({looked_at} threads have work that is not done).")


async def _unfinished(patient: Patient) -> AsyncIterator[Place]:
    """Yield every thread with a run that has not ended, or whose view may be behind.

    The janitor keeps the item of a run until it has ended: what is behind all that it has done is where to begin.
    """
    info = await patient.consumer(subjects.EVENTS_STREAM, subjects.JANITOR_CONSUMER)
    after = int(info.get("ack_floor", {}).get("stream_seq", 0))
    going: dict[str, Place] = {}
    for kind in ("run_requested", "run_queued"):
        async for batch in patient.store.read(subjects.EVENTS_STREAM, subjects.events_of_type(kind), after):
            for stored in batch:
                org, thread, _ = subjects.owner_of(stored.subject)
                going[stored.headers.get(CORRELATION, stored.subject)] = (org, thread)
    for kind in (*TERMINAL_TYPES, "run_withdrawn"):
        async for batch in patient.store.read(subjects.EVENTS_STREAM, subjects.events_of_type(kind), after):
            for stored in batch:
                going.pop(stored.headers.get(CORRELATION, ""), None)
    places = dict.fromkeys(going.values())
    async for place in _unseen(patient):
        places.setdefault(place)
    for place in places:
        yield place


async def _unseen(patient: Patient) -> AsyncIterator[Place]:
    """Yield the first threads with an event that the reactor has not done with: their views may be behind."""
    info = await patient.consumer(subjects.EVENTS_STREAM, subjects.REACTOR_CONSUMER)
    after = int(info.get("ack_floor", {}).get("stream_seq", 0))
    seen: set[Place] = set()
    async with aclosing(patient.store.read(subjects.EVENTS_STREAM, f"{subjects.EVENT_PREFIX}.>", after)) as batches:
        async for batch in batches:
            for stored in batch:
                place = subjects.owner_of(stored.subject)[:2]
                if place not in seen:
                    seen.add(place)
                    yield place
                if len(seen) >= UNSEEN_MAX:
                    return


async def _thread(patient: Patient, org: OrgId, thread: ThreadId, now: datetime) -> AsyncIterator[Finding]:
    views = Views(patient.store)
    journal = Journal(patient.store, views)
    look = f"decopilot events {thread} --org {org}"
    try:
        loaded = await journal.load(org, thread)
    except UnknownEventError as error:
        why = "An older version stops there: whoever wrote it is newer."
        yield fault(
            "runs",
            "event_unknown",
            f"Thread {org}/{thread}: {error}.",
            why,
            "Update every service to the newest version.",
        )
        return
    last = await patient.store.get(subjects.EVENTS_STREAM, loaded.sequence)
    quiet_s = 0.0 if last is None or last.stored_at is None else (now - last.stored_at).total_seconds()
    view = await views.snapshot(org, thread)
    if (view is None or view.sequence < loaded.sequence) and quiet_s > patient.late_s:
        what = f"The view of thread {org}/{thread} is behind its log by {quiet_s:.0f} s."
        why = "Lists and histories show it as it was."
        yield fault("runs", "view_behind", what, why, "decopilot reactor  (if one runs: decopilot rebuild-views)")
    if loaded.state.may_promote and quiet_s > patient.late_s:
        queued = len(loaded.state.queue)
        what = f"In thread {org}/{thread}, {queued} queued messages wait for nothing, for {quiet_s:.0f} s."
        yield fault("runs", "queue_stuck", what, "Nobody starts what is next.", f"{_REACTOR}; look: {look}")
    async for finding in _active(patient, (org, thread), loaded.state, quiet_s, now):
        yield finding


async def _active(
    patient: Patient, place: Place, state: ThreadState, quiet_s: float, now: datetime
) -> AsyncIterator[Finding]:
    if state.active is None:
        return
    org, thread = place
    run = state.active.run_id
    name, look = f"Run {run} of thread {org}/{thread}", f"decopilot events {thread} --org {org}"
    frame = await ChunkLog(patient.store).last_of_run(org, thread, run)
    frame_s = quiet_s if frame is None or frame.stored_at is None else (now - frame.stored_at).total_seconds()
    silent_s = min(quiet_s, frame_s)
    if silent_s <= patient.late_s:
        return
    if frame is not None and frame.outcome is not None:
        what = f"{name} was sealed {frame_s:.0f} s ago, and has no terminal event."
        yield fault(
            "runs",
            "run_sealed",
            what,
            "Its viewers saw the end, its thread does not know it.",
            f"{_REACTOR}; look: {look}",
        )
    elif state.active.attempt == 0:
        what = f"{name} was asked for {quiet_s:.0f} s ago, and nobody has started it."
        yield fault("runs", "run_not_started", what, "It ends as undeliverable.", f"decopilot runner; look: {look}")
    elif not await may_be_held(patient.client, Gaps(ago_s=2 * SETTLED_S), org, run):
        what = f"{name} (attempt {state.active.attempt}) is silent for {silent_s:.0f} s, and no runner drives it."
        why = "Another runner would take it up within seconds; without one it ends as crashed or timed_out."
        yield fault("runs", "run_undriven", what, why, f"decopilot runner; look: {look}")


async def _unpurged(patient: Patient, now: datetime) -> AsyncIterator[Finding]:
    """Look at the oldest frames: of a run that ended long ago, the closing one is left, and no other."""
    seen: dict[str, bool] = {}
    looked_at = 0
    chunks = ChunkLog(patient.store)
    read = patient.store.read(subjects.CHUNKS_STREAM, f"{subjects.CHUNK_PREFIX}.>", 0)
    async with aclosing(read) as batches:
        async for batch in batches:
            for stored in batch:
                looked_at += 1
                old = stored.stored_at is not None and (now - stored.stored_at).total_seconds() > PURGE_LATEST_S
                if not old or looked_at > FRAMES_LOOKED_AT:
                    return
                frame = frame_of(stored)
                if frame.outcome is not None or stored.subject in seen:
                    continue
                last = await chunks.last_of_run(frame.org, frame.thread, frame.run)
                ended_s = 0.0 if last is None or last.stored_at is None else (now - last.stored_at).total_seconds()
                seen[stored.subject] = last is not None and last.outcome is not None and ended_s > PURGE_LATEST_S
                if seen[stored.subject]:
                    name = f"Run {frame.run} of thread {frame.org}/{frame.thread}"
                    what = f"{name} ended {ended_s:.0f} s ago; its chunks are still there."
                    yield fault(
                        "runs", "chunks_unpurged", what, "The chunk log fills up, until new runs are refused.", _REACTOR
                    )
