"""Intake: requests and queued messages, taken up only when somebody is free for them, and finished before leaving."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

import structlog
from faststream.nats import NatsBroker
from faststream.nats.annotations import NatsMessage
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError
from opentelemetry.metrics import get_meter

from decopilot.contracts.commands import PATIENCE
from decopilot.kit.pulling import PULL_S, Puller, hand_back

Handler = Callable[[Msg], Awaitable[None]]
Answerer = Callable[[NatsMessage], Callable[[], Awaitable[bytes | None]]]
"""Takes a request when it comes, and makes what answers it in its turn: with bytes, or not at all."""

DROPPED = get_meter("decopilot").create_counter(
    "decopilot.requests.dropped", unit="{request}", description="Requests whose answers nobody waited for any more"
)
_PAUSE_S, _LOST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0, 8.0

log = structlog.get_logger()


class Crew:
    """So many at work at once, and no more."""

    def __init__(self, size: int) -> None:
        self._free = asyncio.Semaphore(size)
        self._tasks: set[asyncio.Task[None]] = set()

    async def wait_for_hand(self) -> None:
        """Wait until somebody is free, and keep that one for what comes."""
        await self._free.acquire()

    def let_hand_go(self) -> None:
        """Let go the one who was waited for: nothing came."""
        self._free.release()

    def put_to_work(self, work: Awaitable[None]) -> None:
        """Let the one who was waited for do it."""
        self._keep(self._do(work))

    def put_in_line(self, work: Callable[[], Awaitable[None]], patience_s: float | None) -> None:
        """Let whoever is free next do it, when its turn comes; where that takes too long, nobody does."""
        self._keep(self._do_in_turn(work, patience_s))

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do_in_turn(self, work: Callable[[], Awaitable[None]], patience_s: float | None) -> None:
        try:
            async with asyncio.timeout(patience_s):
                await self.wait_for_hand()
        except TimeoutError:
            DROPPED.add(1)
            return
        await self._do(work())

    async def _do(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception:
            log.exception("handler_failed")
        finally:
            self.let_hand_go()

    async def finish(self) -> None:
        """Wait until all have done their work."""
        await asyncio.gather(*self._tasks)


class Desk:
    """Answers the requests on a subject, each as long as somebody waits for its answer.

    Who has waited in vain asks again: to answer the old ones first would leave no time for those who still wait.
    """

    def __init__(self, broker: NatsBroker, subject: str, queue: str, answerer: Answerer, workers: int) -> None:
        # FastStream's own workers leave unanswered what waits for a free one when the service leaves.
        self._subscriber = broker.subscriber(subject, queue, no_reply=True)
        self._subscriber(self._take)
        self._answerer = answerer
        self._crew = Crew(workers)
        DROPPED.add(0)

    def start(self) -> None:
        """Do nothing: requests come by themselves."""

    async def leave(self) -> None:
        """Take no more requests, and answer those that came."""
        subscription = self._subscriber.subscription
        if isinstance(subscription, Subscription):
            with suppress(NatsError):
                await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py ships no complete types
            self._subscriber.subscription = None
        await self._crew.finish()

    async def _take(self, message: NatsMessage) -> None:
        # Its turn is not waited for here, where it could not be told from one that came just now.
        answering = self._answerer(message)
        self._crew.put_in_line(lambda: self._answer(message, answering), _patience_s(message.headers))

    async def _answer(self, message: NatsMessage, answering: Callable[[], Awaitable[bytes | None]]) -> None:
        answer = await answering()
        if answer is not None and message.raw_message.reply:
            await message.raw_message.respond(answer)


class Queue:
    """Works a durable consumer off: pulls for those who are free, so that nothing waits here while others are idle."""

    def __init__(
        self, connection: Callable[[], Client], stream: str, consumer: str, *, handler: Handler, workers: int
    ) -> None:
        # Not FastStream's: its loop fetches before anybody is free, where no heartbeat keeps the item, and spins when
        # the consumer is gone.
        self._connection = connection
        self._stream, self._consumer = stream, consumer
        self._handler = handler
        self._crew = Crew(workers)
        self._said: set[str] = set()
        """Why nothing can be pulled, as far as it was said since something could."""
        self._lost_pause_s = _LOST_PAUSE_S
        self._leaving = asyncio.Event()
        self._work: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to pull."""
        self._work = asyncio.create_task(self._pull_and_work(), name=f"queue {self._consumer}")

    async def leave(self) -> None:
        """Let the last pull run out, hand back what it brings, and finish what is at work."""
        self._leaving.set()
        if self._work is not None:
            await self._work
        await self._crew.finish()

    async def _pull_and_work(self) -> None:
        async with Puller(self._connection(), self._stream, self._consumer) as puller:
            while not self._leaving.is_set():
                await self._crew.wait_for_hand()
                message = None if self._leaving.is_set() else await self._pull(puller)
                if message is not None and not self._leaving.is_set():
                    self._crew.put_to_work(self._handler(message))
                    continue
                self._crew.let_hand_go()
                if message is not None:
                    await hand_back(message)

    async def _pull(self, puller: Puller) -> Msg | None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            message = await puller.pull()
        except Exception as error:  # noqa: BLE001  whatever it is, the service goes on asking
            await self._wait_for_better(error)
            return None
        if self._said and puller.is_answered:
            log.info("queue_available", consumer=self._consumer)
            self._said.clear()
            self._lost_pause_s = _LOST_PAUSE_S
        if message is None and clock() - began < PULL_S / 2:
            await self._pause(_PAUSE_S)
        return message

    async def _wait_for_better(self, error: Exception) -> None:
        """Say once an outage why nothing can be pulled, and wait; longer and longer where somebody has to mend it."""
        is_missing = self._connection().is_connected and await self._is_missing()
        cause = f"consumer {self._consumer} is missing: run decopilot provision" if is_missing else repr(error)
        # What passes changes its words, and one line is enough of it; what somebody has to mend is said besides.
        if not self._said or (cause not in self._said and (is_missing or not _passes(error))):
            log.warning("queue_unavailable", consumer=self._consumer, error=cause)
            self._said.add(cause)
        await self._pause(self._lost_pause_s)
        self._lost_pause_s = min(2 * self._lost_pause_s, _LONGEST_PAUSE_S) if is_missing else _LOST_PAUSE_S

    async def _is_missing(self) -> bool:
        # A pull is told no more than that nobody answers.
        try:
            await self._connection().jetstream().consumer_info(self._stream, self._consumer)
        except NotFoundError:
            return True
        except Exception:  # noqa: BLE001  nobody can tell
            return False
        return False

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._leaving.wait(), seconds)


def _passes(error: Exception) -> bool:
    """Tell whether it may be over by itself: no answer, no connection, no leader."""
    if isinstance(error, APIError):
        return isinstance(error, ServiceUnavailableError)
    return isinstance(error, NatsError | OSError)


def _patience_s(headers: Mapping[str, str]) -> float | None:
    try:
        told_s = float(headers.get(PATIENCE, math.inf))
    except ValueError:
        return None
    return told_s if math.isfinite(told_s) else None
