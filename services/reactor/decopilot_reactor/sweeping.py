"""Sweeping: blobs that nobody will ever ask for go, however their writers ended (ADR 0027)."""

import structlog
from nats.aio.msg import Msg

from decopilot.log.blobs import PUT_LIMIT_S
from decopilot.log.clock import BrokerClock
from decopilot.log.journal import Journal
from decopilot.log.leftovers import Leftovers, told
from decopilot.log.views import Views
from decopilot_reactor.handling import NotYetError

MARGIN_S = 60.0
"""What a writer was held up after its time was over."""

log = structlog.get_logger()


class Sweeper:
    """Looks at a blob until its thread answers for it: one without a thread is erased after `unused_s`.

    `writing_s`: after this time nobody is at a writing any more that was announced before.
    """

    def __init__(
        self,
        leftovers: Leftovers,
        journal: Journal,
        views: Views,
        *,
        clock: BrokerClock,
        unused_s: float,
        writing_s: float = PUT_LIMIT_S + MARGIN_S,
    ) -> None:
        self._leftovers = leftovers
        self._journal = journal
        self._views = views
        self._clock = clock
        self._unused_s = unused_s
        self._writing_s = writing_s

    async def look(self, message: Msg) -> None:
        """Do what is due of what was said of a blob; return once nothing more will be.

        Raises:
            NotYetError: it is not due yet.

        """
        blob = told(message)
        if blob is None:
            log.warning("object_unknown", subject=message.subject)
            return
        org, thread, _ = blob.place
        age_s = await self._clock.age_s(blob.at)
        if not blob.is_there:
            _wait(self._writing_s - age_s)
            await self._leftovers.forget(blob)
        elif await self._views.is_deleted(org, thread):
            # It came behind the erasing of all that the thread had.
            await self._leftovers.drop(blob)
            log.info("blob_dropped", org=org, thread=thread, reason="thread_deleted")
        elif not await self._journal.newest(org, thread):
            _wait(self._unused_s - age_s)
            await self._leftovers.drop(blob)
            log.info("blob_dropped", org=org, thread=thread, reason="no_thread")


def _wait(left_s: float) -> None:
    if left_s > 0:
        raise NotYetError(left_s)
