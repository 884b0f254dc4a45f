"""Working off the queue: one work item is one run, kept alive by heartbeats, acknowledged once its end was read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from faststream.nats.annotations import NatsMessage
from nats.errors import Error as NatsError
from opentelemetry.trace import SpanKind

from decopilot.contracts.events import Recorded, RunRequested
from decopilot.domain.decider import StaleError
from decopilot.kit import telemetry
from decopilot.log.journal import Journal, delivered
from decopilot.log.pump import FencedError
from decopilot.log.topology import ACK_WAIT_S
from decopilot_runner.attempt import Attempt
from decopilot_runner.driving import Driver
from decopilot_runner.ending import Ender
from decopilot_runner.holding import Holding

HEARTBEAT_S = ACK_WAIT_S / 4
LOOK_AGAIN_S = 1.0

log = structlog.get_logger()


class Worker:
    """Takes work items."""

    def __init__(self, journal: Journal, driver: Driver, ender: Ender, holding: Holding) -> None:
        self._journal = journal
        self._driver = driver
        self._ender = ender
        self._holding = holding
        self._stopping = asyncio.Event()
        self._working: set[asyncio.Task[bool]] = set()

    async def stop(self) -> None:
        """Stop every run and hand its work item back."""
        self._stopping.set()
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    async def handle(self, message: NatsMessage) -> None:
        """Work one item off: acknowledged when the run has ended, handed back to be looked at again otherwise."""
        recorded = delivered(message.raw_message)
        task = asyncio.create_task(self._work(recorded), name=f"run of {recorded.thread}")
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        if self._stopping.is_set():
            task.cancel()
        async with _heartbeats(message) as heart:
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        ended = False
        if task.cancelled():
            log.info("run_handed_back", thread=recorded.thread)
        elif (error := task.exception()) is not None:
            log.error("run_not_driven", thread=recorded.thread, exc_info=error)
        else:
            ended = task.result()
        if not heart.beats():
            # The item may be another runner's by now: leave it alone.
            return
        if ended:
            await message.ack()
        else:
            await message.nack(delay=0 if task.cancelled() else LOOK_AGAIN_S)

    async def _work(self, recorded: Recorded) -> bool:
        """Bring the run on; tell whether its terminal event was read."""
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
            if active.attempt and await self._holding.is_held(org, run):
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


class _Heart:
    """Whether the work item is still ours, by this process's own clock."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._last = self._clock()

    def beat(self) -> None:
        self._last = self._clock()

    def beats(self) -> bool:
        return self._clock() - self._last < ACK_WAIT_S


@asynccontextmanager
async def _heartbeats(message: NatsMessage) -> AsyncIterator[_Heart]:
    heart = _Heart()

    async def keep() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            # A beat that comes too late would take the item from whoever has it now.
            if not heart.beats():
                return
            with suppress(NatsError, OSError):
                await message.in_progress()
                heart.beat()

    task = asyncio.create_task(keep(), name="heartbeats")
    try:
        yield heart
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
