"""Lagging: how far each durable consumer is behind, whoever works it off, told to the metrics."""

import asyncio

import structlog
from nats.js import JetStreamContext

from decopilot.contracts import subjects
from decopilot.log.store import UNCERTAIN
from decopilot_reactor.metrics import lags

LOOK_S = 10.0
CONSUMERS = (
    (subjects.EVENTS_STREAM, subjects.RUNNER_CONSUMER),
    (subjects.EVENTS_STREAM, subjects.TITLER_CONSUMER),
    (subjects.EVENTS_STREAM, subjects.REACTOR_CONSUMER),
    (subjects.EVENTS_STREAM, subjects.JANITOR_CONSUMER),
    (subjects.BLOBS_STREAM, subjects.SWEEPER_CONSUMER),
)
"""Those of the runner, too: with no runner left nobody else would tell that runs wait."""

log = structlog.get_logger()


class LagMeter:
    """Asks the broker."""

    def __init__(self, js: JetStreamContext) -> None:
        self._js = js

    async def run(self) -> None:
        """Ask every ten seconds, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Ask after each consumer."""
        for stream, consumer in CONSUMERS:
            try:
                info = await self._js.consumer_info(stream, consumer)
            except UNCERTAIN as error:
                log.warning("lag_unknown", consumer=consumer, error=repr(error))
                lags.pop(consumer, None)
            else:
                lags[consumer] = (info.num_pending or 0) + (info.num_ack_pending or 0)
