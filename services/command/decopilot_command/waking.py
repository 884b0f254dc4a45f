"""Waking: whoever drives a run is told that the log has news of it, at most once, and looks by itself if it is not."""

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, RunId

log = structlog.get_logger()


class Bell:
    """Wakes runners."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def ring(self, org: OrgId, run: RunId) -> None:
        """Have whoever drives a run look at the log now."""
        try:
            await self._nc.publish(subjects.signal(org, run))
        except (NatsError, OSError) as error:
            # The wish is in the log, and whoever has to fulfil it finds it there.
            log.warning("waking_failed", run_id=run, error=repr(error))
