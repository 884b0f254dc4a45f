"""Resuming: what of a run's stored frames counts, and where a new attempt goes on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from decopilot.contracts.chunks import RUN_REWIND, Chunk
from decopilot.contracts.frames import Frame, Ranges
from decopilot.contracts.ids import MessageId
from decopilot.contracts.interactions import Resolution
from decopilot.contracts.messages import UIMessage
from decopilot.domain.fold import Fold, FoldError
from decopilot.domain.interactions import resolution_chunks

_CUTS = frozenset({"finish-step", "tool-input-available", "tool-input-error"})
_OUTPUTS = frozenset({"tool-output-available", "tool-output-error", "tool-output-denied"})


class LogLostError(Exception):
    """Frames of a run are missing: what is left of it is never folded."""


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a new attempt goes on: behind `cut`, an index within the run, with the message folded up to it.

    `steps` are the finished ones. `void` are all ranges that do not count from here on.
    """

    fold: Fold
    cut: int
    steps: int
    void: Ranges


def living_chunks(frames: Sequence[Frame]) -> Iterator[tuple[int, Chunk]]:
    """Yield the chunks of a run that count, each with its index within the run.

    Raises:
        LogLostError: the frames are not the run's from its first one on.

    """
    _check_whole(frames)
    void = frames[-1].void if frames else ()
    for frame in frames:
        for index, chunk in enumerate(frame.chunks, frame.index):
            if not is_void(index, void):
                yield index, chunk


def is_void(index: int, void: Ranges) -> bool:
    """Tell whether a chunk counts no more."""
    return any(start <= index < end for start, end in void)


def replay(message_id: MessageId, frames: Sequence[Frame]) -> Fold:
    """Fold what counts of a run's frames.

    Raises:
        LogLostError: frames are missing.
        FoldError: they hold what no fold takes.

    """
    replayed = Replay(message_id)
    replayed.add(frames, frames[-1].void if frames else ())
    return replayed.fold


class Replay:
    """A run's `frames`, taken as they are read, and the `fold` of what counts of them."""

    def __init__(self, message_id: MessageId) -> None:
        self._message_id = message_id
        self._void: Ranges = ()
        self.frames: list[Frame] = []
        self._begin()

    def _begin(self) -> None:
        self.fold = Fold(self._message_id)
        self._folded = self._index = 0
        self._error: LogLostError | FoldError | None = None

    def add(self, frames: Sequence[Frame], void: Ranges) -> None:
        """Take the frames that follow; `void` is what the last one that is known of says to be void.

        All is folded anew only where that is not what it was.

        Raises:
            LogLostError: frames are missing.
            FoldError: they hold what no fold takes.

        """
        self.frames += frames
        if void != self._void:
            self._void = void
            self._begin()
        if self._error is not None:
            raise self._error
        try:
            for frame in self.frames[self._folded :]:
                self._fold_on(frame)
        except (LogLostError, FoldError) as error:
            self._error = error
            raise
        self._folded = len(self.frames)

    def _fold_on(self, frame: Frame) -> None:
        if frame.index != self._index:
            raise LogLostError
        for index, chunk in enumerate(frame.chunks, frame.index):
            if not is_void(index, self._void):
                self.fold.add(chunk)
        self._index += len(frame.lines)


def resume_point(message_id: MessageId, frames: Sequence[Frame]) -> ResumePoint:
    """Find where a new attempt goes on, whose first frame is the last of these.

    That is behind the last finished step, whole call or output at which nothing was in the middle of streaming, or
    behind the first frame, which always holds a run's whole opening.

    Raises:
        LogLostError: frames are missing.
        FoldError: they hold what no fold takes.

    """
    end = frames[-1].index if frames else 0
    opening_end = frames[0].index + len(frames[0].lines) if frames else 0
    cut = opening_end
    fold = Fold(message_id)
    for index, chunk in living_chunks(frames):
        fold.add(chunk)
        if opening_end <= index < end and is_cut(chunk) and fold.is_settled:
            cut = index + 1
    fold, steps = Fold(message_id), 0
    for index, chunk in living_chunks(frames):
        if index >= cut:
            break
        fold.add(chunk)
        steps += chunk["type"] == "finish-step"
    void = frames[-1].void if frames else ()
    if cut < end:
        void = (*(known for known in void if known[0] < cut), (cut, end))
    return ResumePoint(fold, cut, steps, void)


def unwritten_resolutions(frames: Sequence[Frame], resolutions: Sequence[Resolution]) -> list[Chunk]:
    """Make the chunks that tell what came of a continuation's interactions, but for those that its log has.

    They stand right behind its opening, before anything that an agent says: a call of the agent's own that goes by the
    id of an answered one is not meant.

    Raises:
        LogLostError: frames are missing.

    """
    told = [chunk for chunk in frames[0].chunks if chunk["type"] == RUN_REWIND] if frames else []
    if not told or not resolutions:
        return []
    wanted = resolution_chunks(UIMessage.model_validate(told[0]["data"]["message"]), resolutions)
    opening_end = frames[0].index + len(frames[0].lines)
    written = (chunk for index, chunk in living_chunks(frames) if index >= opening_end and not chunk.get("transient"))
    return wanted[sum(1 for _ in islice(written, len(wanted))) :]


def is_cut(chunk: Chunk) -> bool:
    """Tell whether an attempt may go on behind this chunk, if nothing else is open."""
    kind = chunk["type"]
    if chunk.get("providerExecuted"):
        # The provider's call and its output stand in the middle of what its model says.
        return False
    return kind in _CUTS or (kind in _OUTPUTS and not chunk.get("preliminary"))


def _check_whole(frames: Sequence[Frame]) -> None:
    index = 0
    for frame in frames:
        if frame.index != index:
            raise LogLostError
        index += len(frame.lines)
