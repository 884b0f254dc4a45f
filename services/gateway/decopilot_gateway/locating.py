"""Locating: where a viewer's stream begins, found from the logs and never from a view that may lag."""

from dataclasses import dataclass

import structlog

from decopilot.contracts.frames import Cursor, Frame, Ranges
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.log.chunklog import ChunkLog, is_erased
from decopilot.log.journal import Journal
from decopilot.log.views import Views
from decopilot_gateway import sse
from decopilot_gateway.rewinding import is_tainted

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Start:
    """Where a viewer's stream begins: behind frame `sequence`, after `first` has been written.

    Where a cursor led into a run, `void` is what was known to be void of it by then: only that is passed over.
    """

    sequence: int
    first: bytes = b""
    run: RunId | None = None
    void: Ranges = ()


class Locator:
    """Finds where a viewer begins, from the logs."""

    def __init__(self, chunks: ChunkLog, journal: Journal, views: Views) -> None:
        self._chunks = chunks
        self._journal = journal
        self._views = views

    async def locate(
        self, org: OrgId, thread: ThreadId, last: Frame | None, cursor: Cursor | None, *, takes_rewinds: bool
    ) -> Start:
        """Find the start: behind the cursor; without one, at the first chunk of the active run, or in wait for it.

        `last` is the newest frame of the thread that is known. A cursor that can't be served exactly is
        answered by a reset.
        """
        if last is not None and not is_erased(last) and await self._views.is_deleted(org, thread):
            # What it held is on its way out, and nobody's any more; who was told so is not told again.
            return Start(last.sequence) if cursor == last.end else _reset(org, thread, last.end, "cursor")
        if cursor is None:
            return await self._present(org, thread, last)
        return await self._behind(org, thread, last, cursor, takes_rewinds=takes_rewinds)

    async def _behind(
        self, org: OrgId, thread: ThreadId, last: Frame | None, cursor: Cursor, *, takes_rewinds: bool
    ) -> Start:
        if cursor == Cursor(0, 0) and last is not None and not is_erased(last):
            return Start(0)
        found = await self._chunks.get(org, thread, cursor.sequence) if cursor.sequence else None
        if found is not None and cursor.index <= found.end.index:
            void = await self.void_of(found, last)
            if not takes_rewinds and is_tainted(found.index + cursor.index, void):
                return await self._anew(org, thread, found.run)
            return Start(found.sequence, sse.chunk_events(found, after=cursor.index, void=void), found.run, void)
        if found is None and (await self._journal.load(org, thread)).state.cursor == cursor:
            # The frame has expired, but the event log knows it as the last one there was.
            return Start(cursor.sequence)
        return await self.reset(org, thread, "cursor", last)

    async def void_of(self, frame: Frame, last: Frame | None) -> Ranges:
        """Tell what is void of a frame's run as of now; its last frame knows.

        `last` is the newest frame of the thread that is known.
        """
        if frame.outcome is not None:
            return frame.void
        if last is not None and last.run == frame.run and last.sequence >= frame.sequence:
            return last.void
        newest = await self._chunks.last_of_run(frame.org, frame.thread, frame.run)
        return frame.void if newest is None else newest.void

    async def _present(self, org: OrgId, thread: ThreadId, last: Frame | None) -> Start:
        if last is None:
            return Start((await self._journal.load(org, thread)).state.last_frame)
        if last.outcome is not None:
            return Start(last.sequence)
        first = await self._chunks.first_of_run(org, thread, last.run)
        if first is not None and first.index == 0:
            return Start(first.previous)
        return await self.reset(org, thread, "hole", last, lost=last.run)

    async def _anew(self, org: OrgId, thread: ThreadId, run: RunId) -> Start:
        """Begin a run anew, telling the viewer so: it holds chunks that are void, and can't take them back."""
        state = (await self._journal.load(org, thread)).state
        record = state.runs.get(run)
        before = state.cursor if record is None else record.cursor
        return _reset(org, thread, before, "rewind")

    async def reset(
        self, org: OrgId, thread: ThreadId, reason: str, last: Frame | None, *, lost: RunId | None = None
    ) -> Start:
        """Begin anew, telling the viewer so: behind everything that has ended, where the thread's history ends too.

        `last` is the newest frame of the thread that is known. Where that leads into the same hole again, because it
        is of the run that `lost` frames, begin behind it.
        """
        if last is not None and is_erased(last):
            # Neither history nor what is still remembered of the thread is anybody's: all there is to tell is this.
            return _reset(org, thread, Cursor(last.previous, 0), reason)
        if last is not None and last.run == lost:
            return _reset(org, thread, last.end, reason)
        return _reset(org, thread, (await self._journal.load(org, thread)).state.cursor, reason)


def _reset(org: OrgId, thread: ThreadId, cursor: Cursor, reason: str) -> Start:
    log.info("viewer_reset", org=org, thread=thread, reason=reason, cursor=str(cursor))
    return Start(cursor.sequence, sse.reset_event(cursor, reason))
