"""A desk answers whoever still waits, and nobody else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from faststream.nats.annotations import NatsMessage
from nats.aio.client import Client

from decopilot.contracts import subjects
from decopilot.contracts.commands import CANCEL_RUN, PATIENCE
from decopilot.kit import intake
from decopilot.kit.connection import connected
from decopilot.kit.messaging import Messaging
from decopilot.kit.settings import Settings
from support.brokers import as_user
from support.gateways import until
from support.services import running
from support.stack import free_port

pytestmark = pytest.mark.usefixtures("store")
SUBJECT = subjects.command(CANCEL_RUN)


class Answers:
    """What a desk was asked, and the one hand that is free once it is told."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.has_begun = asyncio.Event()
        self.is_free = asyncio.Event()

    def take(self, message: NatsMessage) -> Callable[[], Awaitable[bytes]]:
        async def answer() -> bytes:
            self.begun.append(message.body)
            self.has_begun.set()
            await self.is_free.wait()
            return b"answer to " + message.body

        return answer


@pytest.fixture
async def answers(settings: Settings) -> AsyncIterator[Answers]:
    told = as_user(settings.model_copy(update={"health_port": (port := free_port())}), "command")
    messaging, answers = Messaging(told, "command"), Answers()
    messaging.answer(SUBJECT, subjects.COMMAND_QUEUE, answers.take, workers=1)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[Client]:
        async with connected(told, "command") as nc:
            yield nc

    async with running(messaging.program(lifespan), port):
        yield answers


@pytest.fixture
async def gateway(settings: Settings) -> AsyncIterator[Client]:
    async with connected(as_user(settings, "gateway"), "gateway") as nc:
        yield nc


class Dropped:
    """Counts what a desk has dropped."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, count: int) -> None:
        self.count += count


async def test_what_nobody_waits_for_any_more_is_not_begun(
    answers: Answers, gateway: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "DROPPED", dropped := Dropped())
    first = asyncio.create_task(gateway.request(SUBJECT, b"first", timeout=60))
    await answers.has_begun.wait()
    with pytest.raises(TimeoutError):
        await gateway.request(SUBJECT, b"in vain", timeout=0.2, headers={PATIENCE: "0.2"})
    behind = [
        asyncio.create_task(gateway.request(SUBJECT, text, timeout=60, headers=headers))
        for text, headers in (
            (b"patient", {PATIENCE: "60"}),
            (b"says nothing of it", None),
            (b"says what is no number", {PATIENCE: "soon"}),
        )
    ]
    await gateway.flush()
    # The desk's time began when the request had come.
    await until(lambda: dropped.count == 1)

    answers.is_free.set()

    told = [answer.data for answer in await asyncio.gather(first, *behind)]
    assert [b"first", b"patient", b"says nothing of it", b"says what is no number"] == answers.begun
    assert [b"answer to " + text for text in answers.begun] == told
