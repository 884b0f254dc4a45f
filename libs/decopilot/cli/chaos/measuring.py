"""Measuring: how long what a fault held up took to go on, how long viewers got nothing, how much was written when."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from decopilot.cli.chaos.evidence import Evidence, Limits
from decopilot.cli.chaos.judging_runs import MARGIN_S, cancelled_at, driver_of, hits_on, lasts_s
from decopilot.cli.chaos.outcome import UNDISTURBED, Progress, Recovery, Silence, since_s
from decopilot.cli.chaos.sabotage import Hit
from decopilot.cli.chaos.truth import RunTruth, ThreadTruth, position_of
from decopilot.cli.chaos.viewers import Viewer

SILENCE_S = 0.25
"""A shorter silence is none."""
STRETCHES = 400
"""Into so many stretches progress is cut at most."""
CUTTING = {"gateway", "viewers"}
"""Faults of these break the connections of viewers."""
STEADY = "/steady"
"""So ends the name of a viewer that never leaves by itself."""


def recoveries(evidence: Evidence, began: datetime) -> Iterator[Recovery]:
    """Measure every recovery, as `promises` says what it is for each promise."""
    for thread in evidence.threads.values():
        for run in thread.runs.values():
            yield from _resumed(run, evidence.hits, began)
            yield from _cancelled(thread, run, evidence.hits, began)
            yield from _ended_late(thread, run, evidence.hits, evidence.limits, began)
    for viewer in _steady(evidence):
        yield from _attached_again(viewer, evidence.hits, began)


def _resumed(run: RunTruth, hits: Sequence[Hit], began: datetime) -> Iterator[Recovery]:
    for before, after in pairwise(run.starts):
        blows = [
            hit
            for hit in hits
            if hit.began < after.at
            and hit.ended > before.at
            and (hit.fault.service == "nats" or hit.pid == driver_of(before))
        ]
        frames = [frame for frame in run.frames if frame.attempt >= after.attempt and frame.stored_at is not None]
        if blows and frames and frames[0].stored_at is not None:
            blow = max(blows, key=lambda hit: hit.began)
            # A blow to the broker may have been over before the attempt that it is counted against began.
            since = max(blow.began, before.at)
            yield _recovery("RESUME", blow.kind, since, frames[0].stored_at, began)


def _cancelled(thread: ThreadTruth, run: RunTruth, hits: Sequence[Hit], began: datetime) -> Iterator[Recovery]:
    asked_at = cancelled_at(thread, run)
    if asked_at is None or run.request is None or not run.ends:
        return
    since = max(asked_at, run.request.at)
    kind = _newest(hit for hit in hits_on(run, hits) if hit.ended > since)
    yield _recovery("CANCEL", kind, since, run.ends[0].at, began)


def _ended_late(
    thread: ThreadTruth, run: RunTruth, hits: Sequence[Hit], limits: Limits, began: datetime
) -> Iterator[Recovery]:
    found = list(hits_on(run, hits))
    if run.request is None or not run.ends or not found or cancelled_at(thread, run) is not None:
        return
    took_s = (run.ends[0].at - run.request.at).total_seconds()
    late_s = max(0.0, took_s - (lasts_s(run.text, limits) - MARGIN_S))
    at_s = since_s(began, max(min(hit.began for hit in found), run.request.at))
    yield Recovery(promise="ONE-END", kind=_newest(found), at_s=at_s, seconds=round(late_s, 3))


def _attached_again(viewer: Viewer, hits: Sequence[Hit], began: datetime) -> Iterator[Recovery]:
    for before, after in pairwise(viewer.stream.connections):
        if before.broke is not None:
            since = datetime.fromtimestamp(before.broke, UTC)
            kind = _newest(hit for hit in hits if hit.fault.service in CUTTING and hit.began <= since)
            yield _recovery("NO-GAP", kind, since, datetime.fromtimestamp(after.began, UTC), began)


def _newest(hits: Iterable[Hit]) -> str:
    """Name the kind of the fault that struck last."""
    newest = max(hits, key=lambda hit: hit.began, default=None)
    return UNDISTURBED if newest is None else newest.kind


def _recovery(promise: str, kind: str, since: datetime, until: datetime, began: datetime) -> Recovery:
    seconds = max(0.0, since_s(since, until))
    return Recovery(promise=promise, kind=kind, at_s=since_s(began, since), seconds=seconds)


def silences(evidence: Evidence, began: datetime) -> Iterator[Silence]:
    """Measure how long steady viewers got nothing of what was stored already."""
    for viewer in _steady(evidence):
        frames = evidence.threads[viewer.thread].by_sequence
        for connection in viewer.stream.connections:
            before = connection.began
            for event in connection.events:
                frame = frames.get(position_of(event.id)[0])
                if frame is not None and frame.stored_at is not None:
                    waited_s = event.at - max(before, frame.stored_at.timestamp())
                    if waited_s >= SILENCE_S:
                        at_s = since_s(began, datetime.fromtimestamp(event.at, UTC))
                        yield Silence(viewer=viewer.name, at_s=at_s, seconds=round(waited_s, 3))
                before = event.at


def progress(evidence: Evidence, began: datetime, seconds: float) -> Iterator[Progress]:
    """Count the chunks that were stored, by seconds or longer stretches."""
    stretch_s = max(1, -(-int(seconds) // STRETCHES))
    counts: Counter[int] = Counter()
    for thread in evidence.threads.values():
        for frame in thread.frames:
            if frame.stored_at is not None:
                counts[int(since_s(began, frame.stored_at) // stretch_s)] += len(frame.lines)
    for number in range(max(counts, default=-1) + 1):
        yield Progress(at_s=number * stretch_s, chunks=counts[number])


def _steady(evidence: Evidence) -> Iterator[Viewer]:
    return (viewer for viewer in evidence.viewers if viewer.name.endswith(STEADY))
