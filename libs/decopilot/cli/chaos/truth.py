"""The truth: what the logs say of each thread, in the form in which everything else is compared with it."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from pydantic import BaseModel

from decopilot.cli.chaos.recorder import Recorder, frame_of
from decopilot.contracts.chunks import THREAD_DELETED
from decopilot.contracts.events import (
    Recorded,
    RunCompleted,
    RunFailed,
    RunHandedBack,
    RunRequested,
    RunRequiresAction,
    RunStarted,
    ThreadDeleted,
)
from decopilot.contracts.frames import Cursor, Frame, Ranges
from decopilot.contracts.ids import RunId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.resuming import is_void
from decopilot.domain.thread import INITIAL, ThreadState, evolve
from decopilot.log.history import messages_of
from decopilot.log.store import Stored

Ended = RunCompleted | RunRequiresAction | RunFailed
Position = tuple[int, int]
_E = TypeVar("_E", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Line:
    """A chunk as stored: its position, its bytes, whether it counts."""

    position: Position
    body: bytes
    is_void: bool


@dataclass(slots=True)
class RunTruth:
    """One run: its events, and its frames up to the one that closes it."""

    run_id: RunId
    requested: Recorded | None = None
    events: list[Recorded] = field(default_factory=list)
    ends: list[Ended] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    left: list[Frame] = field(default_factory=list)
    """What the store still holds of it."""
    markers: list[Frame] = field(default_factory=list)
    """What stands in the place of a deleted thread's run."""
    question: UIMessage | None = None
    """The user's message that it answers, now or anew."""

    @property
    def request(self) -> RunRequested | None:
        """What it was asked for by, if it was its turn."""
        if self.requested is None or not isinstance(self.requested.event, RunRequested):
            return None
        return _stored(self.requested.event, self.requested)

    @property
    def closing(self) -> Frame | None:
        """Its last frame, if that is a closing one."""
        return self.frames[-1] if self.frames and self.frames[-1].outcome is not None else None

    @property
    def starts(self) -> list[RunStarted]:
        """Its attempts."""
        return [_stored(one.event, one) for one in self.events if isinstance(one.event, RunStarted)]

    @property
    def failed_attempts(self) -> int:
        """How many of them were not handed back."""
        return len(self.starts) - sum(isinstance(recorded.event, RunHandedBack) for recorded in self.events)

    @property
    def text(self) -> str:
        """What the user asked."""
        return "" if self.question is None else self.question.text


@dataclass
class ThreadTruth:
    """One thread: its events, their sum, its runs, its chunks."""

    name: str
    events: list[Recorded]
    frames: list[Frame]
    stored: set[int]
    runs: dict[RunId, RunTruth] = field(default_factory=dict)

    @cached_property
    def state(self) -> ThreadState:
        """What its events add up to."""
        state = INITIAL
        for recorded in self.events:
            state = evolve(state, recorded.event)
        return state

    @cached_property
    def deleted_at(self) -> datetime | None:
        """When it was deleted."""
        return next((one.at for one in self.events if isinstance(one.event, ThreadDeleted)), None)

    @property
    def unended(self) -> RunId | None:
        """The run that is active; none where a marker stands for it, whose end was erased before it was read."""
        active = self.state.active
        if active is None or (self.deleted_at is not None and self.runs[active.run_id].markers):
            return None
        return active.run_id

    @cached_property
    def voids(self) -> dict[RunId, Ranges]:
        """What of each run counts no more, as its last frame says."""
        return {frame.run: frame.void for frame in self.frames if frame.void}

    @cached_property
    def lines(self) -> list[Line]:
        """Every chunk that was ever stored, in order."""
        return [
            Line((frame.sequence, index), body, is_void(frame.index + index, self.voids.get(frame.run, ())))
            for frame in self.frames
            for index, body in enumerate(frame.lines)
        ]

    @cached_property
    def by_position(self) -> dict[Position, Line]:
        """Every chunk by its position."""
        return {line.position: line for line in self.lines}

    @cached_property
    def by_sequence(self) -> dict[int, Frame]:
        """Every frame by its sequence."""
        return {frame.sequence: frame for frame in self.frames}

    @cached_property
    def _positions(self) -> list[Position]:
        return [line.position for line in self.lines]

    def behind(self, start: Position | None, end: Position | None = None) -> Sequence[Line]:
        """The chunks behind a position, up to another one."""
        first = 0 if start is None else bisect_right(self._positions, start)
        last = len(self.lines) if end is None else bisect_right(self._positions, end)
        return self.lines[first:last]

    @cached_property
    def tip(self) -> Position | None:
        """The last chunk that counts: where every viewer is to be in the end."""
        return next((line.position for line in reversed(self.lines) if not line.is_void), None)

    def position_before(self, run: RunId) -> Cursor | None:
        """The position before a run's first chunk."""
        record = self.state.runs.get(run)
        return None if record is None else record.cursor


def _stored(event: _E, recorded: Recorded) -> _E:
    """Date an event by the broker's clock: its writer's own may be wrong, which is a fault that is tried."""
    return event.model_copy(update={"at": recorded.at})


def position_of(cursor: str) -> Position:
    """Read a cursor."""
    parsed = Cursor.parse(cursor)
    return parsed.sequence, parsed.index


def truths(names: Iterable[str], recorder: Recorder, stored_chunks: Iterable[Stored]) -> dict[str, ThreadTruth]:
    """Sort what was recorded by thread and run; `stored_chunks` is what the store holds in the end."""
    left = [frame_of(stored) for stored in stored_chunks]
    found = {name: ThreadTruth(name, [], [], set()) for name in names}
    questions: dict[tuple[str, str | None], UIMessage] = {}
    for _, recorded in sorted(recorder.events.items()):
        thread = found[recorded.thread]
        thread.events.append(recorded)
        questions |= {(thread.name, stored.message.id): stored.message for stored in messages_of(recorded)}
        run_id = getattr(recorded.event, "run_id", None)
        if run_id is None:
            continue
        run = thread.runs.setdefault(run_id, RunTruth(run_id))
        run.events.append(recorded)
        if isinstance(recorded.event, RunRequested):
            run.requested = recorded
            asked = recorded.event.message
            run.question = questions.get((thread.name, recorded.event.regenerates)) if asked is None else asked
        if isinstance(recorded.event, Ended):
            run.ends.append(_stored(recorded.event, recorded))
    for _, frame in sorted(recorder.frames.items()):
        thread = found[frame.thread]
        thread.frames.append(frame)
        run = thread.runs.setdefault(frame.run, RunTruth(frame.run))
        is_marker = THREAD_DELETED.encode() in frame.body and frame.outcome is not None
        (run.markers if is_marker else run.frames).append(frame)
    for frame in left:
        thread = found[frame.thread]
        thread.stored.add(frame.sequence)
        thread.runs[frame.run].left.append(frame)
    return found
