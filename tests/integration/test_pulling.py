"""A pull has one end, which the broker tells: nothing is sent to one that nobody listens to any more."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from nats.aio.msg import Msg
from nats.js.errors import ServiceUnavailableError

from decopilot.cli.chaos.faults.ways import Way, Weather, way_to
from decopilot.contracts import subjects
from decopilot.kit import pulling
from decopilot.kit.connection import connected
from decopilot.kit.pulling import Puller
from decopilot.kit.settings import Settings
from decopilot.log.store import Store
from support.services import until

STREAM, CONSUMER = subjects.EVENTS_STREAM, subjects.RUNNER_CONSUMER
ITEM = "decopilot.event.o.t.run_requested"


@pytest.fixture
async def way(settings: Settings) -> AsyncIterator[Way]:
    to = urlsplit(settings.nats_url)
    assert to.port is not None
    async with way_to(to.port, to.hostname or "127.0.0.1") as way:
        yield way


@pytest.fixture
async def puller(settings: Settings, store: Store, way: Way) -> AsyncIterator[Puller]:  # noqa: ARG001  provisioned
    led = settings.model_copy(update={"nats_url": f"nats://{way.address}"})
    async with connected(led, "puller") as nc, Puller(nc, STREAM, CONSUMER) as puller:
        yield puller


async def waiting_and_sent(store: Store) -> tuple[int, int]:
    """Tell how many pulls wait at the broker, and how many messages are on their way or in somebody's hands."""
    told = await store.js.consumer_info(STREAM, CONSUMER)
    return told.num_waiting or 0, told.num_ack_pending or 0


async def test_what_is_sent_to_a_pull_in_its_last_moment_is_taken(
    puller: Puller, store: Store, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "PULL_S", 2.0)
    monkeypatch.setattr(pulling, "OVERDUE_S", 60.0)
    began = asyncio.get_running_loop().time()
    asked = asyncio.create_task(puller.pull())

    async def waits() -> bool:
        return await waiting_and_sent(store) == (1, 0)

    async def is_sent() -> bool:
        return await waiting_and_sent(store) == (0, 1)

    await until(waits)
    way.have(held := Weather(holds=frozenset({"down"})))
    await store.publish(STREAM, ITEM, b"late")
    await until(is_sent)
    # By a clock of its own the pull is over before it hears of anything.
    await asyncio.sleep(began + 2.5 - asyncio.get_running_loop().time())
    way.lose(held)

    message = await asked
    assert message is not None
    assert b"late" == message.data


async def test_a_pull_that_brings_nothing_is_over_at_the_broker_too(
    puller: Puller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "PULL_S", 0.05)
    for _ in range(20):
        assert await puller.pull() is None
        assert (0, 0) == await waiting_and_sent(store)


async def test_what_an_earlier_pull_was_told_ends_no_later_one(
    puller: Puller, store: Store, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "PULL_S", 0.1)
    monkeypatch.setattr(pulling, "OVERDUE_S", 0.1)
    way.have(held := Weather(holds=frozenset({"down"})))
    assert await puller.pull() is None
    monkeypatch.setattr(pulling, "PULL_S", 30.0)
    asked = asyncio.create_task(puller.pull())
    way.lose(held)

    async def waits() -> bool:
        return await waiting_and_sent(store) == (1, 0)

    await until(waits)
    await store.publish(STREAM, ITEM, b"for the later one")

    message = await asked
    assert message is not None
    assert b"for the later one" == message.data


async def test_where_there_is_no_such_consumer_a_pull_says_so_at_once(puller: Puller, store: Store) -> None:
    await store.js.delete_consumer(STREAM, CONSUMER)
    with pytest.raises(ServiceUnavailableError):
        await puller.pull()


async def test_what_came_for_pulls_that_were_taken_for_lost_is_taken_or_handed_back_before_more_is_asked_for(
    puller: Puller, store: Store, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "PULL_S", 0.1)
    monkeypatch.setattr(pulling, "OVERDUE_S", 0.1)
    assert await puller.pull() is None
    way.have(held := Weather(holds=frozenset({"down"})))
    monkeypatch.setattr(pulling, "PULL_S", 5.0)
    monkeypatch.setattr(pulling, "OVERDUE_S", -4.9)
    for _ in range(3):
        assert await puller.pull() is None
    for number in range(9):
        await store.publish(STREAM, ITEM, b"%d" % number)

    async def are_sent() -> bool:
        return await waiting_and_sent(store) == (0, 3)

    await until(are_sent)
    monkeypatch.setattr(pulling, "OVERDUE_S", 60.0)
    asked = asyncio.create_task(puller.pull())
    way.lose(held)
    taken = [await asked]
    while len(taken) < 9:
        taken.append(await puller.pull())
        # What is sent and in nobody's hands is on its way back.
        await until(lambda: _as_many(store, taken))
    assert sorted(b"%d" % number for number in range(9)) == sorted(one.data for one in taken if one is not None)


async def _as_many(store: Store, taken: list[Msg | None]) -> bool:
    waiting, sent = await waiting_and_sent(store)
    return waiting == 0 and sent >= len(taken)


async def test_while_the_connection_is_away_nothing_is_asked_that_would_be_sent_at_its_return(
    puller: Puller, store: Store, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "OVERDUE_S", 0.01)
    away = Weather(refuses=True)
    way.have(away)
    way.cut()
    for _ in range(50):
        assert await puller.pull() is None
        assert not puller.is_answered
    way.lose(away)
    assert (0, 0) == await waiting_and_sent(store)
    await store.publish(STREAM, ITEM, b"after it")

    async def comes() -> Msg | None:
        return await puller.pull()

    message = await until(comes)
    assert message is not None
    assert b"after it" == message.data
    assert (0, 1) == await waiting_and_sent(store)
