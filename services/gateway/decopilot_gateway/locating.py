"""Locating: where a viewer's stream begins, found from the logs and never from a view that may lag."""

from dataclasses import dataclass

import structlog

from decopilot.contracts.frames import Cursor, Frame, Ranges
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.domain.thread import ThreadState
from decopilot.log.chunklog import ChunkLog, is_erased
from decopilot.log.feed import Feed
from decopilot.log.journal import Journal
from decopilot.log.tail import Stretch
from decopilot.log.views import Views
from decopilot_gateway import sse
from decopilot_gateway.compacting import Compactor, UnfoldableError
from decopilot_gateway.metrics import RESETS
from decopilot_gateway.replaying import Form
from decopilot_gateway.rewinding import cut, is_tainted

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Start:
    """Where a viewer's stream begins: behind frame `sequence`, after `first` has been written.

    Where a cursor led into a run, `void` is what was known to be void of it by then: only that is passed over. Of
    `passed` the viewer is given nothing. `cursor` is the same place, for a client that has none yet: it may be cut off
    before its first chunk.
    """

    sequence: int
    first: bytes = b""
    run: RunId | None = None
    void: Ranges = ()
    passed: RunId | None = None
    cursor: Cursor | None = None


class Locators:
    """What is needed to find where a viewer of any thread begins."""

    def __init__(self, chunks: ChunkLog, journal: Journal, views: Views) -> None:
        self.chunks = chunks
        self.journal = journal
        self.views = views
        self.compactor = Compactor()

    def on(self, org: OrgId, thread: ThreadId, feed: Feed[Frame, Stretch]) -> "Locator":
        """Look at one thread, whose feed is open."""
        return Locator(self, org, thread, feed)


class Locator:
    """Finds where a viewer of a thread begins, from the logs."""

    def __init__(self, parts: Locators, org: OrgId, thread: ThreadId, feed: Feed[Frame, Stretch]) -> None:
        self._parts = parts
        self._org = org
        self._thread = thread
        self._feed = feed

    async def locate(self, cursor: Cursor | None, form: Form) -> Start:
        """Find the start: behind the cursor; without one, where the form says, mostly where the active run begins.

        A cursor that can't be served exactly is answered by a reset.
        """
        if cursor is not None and cursor.sequence > self._feed.head:
            # Our feed is held up, or missed something, and they come from one that was not: they are not led back.
            await self._feed.check()
        last = self._feed.last
        if last is not None:
            # What a deleted thread held is on its way out, and nobody's any more; who was told so is not told again.
            if is_erased(last):
                return await self._among_remains(last, cursor)
            if await self._parts.views.is_deleted(self._org, self._thread):
                return Start(last.sequence) if cursor == last.end else self._reset_to(last.end, "cursor")
        if cursor is None:
            return await self._present(last, form)
        return await self._behind(last, cursor, form)

    async def nowhere(self, cursor: Cursor | None) -> Start:
        """Begin as on a thread that nobody has begun, with the same questions, behind all that there is."""
        if cursor is not None and cursor.sequence:
            await self._parts.chunks.get(self._org, self._thread, cursor.sequence)
        await self._state()
        last, none = self._feed.last, Cursor(0, 0)
        run = None if last is None else last.run
        if cursor in {None, none}:
            return Start(self._feed.head, run=run, cursor=none if cursor is None else None)
        return Start(self._feed.head, sse.reset_event(none, "cursor"), run)

    async def _among_remains(self, last: Frame, cursor: Cursor | None) -> Start:
        """Go on from one of the frames that stand for the runs of a deleted thread, which come one by one."""
        if cursor is None or cursor == Cursor.behind(last.previous):
            return Start(last.previous)
        found = await self._parts.chunks.get(self._org, self._thread, cursor.sequence) if cursor.sequence else None
        if found is not None and is_erased(found) and cursor == found.end:
            return Start(found.sequence)
        return await self.reset("cursor")

    async def _behind(self, last: Frame | None, cursor: Cursor, form: Form) -> Start:
        if cursor == Cursor(0, 0) and last is not None:
            return Start(0)
        found = await self._parts.chunks.get(self._org, self._thread, cursor.sequence) if cursor.sequence else None
        if found is not None and cursor.index <= found.end.index:
            void = await self._void_of(found, last)
            index = found.index + cursor.index
            if not form.takes_rewinds and is_tainted(index, void):
                return await self._anew(found.run)
            rest = cut(sse.behind(sse.chunk_events(found), cursor.index), index + 1, void)
            return Start(found.sequence, form.shape_events(rest), found.run, void)
        if found is None and (await self._state()).cursor == cursor:
            # The frame has expired, but the event log knows it as the last one there was.
            return Start(cursor.sequence)
        return await self.reset("cursor")

    async def void_of_run(self, run: RunId) -> Ranges:
        """Tell what is void of a run as of now; its last frame knows."""
        newest = await self._parts.chunks.last_of_run(self._org, self._thread, run)
        return () if newest is None else newest.void

    async def _void_of(self, frame: Frame, last: Frame | None) -> Ranges:
        if frame.outcome is not None:
            return frame.void
        if last is not None and last.run == frame.run and last.sequence >= frame.sequence:
            return last.void
        return await self.void_of_run(frame.run)

    async def _present(self, last: Frame | None, form: Form) -> Start:
        if last is None:
            state = await self._state()
            return Start(state.last_frame, cursor=state.cursor)
        if last.outcome is not None:
            return Start(last.sequence, cursor=last.end)
        if form.replay == "none":
            return Start(last.sequence, passed=last.run)
        first = await self._parts.chunks.first_of_run(self._org, self._thread, last.run)
        if first is None or first.index > 0:
            return await self.reset("hole", lost=last.run)
        return await self._compact(first, form) if form.replay == "compact" else await self._ahead_of(first)

    async def _ahead_of(self, first: Frame) -> Start:
        """Begin with the first frame of a run."""
        before = await self._parts.chunks.get(self._org, self._thread, first.previous) if first.previous else None
        cursor = Cursor(0, 0) if not first.previous else None if before is None else before.end
        return Start(first.previous, cursor=cursor)

    async def _compact(self, first: Frame, form: Form) -> Start:
        try:
            so_far = await self._parts.compactor.compact(self._feed, first, form)
        except UnfoldableError:
            return await self._ahead_of(first)
        if so_far is not None:
            return Start(so_far.cursor.sequence, so_far.events, first.run, so_far.void)
        newest = self._feed.last
        if newest is not None and newest.run != first.run:
            # It has ended meanwhile, and another has begun.
            return await self._present(newest, form)
        return await self.reset("hole", lost=first.run)

    async def _anew(self, run: RunId) -> Start:
        """Begin a run anew, telling the viewer so: it holds chunks that are void, and can't take them back."""
        state = await self._state()
        if state.is_deleted:
            return await self.reset("cursor")
        record = state.runs.get(run)
        return self._reset_to(state.cursor if record is None else record.cursor, "rewind")

    async def reset(self, reason: str, *, lost: RunId | None = None) -> Start:
        """Begin anew, telling the viewer so: behind everything that has ended, where the thread's history ends too.

        Where that leads into the same hole again, because it is of the run that `lost` frames, begin behind it.
        """
        last = self._feed.last
        if last is not None and is_erased(last):
            # Neither history nor what is still remembered of the thread is anybody's: all there is to tell is this.
            # Whoever comes from that very frame is led on, however much of it they have.
            return self._reset_to(Cursor.behind(last.previous), reason)
        state = await self._state()
        # A deleted thread forgets where it was, and may have done so before we hear of what stands in its place.
        if last is not None and (last.run == lost or state.is_deleted):
            return self._reset_to(last.end, reason)
        return self._reset_to(state.cursor, reason)

    async def _state(self) -> ThreadState:
        return (await self._parts.journal.load(self._org, self._thread)).state

    def _reset_to(self, cursor: Cursor, reason: str) -> Start:
        RESETS.add(1, {"reason": reason})
        log.info("viewer_reset", org=self._org, thread=self._thread, reason=reason, cursor=str(cursor))
        return Start(cursor.sequence, sse.reset_event(cursor, reason))
