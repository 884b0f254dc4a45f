"""Faults of the network bite, and are over at their end: real clients of a real broker, over a way of their own."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from nats.aio.client import Client

from decopilot.cli.broker import EmbeddedBroker
from decopilot.cli.chaos.faults.fault import Together
from decopilot.cli.chaos.faults.proxying import (
    Cut,
    HalfOpen,
    delay,
    one_way_partition,
    partition,
    refusal,
    severance,
    trickle,
)
from decopilot.cli.chaos.faults.ways import Way, way_to
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from support.services import until

SILENT_S = 0.5
"""So long nothing comes over a way that holds, however little that is on one that does not."""


@asynccontextmanager
async def client(address: str, on_gap: Callable[[], Awaitable[None]] | None = None) -> AsyncIterator[Client]:
    settings = Settings(nats_url=f"nats://{address}")
    async with connected(settings, "test", on_gap=on_gap) as nc:
        yield nc


@asynccontextmanager
async def both(broker: EmbeddedBroker) -> AsyncIterator[tuple[Way, Client, list[bytes]]]:
    """Lead one client over a way; keep what another, who is led over none, hears of it."""
    heard: list[bytes] = []

    async def hear(message: object) -> None:
        heard.append(message.data)  # type: ignore[attr-defined]

    direct_to = f"127.0.0.1:{broker.port}"
    async with way_to(broker.port) as way, client(way.address) as led, client(direct_to) as direct:
        await direct.subscribe("said", cb=hear)
        await direct.flush()
        yield way, led, heard


async def come(heard: list[bytes], *said: bytes) -> None:
    async def have_come() -> bool:
        return heard == list(said)

    await until(have_come)


async def test_a_partition_lets_nothing_through_and_tells_nobody_and_at_its_end_all_comes(
    own_broker: EmbeddedBroker,
) -> None:
    async with both(own_broker) as (way, led, heard):
        await led.publish("said", b"before")
        await come(heard, b"before")
        fault = partition("client", way)
        await fault.begin()
        await fault.begin()
        await led.publish("said", b"meanwhile")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(led.flush(), SILENT_S)
        async with greeted(way) as greeting:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(greeting.readline(), SILENT_S)
        assert [b"before"] == heard
        assert led.is_connected
        await fault.end()
        await fault.end()

        await come(heard, b"before", b"meanwhile")
        await led.flush()


@asynccontextmanager
async def greeted(way: Way) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
    try:
        yield reader
    finally:
        writer.transport.abort()


async def test_a_partition_of_one_direction_holds_questions_or_only_their_answers(own_broker: EmbeddedBroker) -> None:
    async with both(own_broker) as (way, led, heard):
        down = one_way_partition("client", way, "down")
        await down.begin()
        await led.publish("said", b"heard")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(led.flush(), SILENT_S)
        await come(heard, b"heard")
        await down.end()
        up = one_way_partition("client", way, "up")
        await up.begin()
        await led.publish("said", b"late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(led.flush(), SILENT_S)
        assert [b"heard"] == heard
        await up.end()
        await led.flush()


async def test_of_two_faults_on_one_way_the_other_stays_when_one_ends(own_broker: EmbeddedBroker) -> None:
    async with both(own_broker) as (way, led, _):
        one, other = partition("client", way), partition("client", way)
        await Together("partition", "all", (one, other)).begin()
        await one.end()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(led.flush(), SILENT_S)
        await Together("partition", "all", (one, other)).end()
        await led.flush()


async def test_a_cut_resets_what_is_there_and_clients_come_back(own_broker: EmbeddedBroker) -> None:
    back = asyncio.Event()

    async def note() -> None:
        back.set()

    async with way_to(own_broker.port) as way, client(way.address, note) as led:
        fault = Cut("client", way)
        await fault.begin()
        assert 1 == fault.cut
        await asyncio.wait_for(back.wait(), 20)
        await led.flush()
        await fault.end()


async def test_a_refusing_way_resets_who_is_new_and_keeps_who_is_there(own_broker: EmbeddedBroker) -> None:
    async with way_to(own_broker.port) as way, client(way.address) as led:
        fault = refusal("client", way)
        await fault.begin()
        await led.flush()
        with pytest.raises(ConnectionResetError):
            async with greeted(way) as greeting:
                await greeting.read(1)
        await fault.end()
        async with greeted(way) as greeting:
            assert b"INFO" == (await greeting.readline())[:4]


async def test_what_is_delayed_comes_late_and_in_order(own_broker: EmbeddedBroker) -> None:
    async with both(own_broker) as (way, led, heard):
        fault = delay("client", way, 0.2, 0.1)
        await fault.begin()
        said = [str(number).encode() for number in range(50)]
        clock = asyncio.get_running_loop().time
        began = clock()
        for number in said:
            await led.publish("said", number)
            await asyncio.sleep(0)
        await led.flush()
        assert clock() - began >= 0.4
        await come(heard, *said)
        await fault.end()


async def test_what_trickles_takes_its_time(own_broker: EmbeddedBroker) -> None:
    async with both(own_broker) as (way, led, heard):
        fault = trickle("client", way, 20_000)
        await fault.begin()
        clock = asyncio.get_running_loop().time
        began = clock()
        await led.publish("said", bytes(20_000))
        await come(heard, bytes(20_000))
        assert clock() - began >= 0.9
        await fault.end()


async def test_a_severed_connection_ends_within_a_message(own_broker: EmbeddedBroker) -> None:
    back = asyncio.Event()

    async def note() -> None:
        back.set()

    async with both(own_broker) as (way, led, _), client(way.address, note) as other:
        await other.subscribe("said")
        await other.flush()
        fault = severance("client", way)
        await fault.begin()
        await led.publish("said", bytes(1000))

        async def is_cut() -> bool:
            return way.severed > 0

        await until(is_cut)
        await fault.end()
        await asyncio.wait_for(back.wait(), 20)
        await other.flush()


@pytest.mark.parametrize("left", ["client", "server"])
async def test_of_a_half_open_connection_one_end_believes_that_it_is_there(
    own_broker: EmbeddedBroker, left: str
) -> None:
    back = asyncio.Event()

    async def note() -> None:
        back.set()

    def connections() -> int:
        with urllib.request.urlopen(f"{own_broker.monitor_url}/connz", timeout=5) as response:
            return int(json.load(response)["num_connections"])

    async with way_to(own_broker.port) as way, client(way.address, note) as led:
        fault = HalfOpen("client", way, "client" if left == "client" else "server")
        await fault.begin()
        if left == "client":

            async def is_forgotten() -> bool:
                return await asyncio.to_thread(connections) == 0

            await until(is_forgotten)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(led.flush(), SILENT_S)
            assert not back.is_set()
            await fault.end()
            await asyncio.wait_for(back.wait(), 20)
        else:
            await asyncio.wait_for(back.wait(), 20)
            await led.flush()
            assert 2 == await asyncio.to_thread(connections)
            await fault.end()

            async def is_one() -> bool:
                return await asyncio.to_thread(connections) == 1

            await until(is_one)
        await fault.end()
        await led.flush()


async def test_a_way_may_end_with_faults_on_it(own_broker: EmbeddedBroker) -> None:
    async with way_to(own_broker.port) as way, greeted(way) as greeting:
        assert b"INFO" == (await greeting.readline())[:4]
        await partition("client", way).begin()
        await HalfOpen("client", way).begin()
        assert 1 == way.connections
    assert 0 == way.connections
