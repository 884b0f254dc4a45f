"""Compacting: an active run's message so far in few chunks, folded once for all who come in its middle."""

import asyncio
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from decopilot.contracts.frames import Cursor, Frame, Ranges
from decopilot.contracts.ids import RunId
from decopilot.domain.fold import FoldError
from decopilot.domain.replaying import RunSoFar
from decopilot.log.blocks import Block
from decopilot.log.feed import Feed
from decopilot.log.tail import Stretch
from decopilot_gateway import sse
from decopilot_gateway.replaying import encode
from decopilot_gateway.rewinding import cut


@dataclass(frozen=True, slots=True)
class SoFar:
    """A run up to `cursor`, in few events, without what was void of it by then."""

    cursor: Cursor
    events: bytes
    void: Ranges


class Compactor:
    """Folds runs as far as they are; who asks later has only what came since folded."""

    def __init__(self) -> None:
        self._folding: WeakKeyDictionary[Feed[Frame, Stretch], _Folding] = WeakKeyDictionary()

    async def compact(self, feed: Feed[Frame, Stretch], first: Frame) -> SoFar | None:
        """Compact the active run, which begins with a frame; None where it is another one, or frames of it are missing.

        Raises:
            UnfoldableError: it says what does not fold to a message; whoever asks gets it as it is.
            nats.errors.Error, TimeoutError: the broker does not answer.

        """
        folding = self._folding.get(feed)
        if folding is None or folding.run != first.run:
            folding = self._folding[feed] = _Folding(first)
        async with folding.lock:
            return await folding.fold(feed)


class UnfoldableError(Exception):
    """A run's chunks are out of order, or nested more deeply than can be read."""


class _Folding:
    """One run, folded up to a position."""

    def __init__(self, first: Frame) -> None:
        self.run: RunId = first.run
        self.lock = asyncio.Lock()
        self._before = first.previous
        self._begin(())

    def _begin(self, void: Ranges) -> None:
        self._void = void
        self._position = self._before
        self._cursor = Cursor(self._before, 0)
        self._so_far = RunSoFar()
        self._is_broken = False
        self._made: SoFar | None = None

    async def fold(self, feed: Feed[Frame, Stretch]) -> SoFar | None:
        """Fold up to the newest frame that is known."""
        last = feed.last
        if last is None or last.run != self.run:
            return None
        if last.void != self._void:
            # Of what was folded some counts no more.
            self._begin(last.void)
        while self._position < last.sequence:
            block = await feed.behind(self._position)
            if block is None or block.kind.run != self.run or not block.follows(self._position):
                return None
            self._take(block)
            # A long run is folded in many steps, and all others wait meanwhile.
            await asyncio.sleep(0)
        if self._made is None or self._made.cursor != self._cursor:
            self._made = SoFar(self._cursor, encode(self._so_far.compacted(), self._cursor), self._void)
        return self._made

    def _take(self, block: Block[Stretch]) -> None:
        events = block.behind(self._position)
        living = cut(events, block.ordinal_behind(self._position), self._void)
        if self._is_broken:
            raise UnfoldableError
        try:
            for chunk in sse.chunks_of(living):
                self._so_far.add(chunk)
        except (FoldError, ValueError) as error:
            self._is_broken = True
            raise UnfoldableError from error
        self._position = block.sequence
        self._cursor = sse.cursor_of(sse.split(events)[-1])
