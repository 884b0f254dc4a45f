"""The janitor: purges a run's chunks once its end has been told for long enough."""

from datetime import UTC, datetime

import structlog

from decopilot.contracts.events import Recorded
from decopilot.log.chunklog import ChunkLog
from decopilot_reactor.handling import NotYetError

log = structlog.get_logger()


class Janitor:
    """Cleans up behind runs."""

    def __init__(self, chunks: ChunkLog, *, grace_s: float) -> None:
        self._chunks = chunks
        self._grace_s = grace_s

    async def clean(self, recorded: Recorded) -> None:
        """Purge the run that this terminal event ended, and no other.

        Raises:
            NotYetError: the grace period has not passed; the delayed redelivery is the timer.

        """
        age_s = (datetime.now(UTC) - recorded.event.at).total_seconds()
        if age_s < self._grace_s:
            raise NotYetError(self._grace_s - age_s)
        await self._chunks.purge(recorded.org, recorded.thread, recorded.event.run_id)
        log.info("run_purged", org=recorded.org, thread=recorded.thread, run_id=recorded.event.run_id)
