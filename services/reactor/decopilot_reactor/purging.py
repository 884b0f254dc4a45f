"""Purging: the chunks of a run that has ended go, once nobody reads them any more or somebody has for too long."""

import structlog

from decopilot.contracts.events import Recorded, Terminal
from decopilot.log.chunklog import ChunkLog
from decopilot.log.clock import BrokerClock
from decopilot.log.readers import Readers
from decopilot_reactor.handling import NotYetError
from decopilot_reactor.metrics import PURGES

log = structlog.get_logger()


class Purger:
    """Purges runs that have ended (ADR 0020)."""

    def __init__(
        self, chunks: ChunkLog, readers: Readers, *, clock: BrokerClock, grace_s: float, wait_s: float, look_s: float
    ) -> None:
        self._chunks = chunks
        self._readers = readers
        self._clock = clock
        self._grace_s = grace_s
        self._wait_s = wait_s
        self._look_s = look_s
        PURGES.add(0)

    async def purge(self, recorded: Recorded, event: Terminal) -> None:
        """Purge the run that this event ended, and no other.

        A reader that first announces itself between the question and the purge comes too late: the next frame that it
        finds does not follow on what it has, and it is told so by a reset. It is never given a hole.

        Raises:
            NotYetError: the grace is not over, or somebody reads the thread and may do so for longer.
            nats.errors.Error, TimeoutError: nobody knows whether somebody reads it; nothing was purged.

        """
        org, thread, run = recorded.org, recorded.thread, event.run_id
        age_s = await self._clock.age_s(recorded.at)
        if age_s < self._grace_s:
            raise NotYetError(self._grace_s - age_s)
        # Nobody is asked once the time is up: neither a reader nor a bucket that is missing keeps chunks for ever.
        if age_s < self._wait_s and await self._readers.is_held(org, thread):
            raise NotYetError(min(self._look_s, self._wait_s - age_s))
        await self._chunks.purge(org, thread, run)
        PURGES.add(1)
        log.info("run_purged", org=org, thread=thread, run_id=run)
