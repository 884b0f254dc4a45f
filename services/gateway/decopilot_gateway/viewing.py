"""Viewing: where one viewer stands in a thread, and what of the next frames it is to be given."""

import structlog

from decopilot.contracts.frames import Frame, Ranges
from decopilot.contracts.ids import RunId
from decopilot.log.blocks import Block
from decopilot.log.feed import Feed
from decopilot.log.tail import Stretch
from decopilot_gateway import sse
from decopilot_gateway.announcing import Announcer
from decopilot_gateway.entering import ShutOutError, UnknownRoomError, Visit
from decopilot_gateway.following import OddError
from decopilot_gateway.locating import Locator, Start
from decopilot_gateway.replaying import Form
from decopilot_gateway.rewinding import covers
from decopilot_gateway.streaming import RETRY_MS

log = structlog.get_logger()


class HoleError(OddError):
    """What is next does not follow on what the viewer has: frames of `run`, or before it, are gone."""

    def __init__(self, run: RunId) -> None:
        self.run = run
        super().__init__(f"frames of {run} are missing")


class RewoundError(OddError):
    """Chunks that the viewer was given are void from here on, and it did not say that it can take them back."""

    def __init__(self, run: RunId) -> None:
        self.run = run
        super().__init__(f"chunks of {run} that were delivered are void")


class UnknownVoidError(OddError):
    """What is void of the run that the viewer comes to is not known here: its last frame has to be read."""

    def __init__(self, run: RunId) -> None:
        self.run = run
        super().__init__(f"it is not known what is void of {run}")


class Viewer:
    """One attached client: its position, and what it is to be given. Holds nothing else that belongs to the stream.

    `run` is the one at its position, and what was known to be void of that when it was entered is skipped.
    """

    def __init__(
        self,
        feed: Feed[Frame, Stretch],
        start: Start,
        form: Form,
        locator: Locator,
        announcer: Announcer,
        *,
        visit: Visit,
    ) -> None:
        self._feed = feed
        self._locator = locator
        self._visit = visit
        self._form = form
        self._announcer = announcer
        self._begin(start)

    def _begin(self, start: Start) -> None:
        # There is the one or the other.
        self._first = start.first if start.cursor is None else sse.position(start.cursor)
        self._void_of_newest: Ranges | None = None
        self.position = start.sequence
        self._run, self._void = start.run, start.void
        self._passed = start.passed
        self._visit.goes_on(start.run)

    def opening(self) -> bytes:
        """Return what the stream begins with, once: however large it is, it is not held for as long as that is open."""
        first, self._first = self._first, b""
        return first

    def take(self, block: Block[Stretch]) -> bytes:
        """Go to the end of a block; returns its events.

        Raises:
            HoleError: it does not follow on the position.
            UnknownRoomError, ShutOutError: as `Visit.may_have` says.
            RewoundError: by its frames chunks are void that the viewer was given.
            UnknownVoidError: it is of a run of which only the store knows what is void.

        """
        run, void = block.kind.run, block.kind.void
        if not self._visit.is_settled and not self._visit.may_have(block):
            self.position = block.sequence
            return b""
        if not block.follows(self.position):
            raise HoleError(run)
        if run == self._passed:
            self.position = block.sequence
            return b""
        if run != self._run:
            self._run, self._void = run, self._known_void(block)
        else:
            self._learn_void(block)
        if void and not self._form.takes_rewinds and not covers(self._void, void):
            raise RewoundError(run)
        events = self._form.shape(block, self.position, self._void)
        self.position = block.sequence
        return events

    def _learn_void(self, block: Block[Stretch]) -> None:
        """Learn what has become void since the run was entered, as far as the viewer was given nothing of it."""
        newest = self._feed.last
        if newest is None or newest.run != block.kind.run or newest.void is self._void_of_newest:
            return
        self._void_of_newest = newest.void
        index = block.ordinal_behind(self.position)
        self._void += tuple(void for void in newest.void if void[0] >= index and void not in self._void)

    def _known_void(self, block: Block[Stretch]) -> Ranges:
        # Its last frame knows: that is the thread's newest, or mostly remembered.
        run = block.kind.run
        if (newest := self._feed.last) is not None and newest.run == run:
            return newest.void
        there: Block[Stretch] | None = block
        while there is not None and there.kind.run == run:
            if there.ends:
                return there.kind.void
            there = self._feed.near(there.sequence)
        raise UnknownVoidError(run)

    def find_nothing(self, head: int) -> None:
        """Be told that everything behind the position and up to `head` is gone.

        Raises:
            HoleError: something of it was the viewer's.

        """
        if self._visit.is_outside:
            self.position = head
            return
        assert self._feed.last is not None  # noqa: S101  there is a head
        raise HoleError(self._feed.last.run)

    async def meet(self, odd: OddError) -> tuple[bytes, bool]:
        """Reset the viewer, send it away, or learn what it needs to know."""
        match odd:
            case HoleError(run=run):
                self._begin(await self._locator.reset("hole", lost=run))
                return self.opening(), True
            case UnknownVoidError(run=run):
                self._run, self._void = run, await self._locator.void_of_run(run)
                return b"", True
            case UnknownRoomError():
                await self._visit.ask(self._feed)
                return b"", True
            case ShutOutError(run=run):
                log.info("viewer_shut_out", subject=self._feed.source.stored, run_id=run)
                return sse.retry(RETRY_MS) + sse.DONE, False
            case RewoundError(run=run):
                log.info("viewer_rewound", subject=self._feed.source.stored, run_id=run)
                return sse.retry(RETRY_MS) + sse.DONE, False
            case _:
                raise odd

    async def held_up(self) -> None:
        """Ask that what is yet to be read is not purged."""
        if self.position < self._feed.head and not self._visit.is_outside:
            await self._announcer.announce()
