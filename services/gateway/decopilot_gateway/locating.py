"""Locating: where a viewer's stream begins, found from the logs and never from a view that may lag."""

from dataclasses import dataclass

import structlog

from decopilot.contracts.frames import Cursor, Frame
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.chunklog import ChunkLog
from decopilot.log.journal import Journal
from decopilot_gateway import sse

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Start:
    """Where a viewer's stream begins: behind frame `sequence`, after `first` has been written."""

    sequence: int
    first: bytes = b""


class Locator:
    """Finds where a viewer begins, from the logs."""

    def __init__(self, chunks: ChunkLog, journal: Journal) -> None:
        self._chunks = chunks
        self._journal = journal

    async def locate(self, org: OrgId, thread: ThreadId, last: Frame | None, cursor: Cursor | None) -> Start:
        """Find the start: behind the cursor; without one, at the first chunk of the active run, or in wait for it.

        `last` is the newest frame of the thread that is known. A cursor that can't be served exactly is
        answered by a reset.
        """
        if cursor is None:
            return await self._present(org, thread, last)
        if cursor == Cursor(0, 0) and last is not None:
            return Start(0)
        found = await self._chunks.get(org, thread, cursor.sequence) if cursor.sequence else None
        if found is not None and cursor.index <= found.end.index:
            return Start(found.sequence, sse.chunk_events(found, after=cursor.index))
        if found is None and (await self._journal.load(org, thread)).state.cursor == cursor:
            # The frame has expired, but the event log knows it as the last one there was.
            return Start(cursor.sequence)
        return await self.reset(org, thread, "cursor")

    async def _present(self, org: OrgId, thread: ThreadId, last: Frame | None) -> Start:
        if last is None:
            return Start((await self._journal.load(org, thread)).state.last_frame)
        if last.outcome is not None:
            return Start(last.sequence)
        first = await self._chunks.first_of_run(org, thread, last.run)
        if first is not None and first.index == 0:
            return Start(first.previous)
        return await self.reset(org, thread, "hole", behind=last)

    async def reset(self, org: OrgId, thread: ThreadId, reason: str, *, behind: Frame | None = None) -> Start:
        """Begin anew, telling the viewer so: behind everything that has ended, where the thread's history ends too.

        Where that leads into the same hole again, begin behind the frame that is given.
        """
        end = behind.end if behind is not None else (await self._journal.load(org, thread)).state.cursor
        log.info("viewer_reset", org=org, thread=thread, reason=reason, cursor=str(end))
        return Start(end.sequence, sse.reset_event(end, reason))
