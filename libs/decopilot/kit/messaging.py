"""FastStream where messages are handled: requests are answered, queues worked off, nothing is ever declared."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

import structlog
from faststream import FastStream
from faststream.exceptions import IncorrectState
from faststream.message import StreamMessage
from faststream.nats import NatsBroker
from faststream.nats.security import NatsSecurity, NatsUserPassword
from nats.aio.client import Client
from nats.errors import Error as NatsError

from decopilot.kit.collecting import spare_the_collector
from decopilot.kit.connection import Lifeline
from decopilot.kit.health import broker_answers, serving
from decopilot.kit.intake import Answerer, Desk, Handler, Queue
from decopilot.kit.settings import Settings

GRACE_S = 10.0
"""What is being handled when the service is told to leave has this long to end by itself."""

log = structlog.get_logger()


class Program(FastStream):
    """A program that can be told to leave while it still waits for the broker, and while the broker is away."""

    _main: asyncio.Task[Any] | None = None
    running = False

    async def serve(self) -> None:
        """Run as what the process is for: the garbage collector is its, too."""

        async def spare() -> None:
            # Called as it is, it would be called in a thread, where nothing of the loop's may be collected.
            spare_the_collector()

        self.after_startup(spare)
        await self.run()

    async def run(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  FastStream's own
        """Run until it is told to leave."""
        self._main = asyncio.current_task()
        try:
            await super().run(*args, **kwargs)
        except asyncio.CancelledError:
            if not self._should_exit:
                raise

    def exit(self) -> None:
        """Tell it to leave."""
        super().exit()
        if not self.running and self._main is not None:
            self._main.cancel()

    async def stop(self) -> None:
        """Leave, as FastStream does."""
        try:
            await super().stop()
        except NatsError as error:
            # What the broker was not told it finds out by itself: items come again when their time is up.
            log.warning("left_without_broker", error=repr(error))


class Messaging:
    """One service's broker and program."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._lifeline = Lifeline(settings, f"{name}-messaging", client=self._connection)
        # Bodies are decoded by their handlers, which say what is wrong with them; FastStream would answer nothing.
        # Parameters are not resolved by their types: for that each message would go to a thread and back.
        self.broker = NatsBroker(
            settings.nats_servers,
            logger=None,
            decoder=_undecoded,
            apply_types=False,
            security=_security(**self._lifeline.security),
            **self._lifeline.manners,
        )
        self._intakes: list[Desk | Queue] = []
        self._started = False

    def _connection(self) -> Client | None:
        with suppress(IncorrectState):
            return self.broker.connection
        return None

    def program(
        self,
        lifespan: Callable[[], AbstractAsyncContextManager[Client]],
        *,
        on_shutdown: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> Program:
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
            log.info("service_started", instance=self._settings.instance, version=version("decopilot"))

        async def leave() -> None:
            self._started = False
            self._lifeline.let_go()
            leaving = [intake.leave() for intake in self._intakes]
            if on_shutdown is not None:
                leaving.append(on_shutdown())
            try:
                async with asyncio.timeout(GRACE_S):
                    for error in await asyncio.gather(*leaving, return_exceptions=True):
                        if isinstance(error, BaseException):
                            log.error("not_left_in_order", exc_info=error)
            except TimeoutError:
                log.warning("handlers_abandoned", after_s=GRACE_S)

        return Program(self.broker, logger=None, lifespan=living, after_startup=[enter], on_shutdown=[leave])

    def answer(self, subject: str, queue: str, answerer: Answerer, *, workers: int) -> None:
        """Answer requests, one copy of each in a queue group; up to `workers` at once."""
        self._intakes.append(Desk(self.broker, subject, queue, answerer, workers))

    def consume(self, stream: str, consumer: str, handler: Handler, *, workers: int) -> None:
        """Hand a durable consumer's messages to a handler that acknowledges by itself; up to `workers` at once."""
        queue = Queue(lambda: self.broker.connection, stream, consumer, handler=handler, workers=workers)
        self._intakes.append(queue)


def _security(
    user: str | None, password: str | None, tls: ssl.SSLContext | None = None, *, tls_handshake_first: bool = False
) -> NatsSecurity:
    if user is None or password is None:
        return NatsSecurity(ssl_context=tls, tls_handshake_first=tls_handshake_first)
    return NatsUserPassword(user, password, ssl_context=tls, tls_handshake_first=tls_handshake_first)


async def _undecoded(message: StreamMessage[Any]) -> StreamMessage[Any]:
    return message
