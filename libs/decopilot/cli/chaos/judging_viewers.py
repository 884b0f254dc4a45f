"""Judging viewers: what each was given, compared with what is stored."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from decopilot.cli.chaos.evidence import Evidence
from decopilot.cli.chaos.judging_threads import shown_messages
from decopilot.cli.chaos.ledger import Snapshot
from decopilot.cli.chaos.truth import Position, ThreadTruth, position_of
from decopilot.cli.chaos.verdict import Verdict
from decopilot.cli.chaos.viewers import Event, Viewer
from decopilot.contracts.chunks import RESET, RUN, RUN_REWIND, THREAD_DELETED
from decopilot.contracts.ids import RunId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.fold import Fold, FoldError
from decopilot.domain.thread import INITIAL, evolve

_RESET = RESET.encode()
SOON = timedelta(seconds=0.5)
"""Clocks of one machine, and the time between a thing and its being noted."""


@dataclass(slots=True)
class Stretch:
    """What a viewer got between two resets; `start` is None where it asked for what is present."""

    start: Position | None
    events: list[Event] = field(default_factory=list)
    reset: Event | None = None
    """What ended it."""

    @property
    def positions(self) -> list[Position]:
        """Where what came stands."""
        return [position_of(event.id) for event in self.events]


def stretches(viewer: Viewer) -> list[Stretch]:
    """Cut what a viewer got at its resets."""
    began = viewer.start or viewer.stream.stood
    found = [Stretch(None if began is None else position_of(began))]
    for connection in viewer.stream.connections:
        for event in connection.events:
            if _RESET in event.data and json.loads(event.data)["type"] == RESET:
                found[-1].reset = event
                found.append(Stretch(position_of(event.id)))
            else:
                found[-1].events.append(event)
    return found


def judge_viewers(evidence: Evidence, verdict: Verdict) -> None:
    """Judge every viewer."""
    for viewer in evidence.viewers:
        thread = evidence.threads[viewer.thread]
        for refusal in viewer.stream.refusals:
            verdict.check("NO-GAP", holds=False, text=f"{viewer.name}: {refusal}")
        found = stretches(viewer)
        for stretch in found:
            _stretch(viewer, thread, stretch, verdict, is_last=stretch is found[-1])
        _erased(viewer, thread, verdict)
        for pair in pairwise(found):
            _reset(viewer, thread, pair, evidence.limits.purge_grace_s, verdict)
        _answers(viewer, thread, found, verdict)
    for snapshot in evidence.ledger.snapshots:
        _snapshot(evidence.threads[snapshot.thread], snapshot, verdict)
    for (name, cursor), events in evidence.first_after.items():
        is_reset = bool(events) and json.loads(events[0].data)["type"] == RESET
        verdict.check("HONEST-CURSOR", is_reset, f"{name} from {cursor}, which is purged, begins with {events[:1]}")


def _stretch(viewer: Viewer, thread: ThreadTruth, stretch: Stretch, verdict: Verdict, *, is_last: bool) -> None:
    positions = stretch.positions
    got = set(positions)
    verdict.check("NO-DUP", len(got) == len(positions), f"{viewer.name}: {_first_repeated(positions)} came twice")
    in_order = [stretch.start, *positions] if stretch.start is not None else positions
    wrong = next(((a, b) for a, b in pairwise(in_order) if a >= b), None)
    verdict.check("ORDER", wrong is None, f"{viewer.name}: {wrong} in this order")
    for event, position in zip(stretch.events, positions, strict=True):
        line = thread.by_position.get(position)
        is_stored = line is not None and line.body == event.data
        verdict.check("PERSIST-FIRST", is_stored, f"{viewer.name}: {event} is not stored so: {line}")
    start = stretch.start
    if positions and viewer.start is None and start in {None, _stood(viewer)}:
        first = json.loads(stretch.events[0].data)["type"]
        verdict.check("NO-GAP", first in {"start", THREAD_DELETED}, f"{viewer.name} began with {stretch.events[0]}")
    if start is None:
        if not positions:
            return
        start = (positions[0][0], positions[0][1] - 1)
    end = positions[-1] if positions else start
    missed = [line.position for line in thread.behind(start, end) if not line.is_void and line.position not in got]
    verdict.check("NO-GAP", not missed, f"{viewer.name}: of {len(positions)} up to {end} it misses {missed[:5]}")
    if is_last and thread.tip is not None:
        what = f"{viewer.name} is at {end} of {thread.tip}"
        verdict.check("NO-GAP", end >= thread.tip, what)


def _stood(viewer: Viewer) -> Position | None:
    return None if viewer.stream.stood is None else position_of(viewer.stream.stood)


def _first_repeated(positions: list[Position]) -> Position | None:
    seen = set[Position]()
    for position in positions:
        if position in seen:
            return position
        seen.add(position)
    return None


def _reset(
    viewer: Viewer, thread: ThreadTruth, pair: tuple[Stretch, Stretch], grace_s: float, verdict: Verdict
) -> None:
    """A reset has a reason: what is void and can't be taken back, or what is purged."""
    before, to = pair[0], pair[1].start
    if before.reset is None or to is None:
        return
    data = json.loads(before.reset.data)["data"]
    position = before.positions[-1] if before.events else before.start
    what = f"{viewer.name} was reset at {position}: {data}"
    if data["reason"] == "rewind":
        frame = None if position is None else thread.by_sequence.get(position[0])
        verdict.check("HONEST-CURSOR", not viewer.rewind and frame is not None, what)
        if frame is not None and position is not None:
            index, void = frame.index + position[1], thread.voids.get(frame.run, ())
            verdict.check("HONEST-CURSOR", any(a <= index <= b for a, b in void), f"{what}, where nothing is void")
            begins = thread.position_before(frame.run)
            is_before = begins is None or to == (begins.sequence, begins.index)
            verdict.check("HONEST-CURSOR", is_before, f"{what}, not before {frame.run} at {begins}")
        return
    if position is None:
        return
    verdict.check("NO-DUP", to >= position, f"{what}: back to {to}")
    leads_on = bool(before.events) or to != before.start
    verdict.check("HONEST-CURSOR", leads_on, f"{what}: again, where it was reset to before")
    lost = position if data["reason"] == "cursor" else _next(thread, position)
    verdict.check("HONEST-CURSOR", lost[0] not in thread.stored, f"{what}, and nothing is gone of {lost}")
    frame = thread.by_sequence.get(lost[0])
    if frame is None or thread.deleted_at is not None or not thread.runs[frame.run].ends:
        return
    # Who comes back within the grace is served.
    at = datetime.fromtimestamp(before.reset.at, UTC)
    kept_until = thread.runs[frame.run].ends[0].at + timedelta(seconds=grace_s)
    verdict.check("HONEST-CURSOR", at + SOON >= kept_until, f"{what}, at {at}, before {kept_until}")


def _next(thread: ThreadTruth, position: Position) -> Position:
    """Tell what follows on a position; of what was stored and erased before anybody read it, there is only the gap."""
    behind = thread.behind(position)
    if not behind:
        return (0, 0)
    following = behind[0].position
    frame = thread.by_sequence[following[0]]
    follows = frame.sequence == position[0] or frame.previous <= position[0]
    return following if follows else (frame.previous, 0)


def _erased(viewer: Viewer, thread: ThreadTruth, verdict: Verdict) -> None:
    """Who asks once a thread is erased gets nothing that it held."""
    markers = [frame.stored_at for run in thread.runs.values() for frame in run.markers if frame.stored_at]
    if not markers:
        return
    erased_at = max(markers) + SOON
    for connection in viewer.stream.connections:
        if datetime.fromtimestamp(connection.asked, UTC) > erased_at:
            kinds = {json.loads(event.data)["type"] for event in connection.events}
            what = f"{viewer.name} came with {connection.cursor} when all was erased, and got {sorted(kinds)}"
            verdict.check("DELETE", kinds <= {RESET, THREAD_DELETED}, what)


def _answers(viewer: Viewer, thread: ThreadTruth, found: list[Stretch], verdict: Verdict) -> None:
    """What a viewer holds of each run at its end is what the run ended with."""
    if thread.deleted_at is not None:
        return
    promise = "NO-GAP" if viewer.rewind else "NO-DUP"
    for stretch in found:
        try:
            for run, message in _folded(stretch, takes_rewinds=viewer.rewind):
                known = thread.runs.get(run)
                what = f"{viewer.name} got {run}, of which the log knows nothing: {sorted(thread.runs)}"
                if not verdict.check("PERSIST-FIRST", known is not None, what) or known is None:
                    continue
                ends = known.ends
                expected = ends[0].message if ends else None
                is_same = not message.parts if expected is None else message == expected
                verdict.check(promise, is_same, f"{viewer.name} holds of {run}\n{message}\nnot\n{expected}")
        except FoldError as error:
            verdict.check(promise, holds=False, text=f"{viewer.name} got what no client takes: {error}")


def _folded(stretch: Stretch, *, takes_rewinds: bool) -> Iterator[tuple[RunId, UIMessage]]:
    """Fold as clients do: each run begins at its `start`; a rewind within it is for those who declared it."""
    growing: Fold | None = None
    run, is_opening = RunId(""), False
    for event in stretch.events:
        chunk = json.loads(event.data)
        kind = chunk["type"]
        if kind == "start":
            growing, is_opening = Fold(chunk["messageId"]), True
        elif kind == RUN:
            run = chunk["data"]["runId"]
        elif kind == RUN_REWIND and not (takes_rewinds or is_opening):
            continue
        is_opening = is_opening and (kind == "start" or chunk.get("transient", False))
        if growing is not None:
            growing.add(chunk)
            if kind == "finish":
                yield run, growing.message()
                growing = None


def _snapshot(thread: ThreadTruth, snapshot: Snapshot, verdict: Verdict) -> None:
    """A history is that of one moment, not before it was asked for; its cursor is of that moment too."""
    if thread.deleted_at is not None:
        return
    state, is_found = INITIAL, False
    for number, recorded in enumerate(thread.events, 1):
        state = evolve(state, recorded.event)
        is_after = number == len(thread.events) or thread.events[number].sequence > snapshot.known
        if is_after and str(state.cursor) == snapshot.cursor and len(state.messages) == len(snapshot.messages):
            is_found = is_found or shown_messages(thread.events[:number], state) == snapshot.messages
    what = f"{thread.name} was at no moment as it was read with {snapshot.cursor} at {snapshot.at}"
    verdict.check("SNAPSHOT-SEAM", is_found, f"{what}: {snapshot.messages}"[:600])
