"""The janitor: looks at a thread for as long as an event of it leaves something to be done, and cleans up behind it."""

from datetime import datetime

import structlog

from decopilot.contracts.events import (
    Recorded,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunQueued,
    RunRequested,
    RunRequiresAction,
    ThreadDeleted,
)
from decopilot.contracts.ids import RunId
from decopilot.domain.tracing import origin
from decopilot.kit import telemetry
from decopilot.log.clock import BrokerClock
from decopilot.log.ending import Ender
from decopilot.log.journal import Journal, Loaded
from decopilot_reactor.deleting import Deleter
from decopilot_reactor.handling import NotYetError
from decopilot_reactor.overseeing import Overseer
from decopilot_reactor.purging import Purger

FIRST_LOOK_S = 1.0
"""Most runs are over before anybody looks after them a second time, and many before the first."""
NEWER_AGAIN_S = 10.0

log = structlog.get_logger()


class Janitor:
    """Looks after runs, the turns of those that wait, and what is left of those that have ended."""

    def __init__(
        self,
        journal: Journal,
        ender: Ender,
        overseer: Overseer,
        deleter: Deleter,
        purger: Purger,
        *,
        clock: BrokerClock,
        look_s: float,
    ) -> None:
        self._journal = journal
        self._ender = ender
        self._overseer = overseer
        self._deleter = deleter
        self._purger = purger
        self._clock = clock
        self._look_s = look_s

    async def look(self, recorded: Recorded) -> None:
        """Do what is due of what this event leaves to be done; return once nothing is left.

        Raises:
            NotYetError: something is not due yet; the delayed redelivery is the timer.

        """
        match recorded.event:
            case RunRequested(run_id=run):
                if await self._clock.age_s(recorded.at) < FIRST_LOOK_S:
                    raise NotYetError(FIRST_LOOK_S)
                await self._look_after(recorded, run)
            case RunCancelRequested(run_id=run):
                await self._look_after(recorded, run)
            case RunQueued():
                await self._look_after_turn(recorded, recorded.event)
            case ThreadDeleted():
                await self._deleter.delete(recorded)
            case (RunCompleted() | RunRequiresAction() | RunFailed()) as ended:
                about = {telemetry.ORG: recorded.org, telemetry.THREAD: recorded.thread, telemetry.RUN: ended.run_id}
                with telemetry.about(about, headers=origin(recorded)):
                    await self._purger.purge(recorded, ended)
            case _:
                # A newer version has provisioned that it is looked after, and knows how.
                log.warning("event_not_expected", type=recorded.event.type, sequence=recorded.sequence)
                raise NotYetError(NEWER_AGAIN_S)

    async def _look_after(self, recorded: Recorded, run: RunId) -> None:
        """See to it that a run ends."""
        now, loaded = await self._load(recorded)
        if loaded.state.active is not None and loaded.state.active.run_id == run:
            await self._oversee(recorded, loaded, now)

    async def _look_after_turn(self, recorded: Recorded, queued: RunQueued) -> None:
        """See to it that what a run was to take the place of ends, and that the run has its turn."""
        now, loaded = await self._load(recorded)
        active = loaded.state.active
        if active is not None and active.run_id == queued.supersedes:
            await self._oversee(recorded, loaded, now)
        elif loaded.state.may_promote:
            with telemetry.about({}, headers=origin(recorded)):
                await self._ender.promote(recorded.org, recorded.thread)
        if any(waiting.run_id == queued.run_id for waiting in loaded.state.queue):
            raise NotYetError(self._look_s)

    async def _load(self, recorded: Recorded) -> tuple[datetime, Loaded]:
        """Read a thread, and the time before it."""
        now = await self._clock.now()
        return now, await self._journal.load(recorded.org, recorded.thread, until=recorded.sequence)

    async def _oversee(self, recorded: Recorded, loaded: Loaded, now: datetime) -> None:
        org, thread = recorded.org, recorded.thread
        # What was written before this event is the business of the run's own item.
        known = await self._journal.events(org, thread, after=recorded.sequence - 1, until=loaded.sequence)
        await self._overseer.oversee(org, thread, loaded.state, known, now=now)
