import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.topology import provision
from support.brokers import embedded
from support.services import Service, Services, health, until
from support.stack import free_port

NAMES = ("command", "runner", "reactor")
MEASURED_S = 3.0


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def services(port: int, tmp_path: Path) -> Iterator[Services]:
    started = Services(tmp_path, f"nats://127.0.0.1:{port}")
    yield started
    started.end()


async def alive(service: Service) -> None:
    async def look() -> bool:
        return await health(service.health_port, "/livez") == 200

    await until(look)


async def status(service: Service) -> tuple[int, int]:
    return await health(service.health_port, "/readyz"), await health(service.health_port, "/livez")


async def cpu_share(service: Service) -> float:
    before = service.cpu_s()
    await asyncio.sleep(MEASURED_S)  # not to wait for something: this long it is measured
    return (service.cpu_s() - before) / MEASURED_S


async def test_services_wait_for_the_broker_alive_but_not_ready_and_can_be_told_to_leave(services: Services) -> None:
    started = [services.start(name) for name in NAMES]
    await asyncio.gather(*map(alive, started))
    assert [(503, 200)] * 3 == [await status(service) for service in started]
    for service in started:
        service.send(signal.SIGTERM)
    assert [0, 0, 0] == [await service.ended() for service in started]
    assert [[], [], []] == [service.complaints() for service in started]


async def test_services_become_ready_with_the_broker_and_again_after_its_return(
    services: Services, port: int, tmp_path: Path
) -> None:
    started = [services.start(name) for name in NAMES]
    await asyncio.gather(*map(alive, started))
    with embedded(tmp_path / "nats", port=port) as broker:
        async with connected(Settings(nats_url=broker.url), "test") as nc:
            await provision(nc)
        await asyncio.gather(*(service.ready() for service in started))
        idle = await asyncio.gather(*map(cpu_share, started))
        broker.kill()
        away = await asyncio.gather(*map(cpu_share, started))
        assert [(503, 200)] * 3 == [await status(service) for service in started]
        await asyncio.to_thread(broker.start)
        await asyncio.gather(*(service.ready() for service in started))
        broker.kill()
        for service in started:
            service.send(signal.SIGTERM)
        assert [0, 0, 0] == [await service.ended() for service in started]
    assert max(idle) < 0.05
    assert max(away) < 0.05
    assert [[], [], []] == [service.complaints() for service in started]


async def test_services_outlast_a_topology_that_comes_late_and_one_that_vanishes(
    services: Services, port: int, tmp_path: Path
) -> None:
    with embedded(tmp_path / "nats", port=port) as broker:
        started = [services.start(name) for name in NAMES]
        await asyncio.gather(*map(alive, started))
        async with connected(Settings(nats_url=broker.url), "test") as nc:
            await provision(nc)
            await asyncio.gather(*(service.ready() for service in started))
            await nc.jetstream().delete_stream("DECOPILOT_EVENTS")
            share = await asyncio.gather(*map(cpu_share, started))
            assert [(503, 200)] * 3 == [await status(service) for service in started]
            await provision(nc)
            await asyncio.gather(*(service.ready() for service in started))
    assert max(share) < 0.05
    assert [[], [], []] == [service.complaints() for service in started]
