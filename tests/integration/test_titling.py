"""Titles: found beside the runs, once for each new thread, and never in the place of one that a person gave."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from faststream import FastStream
from nats.aio.client import Client

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.events import ThreadTitled
from decopilot.contracts.ids import ThreadId
from decopilot.domain.commands import Delete, Retitle
from decopilot.kit.connection import connected
from decopilot.kit.messaging import Messaging
from decopilot.kit.settings import Settings
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.views import Views
from decopilot_runner import titling
from decopilot_runner.titling import FindTitle, Titler
from support.brokers import as_user
from support.services import ORG, USER, Record, Services, running, until
from support.stack import free_port

_names = itertools.count()


@pytest.fixture
def services(own_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Services]:
    started = Services(tmp_path, own_broker.url)
    yield started
    started.end()


@dataclass
class Provider:
    """Finds titles, or does not: the first `fails` times it is asked it is down, and it may be told to hold."""

    fails: int = 0
    holds: bool = False
    asked: list[str] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def find(self, text: str) -> str:
        self.asked.append(text)
        if self.holds:
            await self.go_on.wait()
        if len(self.asked) <= self.fails:
            raise OSError(text)
        return f"About {text}"

    async def is_asked(self, times: int = 1) -> None:
        """Wait until it was asked so often."""

        async def look() -> bool:
            return len(self.asked) >= times

        await until(look)


def program(settings: Settings, find: FindTitle | None) -> tuple[FastStream, int]:
    """Make a program that does nothing but title, as the runner does beside its runs."""
    port = free_port()
    told = as_user(settings.model_copy(update={"health_port": port, "instance": f"titler-{next(_names)}"}), "runner")
    messaging = Messaging(told, "titler")
    titlers: list[Titler] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[Client]:
        async with connected(told, "titler") as nc, Store(nc) as store:
            titlers.append(Titler(nc, Journal(store, Views(store)), find))
            handle = titlers[0].handle
            messaging.consume(subjects.EVENTS_STREAM, subjects.TITLER_CONSUMER, handle, workers=4)
            yield nc

    async def leave() -> None:
        await titlers[0].stop()

    return messaging.program(lifespan, on_shutdown=leave), port


@asynccontextmanager
async def titlers(settings: Settings, find: FindTitle | None, count: int = 1) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(running(*program(settings, find)))
        yield


async def title_of(record: Record, thread: str = "t1") -> str:
    return (await record.journal.load(ORG, ThreadId(thread))).state.title


async def titled(record: Record, thread: str = "t1") -> list[ThreadTitled]:
    return [one.event for one in await record.events(thread) if isinstance(one.event, ThreadTitled)]


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(titling, "BACKOFF_S", 0.05)


async def test_a_new_thread_is_titled_once_by_however_many_copies_and_what_follows_is_not(
    settings: Settings, record: Record
) -> None:
    provider = Provider()
    async with titlers(settings, provider.find, count=2):
        await record.send("t1", "rivers")
        await record.drained("titler")
        await record.cancel("t1")
        await record.send("t1", "lakes", "m2")
        await record.drained("titler")
    (event,) = await titled(record)
    assert (USER, "About rivers", True) == (event.user_id, event.title, event.automatic)
    assert ["rivers"] == provider.asked


async def test_who_titles_a_thread_meanwhile_has_the_last_word(settings: Settings, record: Record) -> None:
    provider = Provider(holds=True)
    async with titlers(settings, provider.find):
        await record.send("t1", "rivers")
        await provider.is_asked()
        mine = Retitle(now=datetime.now(UTC), user_id=USER, role="member", title="Mine")
        await record.journal.execute(ORG, ThreadId("t1"), mine)
        provider.go_on.set()
        await record.drained("titler")
    assert ["Mine"] == [event.title for event in await titled(record)]


async def test_a_thread_that_is_deleted_meanwhile_is_left_alone(settings: Settings, record: Record) -> None:
    provider = Provider(holds=True)
    async with titlers(settings, provider.find):
        await record.send("t1", "rivers")
        await provider.is_asked()
        delete = Delete(now=datetime.now(UTC), user_id=USER, role="member")
        await record.journal.execute(ORG, ThreadId("t1"), delete)
        provider.go_on.set()
        await record.drained("titler")
    assert "thread_deleted" == (await record.event_types("t1"))[-1]


async def test_a_provider_that_is_down_is_asked_again_and_given_up_quietly(settings: Settings, record: Record) -> None:
    passing, down = Provider(fails=2), Provider(fails=99)
    async with titlers(settings, passing.find):
        await record.send("t1", "rivers")
        await record.drained("titler")
    assert (3, "About rivers") == (len(passing.asked), await title_of(record))
    async with titlers(settings, down.find):
        await record.send("t2", "lakes")
        await record.drained("titler")
    assert (titling.TRIES, "lakes") == (len(down.asked), await title_of(record, "t2"))
    assert ["run_requested"] == await record.event_types("t2")


async def test_one_that_leaves_lets_go_at_once_and_another_titles(settings: Settings, record: Record) -> None:
    held, other = Provider(holds=True), Provider()
    async with titlers(settings, held.find):
        await record.send("t1", "rivers")
        await held.is_asked()
    async with titlers(settings, other.find):
        await record.drained("titler")
    assert (["rivers"], "About rivers") == (other.asked, await title_of(record))


async def test_where_nobody_wants_titles_nothing_is_left_to_be_titled_later(settings: Settings, record: Record) -> None:
    later = Provider()
    async with titlers(settings, None):
        await record.send("t1", "rivers")
        await record.drained("titler")
    async with titlers(settings, later.find):
        await record.drained("titler")
    assert ([], "rivers") == (later.asked, await title_of(record))


async def test_a_runner_titles_by_its_fast_tier_beside_its_runs_and_survives_being_killed(
    record: Record, services: Services
) -> None:
    first = services.start("runner", titles=True)
    await first.ready()
    run = await record.send("t1", "/count 200 10")
    await record.drained("titler")
    # Its run goes on, and is not held up by the title.
    assert "Count 200 10" == await title_of(record)
    assert "run_completed" not in await record.event_types("t1")
    first.send(signal.SIGKILL)
    await record.send("t2", "/count 1")
    second = services.start("runner", titles=True)
    await second.ready()
    await record.end_of("t1", run)
    await record.drained("titler")
    assert "Count 1" == await title_of(record, "t2")
    assert [1, 1] == [len(await titled(record, thread)) for thread in ("t1", "t2")]
    assert [] == second.complaints()
