"""Erasing: what a deleted thread held goes, and nobody who was held up in the middle of a write brings it back."""

from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.blobs import Blobs
from decopilot.log.chunklog import ChunkLog
from decopilot.log.history import messages_of
from decopilot.log.journal import Journal
from decopilot.log.views import Views


class Eraser:
    """Erases deleted threads whose last run has ended."""

    def __init__(self, journal: Journal, views: Views, chunks: ChunkLog, blobs: Blobs) -> None:
        self._journal = journal
        self._views = views
        self._chunks = chunks
        self._blobs = blobs

    async def erase(self, org: OrgId, thread: ThreadId, *, tombstone: int) -> None:
        """Erase all but the tombstone, which is the event of that sequence, and what stands behind it.

        Safe to repeat: the events go last, because they say which messages there are or may yet be.
        """
        messages = {
            stored.message.id
            for recorded in await self._journal.events(org, thread, after=0, until=tombstone)
            for stored in messages_of(recorded)
        }
        await self._views.erase(org, thread, messages)
        await self._chunks.erase(org, thread)
        await self._blobs.erase(org, thread)
        await self._journal.erase(org, thread, before=tombstone)
