"""Announcing: that somebody has yet to read what would be purged."""

import asyncio

import structlog

from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.readers import ANNOUNCE_S, Readers
from decopilot.log.store import UNCERTAIN

log = structlog.get_logger()


class Announcer:
    """Announces that one viewer still reads a thread, as seldom as will do."""

    def __init__(self, readers: Readers, org: OrgId, thread: ThreadId) -> None:
        self._readers = readers
        self._org = org
        self._thread = thread
        self._due_at = 0.0

    async def announce(self) -> None:
        """Announce it, unless that was done lately; where it can't be, the viewer is reset at worst."""
        now = asyncio.get_running_loop().time()
        if now < self._due_at:
            return
        self._due_at = now + ANNOUNCE_S
        try:
            await self._readers.announce(self._org, self._thread)
            log.info("slow_reader_announced", org=self._org, thread=self._thread)
        except UNCERTAIN as error:
            log.warning("slow_reader_not_announced", org=self._org, thread=self._thread, error=repr(error))
