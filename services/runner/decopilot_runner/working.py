"""Working off the queue: one work item is one run, kept alive by heartbeats, acknowledged once its end was read."""

import asyncio

import structlog
from faststream.nats.annotations import NatsMessage
from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry.trace import SpanKind

from decopilot.contracts.events import RunRequested, UnknownEventError
from decopilot.domain.decider import StaleError
from decopilot.kit import telemetry
from decopilot.log.journal import Journal, delivered
from decopilot.log.pump import FencedError
from decopilot.log.store import UNCERTAIN
from decopilot_runner.attempt import Attempt
from decopilot_runner.driving import Driver
from decopilot_runner.ending import Ender
from decopilot_runner.heartbeats import heartbeats
from decopilot_runner.holding import Holding

LOOK_AGAIN_S = 1.0
CANCEL_AGAIN_S = 1.0

log = structlog.get_logger()


class Worker:
    """Takes work items."""

    def __init__(self, nc: Client, journal: Journal, driver: Driver, ender: Ender, holding: Holding) -> None:
        self._nc = nc
        self._journal = journal
        self._driver = driver
        self._ender = ender
        self._holding = holding
        self._stopping = False
        self._working: set[asyncio.Task[bool]] = set()

    async def stop(self) -> None:
        """Stop every run and hand its work item back."""
        self._stopping = True
        while self._working:
            # More than once: an agent may take a cancellation for the failure of its own call, and go on.
            for task in self._working:
                task.cancel()
            await asyncio.wait(self._working, timeout=CANCEL_AGAIN_S)

    async def handle(self, message: NatsMessage) -> None:
        """Work one item off: acknowledged when the run has ended, handed back to be looked at again otherwise."""
        subject, ack_subject = message.raw_message.subject, message.raw_message.reply
        async with heartbeats(self._nc, ack_subject) as heart:
            task = asyncio.create_task(self._work(message.raw_message), name=f"work {subject}")
            self._working.add(task)
            task.add_done_callback(self._working.discard)
            if self._stopping:
                task.cancel()
            await asyncio.wait([task])
        ended = _has_ended(task, subject)
        if not heart.beats():
            # The item may be another runner's by now: leave it alone.
            return
        if ended:
            await message.ack()
        else:
            await message.nack(delay=None if task.cancelled() else LOOK_AGAIN_S)

    async def _work(self, message: Msg) -> bool:
        """Bring the run on; tell whether its terminal event was read."""
        recorded = delivered(message)
        event = recorded.event
        if not isinstance(event, RunRequested):
            msg = f"the runner was handed a {event.type}"
            raise TypeError(msg)
        loaded = await self._journal.load(recorded.org, recorded.thread, until=recorded.sequence)
        active = loaded.state.active
        if active is None or active.requested.run_id != event.run_id:
            return True
        org, run = recorded.org, event.run_id
        attributes = {
            telemetry.ORG: org,
            telemetry.THREAD: recorded.thread,
            telemetry.RUN: run,
            telemetry.AGENT: event.config.agent_id,
        }
        carrier = {"traceparent": recorded.traceparent or event.traceparent or ""}
        with telemetry.span("run", attributes, headers=carrier, kind=SpanKind.CONSUMER):
            if active.attempt and await self._holding.may_be_held(org, run):
                return False
            previous = loaded.state.last_frame
            # A run that was started before, and that nobody holds, lost its runner: it is ended, not driven again.
            attempt = Attempt(org, recorded.thread, active.requested, max(active.attempt, 1), previous)
            try:
                async with self._holding.held(org, run):
                    if active.attempt:
                        await self._ender.end_as_crashed(attempt)
                    else:
                        await self._driver.drive(attempt, cause=recorded.event_id)
            except (FencedError, StaleError) as error:
                log.warning("run_lost", run_id=run, error=str(error))
                return False
            return True


def _has_ended(task: asyncio.Task[bool], subject: str) -> bool:
    """Tell what came of an item: whether its run has ended; False as well where that is not known."""
    if task.cancelled():
        log.info("run_handed_back", subject=subject)
        return False
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, (UnknownEventError, *UNCERTAIN)):
        log.warning("run_delayed", subject=subject, error=repr(error))
    else:
        log.error("run_not_driven", subject=subject, exc_info=error)
    return False
