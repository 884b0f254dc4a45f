"""A queue whose consumer is gone says so once, and goes on by itself when it is there again."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import BadRequestError, ServiceUnavailableError
from structlog.testing import capture_logs

from decopilot.contracts import subjects
from decopilot.kit import intake
from decopilot.kit.connection import connected
from decopilot.kit.messaging import Messaging
from decopilot.kit.settings import Settings
from decopilot.log.store import Store
from decopilot.log.topology import provision
from support.brokers import as_user
from support.services import running, until
from support.stack import free_port

ASKED_IN_VAIN = 6


async def test_a_missing_consumer_is_said_once_with_its_remedy_and_worked_off_once_it_is_made(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_LOST_PAUSE_S", 0.01)
    monkeypatch.setattr(intake, "_LONGEST_PAUSE_S", 0.02)
    told = as_user(settings.model_copy(update={"health_port": (port := free_port())}), "runner")
    messaging = Messaging(told, "runner")
    handled = asyncio.Event()
    asked = 0

    async def handle(message: Msg) -> None:
        await message.ack()
        handled.set()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[Client]:
        async with connected(told, "runner") as nc:
            yield nc

    def said() -> list[MutableMapping[str, Any]]:
        return [line for line in logs if line["event"].startswith("queue_")]

    async def available() -> bool:
        return "queue_available" in {line["event"] for line in said()}

    is_missing = intake.Queue._is_missing  # noqa: SLF001  nothing else shows that it asks on

    async def counted(queue: intake.Queue) -> bool:
        nonlocal asked
        asked += 1
        if asked == ASKED_IN_VAIN:
            # It comes between a pull that failed and the question why: nothing is missing then.
            async with connected(as_user(settings, "provision"), "provision") as nc:
                await provision(nc)
        return await is_missing(queue)

    monkeypatch.setattr(intake.Queue, "_is_missing", counted)
    messaging.consume(subjects.EVENTS_STREAM, subjects.RUNNER_CONSUMER, handle, workers=1)
    with capture_logs() as logs:
        async with running(messaging.program(lifespan), port):
            await store.js.delete_consumer(subjects.EVENTS_STREAM, subjects.RUNNER_CONSUMER)
            await until(available)
            await store.publish(subjects.EVENTS_STREAM, "decopilot.event.o.t.run_requested", b"{}")
            async with asyncio.timeout(60):
                await handled.wait()
    assert [
        ("queue_unavailable", "consumer runner is missing: run decopilot provision"),
        ("queue_available", None),
    ] == [(line["event"], line.get("error")) for line in said()]


async def test_what_passes_is_said_once_in_whatever_words_and_what_does_not_besides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "_LOST_PAUSE_S", 0.01)

    async def handle(_: Msg) -> None:
        pytest.fail("nothing is pulled")

    away = cast("Client", SimpleNamespace(is_connected=False))
    queue = intake.Queue(lambda: away, subjects.EVENTS_STREAM, subjects.RUNNER_CONSUMER, handler=handle, workers=1)
    refused = BadRequestError(code=400, err_code=10003, description="bad request")
    with capture_logs() as logs:
        for error in (ServiceUnavailableError(), TimeoutError(), refused, ConnectionResetError(104), refused):
            await queue._wait_for_better(error)  # noqa: SLF001  no broker can be told to fail so
    assert [repr(ServiceUnavailableError()), repr(refused)] == [line["error"] for line in logs]
