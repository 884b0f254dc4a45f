"""What viewers see when the broker or a gateway goes and comes back while much is written."""

import asyncio
import os
import random
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.log.store import Store
from support.freezing import freeze
from support.gateways import ORG, GatewayProcess, Run, gateway_process, make_token, until
from support.load import COMERS, VIEWERS, Load, Property
from support.returning import Returning, Stay

HANG_S = 4.0
PAGE = "x" * 250_000


@pytest.fixture
def load(store: Store, gateways: list[GatewayProcess], chance: random.Random) -> Load:
    """Fifty viewers, of whom half begin at each gateway; all go to the other when they come back, and some often do."""
    return Load.on(store, [gateway.url for gateway in gateways], chance)


async def test_nats_is_killed_twice_and_hangs_once_and_every_chunk_is_seen_once(
    own_broker: EmbeddedBroker, gateways: list[GatewayProcess], load: Load, record_property: Property
) -> None:
    async def restart() -> None:
        await asyncio.to_thread(own_broker.kill)
        await asyncio.to_thread(own_broker.start)

    async def disturb() -> None:
        await restart()
        await load.flows()
        record_property("longest_silences_over_a_kill_s", load.silences_s)
        # Who writes is back before the gateways are: what comes to these live begins behind a gap.
        for gateway in gateways:
            await asyncio.to_thread(freeze, gateway.process.pid)
        await restart()
        await load.is_written()
        for gateway in gateways:
            os.kill(gateway.process.pid, signal.SIGCONT)
        await load.flows()
        assert own_broker.pid is not None
        await asyncio.to_thread(freeze, own_broker.pid)
        await asyncio.sleep(HANG_S)  # not to wait for something: it hangs so long
        os.kill(own_broker.pid, signal.SIGCONT)

    await load.through(disturb, record_property)


async def test_a_gateway_is_killed_and_started_again_and_every_chunk_is_seen_once(
    own_broker: EmbeddedBroker, gateways: list[GatewayProcess], load: Load, record_property: Property
) -> None:
    killed = gateways[0]
    async with AsyncExitStack() as stack:

        async def disturb() -> None:
            killed.process.kill()
            await load.flows()
            await stack.enter_async_context(gateway_process(own_broker.url, killed.log.parent, port=killed.port))
            await until(lambda: any(is_watching(viewer, killed) for viewer in load.viewers))

        await load.through(disturb, record_property)


async def test_a_gateway_leaves_although_somebody_reads_nothing_and_every_chunk_is_seen_once(
    gateways: list[GatewayProcess], load: Load, record_property: Property
) -> None:
    leaving = gateways[0]
    streams: list[Stay] = []

    async def disturb() -> None:
        streams.extend(viewer.stays[-1] for viewer in load.viewers[COMERS:] if is_watching(viewer, leaving))
        assert 0 == await leaving.end()

    async with somebody_who_reads_nothing(load.store, leaving):
        await load.through(disturb, record_property)
    assert len(streams) > VIEWERS // 4
    assert [] == [stream for stream in streams if not stream.was_ended]
    # Before and after that, whoever came was let in or found nobody.
    assert {200, None} == {stay.status for viewer in load.viewers for stay in viewer.stays if stay.door == leaving.url}


def is_watching(viewer: Returning, gateway: GatewayProcess) -> bool:
    return viewer.stays[-1].door == gateway.url and bool(viewer.stays[-1].events)


@asynccontextmanager
async def somebody_who_reads_nothing(store: Store, gateway: GatewayProcess) -> AsyncIterator[None]:
    """Attach to a thread of 12 MB, more than the kernel takes of it, and let it come."""
    async with Run(store, "large") as run:
        await run.start()
        for _ in range(48):
            await run.write({"type": "text-delta", "id": "t", "delta": PAGE})
    headers = f"Host: x\r\nAuthorization: Bearer {make_token()}\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port)) as deaf:
        deaf.sendall(f"GET /{ORG}/decopilot/attach/large?cursor=0-0 HTTP/1.1\r\n{headers}\r\n".encode())
        yield
