"""Deleting: a deleted thread's run is ended, then all that the thread held is erased, and once more later."""

import structlog

from decopilot.contracts.events import Recorded
from decopilot.log.clock import BrokerClock
from decopilot.log.erasing import Eraser
from decopilot.log.journal import Journal
from decopilot_reactor.handling import NotYetError
from decopilot_reactor.overseeing import AGAIN_S, Overseer
from decopilot_reactor.reacting import Reactor

log = structlog.get_logger()


class Deleter:
    """Sees to deleted threads."""

    def __init__(
        self,
        journal: Journal,
        reactor: Reactor,
        overseer: Overseer,
        eraser: Eraser,
        *,
        clock: BrokerClock,
        erase_again_s: float,
    ) -> None:
        self._journal = journal
        self._reactor = reactor
        self._overseer = overseer
        self._eraser = eraser
        self._clock = clock
        self._erase_again_s = erase_again_s

    async def delete(self, recorded: Recorded) -> None:
        """Erase the thread that this event deleted; return when it was erased for the last time.

        Raises:
            NotYetError: its run had to be ended first, or it is to be erased again.

        """
        org, thread = recorded.org, recorded.thread
        # What its events cause is told before they go.
        await self._reactor.react(recorded)
        now = await self._clock.now()
        loaded = await self._journal.load(org, thread, until=recorded.sequence)
        if loaded.state.active is not None:
            await self._overseer.oversee(org, thread, loaded.state, [], now=now)
            # Nothing is erased before it was read that the run has ended.
            raise NotYetError(AGAIN_S)
        await self._eraser.erase(org, thread, tombstone=recorded.sequence)
        log.info("thread_erased", org=org, thread=thread)
        age_s = await self._clock.age_s(recorded.at)
        if age_s < self._erase_again_s:
            raise NotYetError(self._erase_again_s - age_s)
