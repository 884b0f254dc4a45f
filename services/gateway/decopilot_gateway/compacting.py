"""Compacting: an active run's message so far in few chunks, folded once for all who come in its middle."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from decopilot.contracts.frames import Cursor, Frame, Ranges
from decopilot.contracts.ids import RunId
from decopilot.domain.fold import FoldError
from decopilot.domain.replaying import RunSoFar
from decopilot.log.blocks import Block
from decopilot.log.feed import Feed
from decopilot.log.tail import Stretch
from decopilot_gateway import sse
from decopilot_gateway.replaying import Form, encode
from decopilot_gateway.rewinding import cut

FOLDS = 32
"""Runs whose folds are kept; each is as large as its message."""


@dataclass(frozen=True, slots=True)
class SoFar:
    """A run up to `cursor`, in few events, without what was void of it by then."""

    cursor: Cursor
    events: bytes
    void: Ranges


class UnfoldableError(Exception):
    """A run's chunks are out of order, or nested more deeply than can be read."""


class Compactor:
    """Folds runs as far as they are; who asks later has only what came since folded."""

    def __init__(self) -> None:
        self._foldings: OrderedDict[tuple[str, RunId], _Folding] = OrderedDict()

    async def compact(self, feed: Feed[Frame, Stretch], first: Frame, form: Form) -> SoFar | None:
        """Compact the active run, which begins with a frame; None where it is another one, or frames of it are missing.

        Raises:
            UnfoldableError: it says what does not fold to a message; whoever asks gets it as it is.
            nats.errors.Error, TimeoutError: the broker does not answer.

        """
        key = (feed.source.stored, first.run)
        folding = self._foldings.setdefault(key, _Folding(first))
        self._foldings.move_to_end(key)
        while len(self._foldings) > FOLDS:
            self._foldings.popitem(last=False)
        async with folding.lock:
            return await folding.fold(feed, form)


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
        self._made: dict[bool, SoFar] = {}

    async def fold(self, feed: Feed[Frame, Stretch], form: Form) -> SoFar | None:
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
        if form.is_sdk5 not in self._made:
            events = form.shape_events(encode(self._so_far.compacted(), self._cursor))
            self._made[form.is_sdk5] = SoFar(self._cursor, events, self._void)
        return self._made[form.is_sdk5]

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
        self._made.clear()
