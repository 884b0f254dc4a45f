"""FastStream where messages are handled: requests are answered, queues worked off, nothing is ever declared."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import structlog
from faststream import AckPolicy, FastStream
from faststream.message import StreamMessage
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.annotations import NatsMessage
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from decopilot.kit.connection import Lifeline
from decopilot.kit.health import broker_answers, serving
from decopilot.kit.settings import Settings

Handler = Callable[[NatsMessage], Awaitable[None]]
Answerer = Callable[[NatsMessage], Awaitable[bytes]]
PULL_S = 0.5
"""How long one pull waits: what a lost one costs after the broker's restart, and what leaving may take."""
GRACE_S = 10.0
"""What is being handled when the service is told to leave has this long to end by itself."""
_PAUSE_S, _LOST_PAUSE_S = 0.05, 1.0

log = structlog.get_logger()


class Messaging:
    """One service's broker and program."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._lifeline = Lifeline(settings, f"{name}-messaging")
        # Bodies are decoded by their handlers, which say what is wrong with them; FastStream would answer nothing.
        self.broker = NatsBroker(settings.nats_url, logger=None, decoder=_undecoded, **self._lifeline.options)
        self._intakes: list[_Desk | _Queue] = []
        self._started = False

    def program(
        self,
        lifespan: Callable[[], AbstractAsyncContextManager[Client]],
        *,
        on_shutdown: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> FastStream:
        """Make the program: handlers are registered in the lifespan, which yields the service's own connection.

        It is alive from its start, and ready while its handlers are at work and the broker answers. On leaving
        it takes nothing more, calls `on_shutdown`, waits for what is being handled, and then leaves the broker.
        """

        @asynccontextmanager
        async def living() -> AsyncIterator[None]:
            own: list[Client] = []

            async def is_ready() -> bool:
                connections = [self.broker.connection, *own] if self._started else []
                return bool(connections) and all([await broker_answers(connection) for connection in connections])

            async with serving(self._settings, is_ready), lifespan() as nc:
                own.append(nc)
                yield

        async def enter() -> None:
            for intake in self._intakes:
                intake.start()
            self._started = True

        async def leave() -> None:
            self._started = False
            self._lifeline.let_go()
            leaving = [intake.leave() for intake in self._intakes]
            if on_shutdown is not None:
                leaving.append(on_shutdown())
            try:
                async with asyncio.timeout(GRACE_S):
                    await asyncio.gather(*leaving)
            except TimeoutError:
                log.warning("handlers_abandoned", after_s=GRACE_S)

        return _Program(self.broker, logger=None, lifespan=living, after_startup=[enter], on_shutdown=[leave])

    def answer(self, subject: str, queue: str, answerer: Answerer, *, workers: int) -> None:
        """Answer requests, one copy of each in a queue group; up to `workers` at once."""
        self._intakes.append(_Desk(self.broker, subject, queue, answerer, workers))

    def consume(self, stream: str, consumer: str, subject: str, handler: Handler, *, workers: int) -> None:
        """Hand a durable consumer's messages to a handler that acknowledges by itself; up to `workers` at once."""
        self._intakes.append(_Queue(self.broker, stream, consumer, subject, handler=handler, workers=workers))


async def _undecoded(message: StreamMessage[Any]) -> bytes:
    return bytes(message.body)


class _Program(FastStream):
    """A program that can be told to leave while it still waits for the broker, and while the broker is away."""

    _main: asyncio.Task[Any] | None = None
    running = False

    async def run(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  FastStream's own
        self._main = asyncio.current_task()
        try:
            await super().run(*args, **kwargs)
        except asyncio.CancelledError:
            if not self._should_exit:
                raise

    def exit(self) -> None:
        super().exit()
        if not self.running and self._main is not None:
            self._main.cancel()

    async def stop(self) -> None:
        try:
            await super().stop()
        except NatsError as error:
            # What the broker was not told it finds out by itself: items come again when their time is up.
            log.warning("left_without_broker", error=repr(error))


class _Crew:
    """So many at work at once, and no more."""

    def __init__(self, size: int) -> None:
        self._free = asyncio.Semaphore(size)
        self._tasks: set[asyncio.Task[None]] = set()

    async def wait_for_hand(self) -> None:
        """Wait until somebody is free, and keep that one for what comes."""
        await self._free.acquire()

    def let_hand_go(self) -> None:
        self._free.release()

    def put_to_work(self, work: Awaitable[None]) -> None:
        """Let the one who was waited for do it."""
        task = asyncio.ensure_future(self._do(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception:
            log.exception("handler_failed")
        finally:
            self.let_hand_go()

    async def finish(self) -> None:
        await asyncio.gather(*self._tasks)


class _Desk:
    """Answers the requests on a subject."""

    def __init__(self, broker: NatsBroker, subject: str, queue: str, answerer: Answerer, workers: int) -> None:
        # FastStream's own workers leave unanswered what waits for a free one when the service leaves.
        self._subscriber = broker.subscriber(subject, queue, no_reply=True)
        self._subscriber(self._take)
        self._answerer = answerer
        self._crew = _Crew(workers)

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
        await self._crew.wait_for_hand()
        self._crew.put_to_work(self._answer(message))

    async def _answer(self, message: NatsMessage) -> None:
        answer = await self._answerer(message)
        if message.raw_message.reply:
            await message.raw_message.respond(answer)


class _Queue:
    """Works a durable consumer off: pulls for those who are free, so that nothing waits here while others are idle."""

    def __init__(
        self, broker: NatsBroker, stream: str, consumer: str, subject: str, *, handler: Handler, workers: int
    ) -> None:
        # FastStream must not declare: it would rewrite the stream and drop what it does not know, RePublish too.
        # It pulls one when asked. Its own loop fetches before anybody is free, where no heartbeat keeps the item,
        # and spins when the consumer is gone.
        self._subscriber = broker.subscriber(
            subject,
            stream=JStream(stream, declare=False),
            durable=consumer,
            pull_sub=PullSub(1),
            ack_policy=AckPolicy.MANUAL,
        )
        self._broker = broker
        self._stream, self._consumer = stream, consumer
        self._handler = handler
        self._crew = _Crew(workers)
        self._known = False
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
        while not self._leaving.is_set():
            await self._crew.wait_for_hand()
            message = None if self._leaving.is_set() else await self._pull()
            if message is not None and not self._leaving.is_set():
                self._crew.put_to_work(self._handler(message))
                continue
            self._crew.let_hand_go()
            if message is not None:
                with suppress(NatsError):
                    await message.nack()

    async def _pull(self) -> NatsMessage | None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            if not self._known:
                # Pulling from a consumer that is missing would create one by the client's defaults.
                await self._broker.connection.jetstream().consumer_info(self._stream, self._consumer)
                self._known = True
            message = await self._subscriber.get_one(timeout=PULL_S)
        except Exception as error:  # noqa: BLE001  whatever it is, the service goes on asking
            log.warning("queue_unavailable", consumer=self._consumer, error=repr(error))
            await self._pause(_LOST_PAUSE_S)
            return None
        if message is None and clock() - began < PULL_S / 2:
            await self._pause(_PAUSE_S)
        return message

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._leaving.wait(), seconds)
