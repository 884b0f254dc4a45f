"""Working off the queue: one work item is one run, kept alive by heartbeats, acknowledged once its end was read."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from decopilot.contracts.events import Recorded, RunRequested, UnknownEventError
from decopilot.domain.commands import HandBack, StaleError
from decopilot.domain.thread import ActiveRun
from decopilot.domain.tracing import origin
from decopilot.kit import telemetry
from decopilot.kit.tasks import end
from decopilot.log.ending import Attempt, Ender
from decopilot.log.heartbeats import heartbeats
from decopilot.log.journal import Journal, Loaded, delivered
from decopilot.log.metrics import since_s
from decopilot.log.pump import FencedError
from decopilot.log.store import UNCERTAIN
from decopilot_runner.driving import Driver
from decopilot_runner.holding import Holding
from decopilot_runner.lineage import Lineage
from decopilot_runner.metrics import QUEUE, driving

LOOK_AGAIN_S = 1.0
HAND_BACK_S = 1.0

log = structlog.get_logger()


@dataclass(slots=True)
class _Item:
    """A work item in our hands: the attempt that it led to, and what is set when the log may have news of it."""

    message: Msg
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    attempt: Attempt | None = None


class Worker:
    """Takes work items. After `attempts` that died a run ends as `crashed`."""

    def __init__(
        self,
        nc: Client,
        journal: Journal,
        driver: Driver,
        ender: Ender,
        *,
        holding: Holding,
        lineage: Lineage,
        runner_id: str,
        attempts: int,
    ) -> None:
        self._nc = nc
        self._journal = journal
        self._driver = driver
        self._ender = ender
        self._holding = holding
        self._lineage = lineage
        self._runner_id = runner_id
        self._attempts = attempts
        self._stopping = False
        self._working: set[asyncio.Task[bool]] = set()

    async def stop(self) -> None:
        """Stop every run and hand its work item back."""
        self._stopping = True
        await end(self._working)

    async def handle(self, message: Msg) -> None:
        """Work one item off: acknowledged when the run has ended, handed back to be looked at again otherwise."""
        item = _Item(message)
        async with heartbeats(self._nc, item.message.reply, on_lost=item.woken.set) as heart:
            task = asyncio.create_task(self._work(item), name=f"work {item.message.subject}")
            self._working.add(task)
            task.add_done_callback(self._working.discard)
            if self._stopping:
                task.cancel()
            await asyncio.wait([task])
            if task.cancelled() and item.attempt is not None:
                await self._hand_back(item.attempt)
        ended = _has_ended(task, item.message.subject)
        if not heart.beats():
            # The item may be another runner's by now: leave it alone.
            return
        if ended:
            await message.ack()
        else:
            await message.nak(delay=None if task.cancelled() else LOOK_AGAIN_S)

    async def _hand_back(self, attempt: Attempt) -> None:
        """Say in the log that this attempt did not fail; where that can't be said in time, it counts as if it had."""
        command = HandBack(now=datetime.now(UTC), run_id=attempt.run, attempt=attempt.number, runner_id=self._runner_id)
        with suppress(StaleError, UnknownEventError, *UNCERTAIN):
            async with asyncio.timeout(HAND_BACK_S):
                await self._journal.execute(attempt.org, attempt.thread, command)
                log.info("run_handed_back", run_id=attempt.run, attempt=attempt.number)

    async def _work(self, item: _Item) -> bool:
        """Bring the run on; tell whether its terminal event was read."""
        recorded = delivered(item.message)
        event = recorded.event
        if not isinstance(event, RunRequested):
            msg = f"the runner was handed a {event.type}"
            raise TypeError(msg)
        loaded = await self._journal.load(recorded.org, recorded.thread, until=recorded.sequence)
        active = loaded.state.active
        if active is None or active.run_id != event.run_id:
            return True
        attributes = {
            telemetry.ORG: recorded.org,
            telemetry.THREAD: recorded.thread,
            telemetry.RUN: event.run_id,
            telemetry.AGENT: event.config.agent_id,
        }
        if event.config.model is not None:
            attributes[telemetry.MODEL] = event.config.model
        with telemetry.about(attributes, headers=origin(recorded)):
            is_driven = active.attempt and not active.is_let_go
            if is_driven and await self._holding.may_be_held(recorded.org, event.run_id):
                return False
            try:
                async with self._holding.held(recorded.org, event.run_id, item.woken):
                    await self._bring_on(item, recorded, loaded, active)
            except (FencedError, StaleError) as error:
                log.warning("run_lost", run_id=event.run_id, error=str(error))
                return False
            return True

    async def _bring_on(self, item: _Item, recorded: Recorded, loaded: Loaded, active: ActiveRun) -> None:
        org, thread, state = recorded.org, recorded.thread, loaded.state
        present = Attempt.of(org, thread, state)
        if active.attempt and not active.is_let_go:
            await self._lineage.tell_lost(present)
        # Its runner may have died between the closing frame and the terminal event: nothing is left to be driven.
        if active.attempt and await self._ender.end_if_sealed(present):
            return
        if state.is_deleted:
            await self._ender.seal(present, "cancelled")
        elif active.cancel is not None:
            await self._ender.seal(present, active.cancel)
        elif active.failed_attempts >= self._attempts:
            await self._ender.seal(present, "crashed")
        else:
            item.attempt = replace(present, number=active.attempt + 1)
            if not active.attempt:
                QUEUE.record(since_s(recorded.at))
            found = await self._lineage.links(recorded, item.attempt)
            with driving():
                await self._driver.drive(item.attempt, item.woken, known=loaded, cause=recorded.event_id, links=found)


def _has_ended(task: asyncio.Task[bool], subject: str) -> bool:
    """Tell what came of an item: whether its run has ended; False as well where that is not known."""
    if task.cancelled():
        return False
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, (UnknownEventError, *UNCERTAIN)):
        log.warning("run_delayed", subject=subject, error=repr(error))
    else:
        log.error("run_not_driven", subject=subject, exc_info=error)
    return False
