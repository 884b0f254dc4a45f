"""FastStream where messages are handled: its broker, never declaring anything, and its pull consumers."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.annotations import NatsMessage

from decopilot.kit.connection import Lifeline
from decopilot.kit.settings import Settings

Handler = Callable[[NatsMessage], Awaitable[None]]
PULL_TIMEOUT_S = 5.0


class Messaging:
    """One service's broker and program."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._lifeline = Lifeline(settings, f"{name}-messaging")
        self.broker = NatsBroker(settings.nats_url, logger=None, **self._lifeline.options)

    def program(
        self,
        lifespan: Callable[[], AbstractAsyncContextManager[None]],
        *,
        on_shutdown: Callable[[], Awaitable[None]] | None = None,
    ) -> FastStream:
        """Make the program: handlers are registered in the lifespan, before the broker starts."""

        async def leave() -> None:
            self._lifeline.let_go()
            if on_shutdown is not None:
                await on_shutdown()

        return FastStream(self.broker, logger=None, lifespan=lifespan, on_shutdown=[leave])

    def consume(self, stream: str, consumer: str, subject: str, handler: Handler, *, workers: int) -> None:
        """Hand a durable consumer's messages to a handler that acknowledges by itself; up to `workers` at once."""
        # FastStream must not declare: it would rewrite the stream and drop what it does not know, RePublish too.
        self.broker.subscriber(
            subject,
            stream=JStream(stream, declare=False),
            durable=consumer,
            pull_sub=PullSub(1, timeout=PULL_TIMEOUT_S),
            ack_policy=AckPolicy.MANUAL,
            max_workers=workers,
        )(handler)
