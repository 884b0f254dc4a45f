"""Streams through proxies: those that everybody has before a gateway, and worse ones."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.log.store import Store
from support.authors import Author
from support.cutting import cutting
from support.gateways import ORG, GatewayProcess, Run, make_token, running_gateway
from support.nginx import Configure, checked, deaf, nginx, plain, shipped
from support.returning import Returning, all_watch, faults
from support.stack import free_port
from support.viewer import Viewer

THREADS = ("t1", "t2", "t3", "t4")
VIEWERS = 100
RETURNS = 100
STAY_CHUNKS = 20
"""On average."""
LAG_FRAMES = 10 * len(THREADS)
"""So far an author may be ahead of its slowest viewer: all of them read what is being written."""
DEADLINE_S = 200.0
IDLE_DEADLINE_S = 5.0
"""Before the keepalive, and long before any timeout of nginx's."""
HELD_S = 1.0


@pytest.fixture
def ports(gateways: Sequence[GatewayProcess]) -> list[int]:
    return [gateway.port for gateway in gateways]


def crowd(url: str, chance: random.Random, *, leaves: bool, size: int = VIEWERS) -> list[Returning]:
    """Make viewers; such as leave do it a hundred times, then they stay."""
    token = make_token()
    viewers = [Returning(token, THREADS[number % len(THREADS)], [url]) for number in range(size)]
    for viewer in viewers if leaves else ():
        viewer.stays_for = partial(leaving, viewer, chance)
    return viewers


def leaving(viewer: Returning, chance: random.Random) -> int | None:
    return chance.randint(1, 2 * STAY_CHUNKS - 1) if len(viewer.stays) < RETURNS else None


async def read_while_written(store: Store, chance: random.Random, viewers: Sequence[Returning]) -> None:
    """Let all read what is written as fast as they can, until each has come back so often."""
    writing = []
    for thread in THREADS:
        readers = [viewer for viewer in viewers if viewer.thread == thread]
        author = Author(store, thread, random.Random(chance.random()))
        writing.append(author.write(partial(all_returned, readers), partial(all_follow, author, readers)))
    await all_watch(viewers, *writing, deadline_s=DEADLINE_S)


def all_returned(viewers: Sequence[Returning]) -> bool:
    return all(len(viewer.stays) > RETURNS for viewer in viewers)


async def all_follow(author: Author, viewers: Sequence[Returning]) -> None:
    while min(viewer.sequence for viewer in viewers) < author.sequence - LAG_FRAMES:
        await asyncio.sleep(0.01)


@pytest.mark.nginx
@pytest.mark.timeout(DEADLINE_S + 40)
async def test_a_hundred_clients_that_come_back_a_hundred_times_see_every_chunk_once_through_nginx(
    store: Store, ports: list[int], chance: random.Random, tmp_path: Path
) -> None:
    with nginx(plain, ports, tmp_path / "nginx.log") as url:
        viewers = crowd(url, chance, leaves=True)
        await read_while_written(store, chance, viewers)
    assert [] == await faults(store, viewers)
    assert {RETURNS + 1} == {len(viewer.stays) for viewer in viewers}


@pytest.mark.timeout(DEADLINE_S + 40)
async def test_a_hundred_clients_whose_connections_are_cut_a_hundred_times_see_every_chunk_once(
    store: Store, ports: list[int], chance: random.Random
) -> None:
    async with cutting(ports, chance, bytes_mean=2500, life_s=4) as proxy:
        viewers = crowd(proxy.url, chance, leaves=False)
        await read_while_written(store, chance, viewers)
    assert [] == await faults(store, viewers)
    assert all_returned(viewers)
    assert proxy.cuts >= VIEWERS * RETURNS
    assert any(stay.torn for viewer in viewers for stay in viewer.stays)


@pytest.mark.nginx
async def test_nginx_as_we_configure_it_changes_nothing_of_what_is_seen(
    store: Store, ports: list[int], chance: random.Random, tmp_path: Path
) -> None:
    with nginx(shipped, ports, tmp_path / "nginx.log") as url:
        viewers = crowd(url, chance, leaves=True, size=VIEWERS // 5)
        await read_while_written(store, chance, viewers)
    assert [] == await faults(store, viewers)


@pytest.mark.nginx
@pytest.mark.parametrize("configure", [plain, shipped])
async def test_a_chunk_comes_through_nginx_while_nothing_follows_it(
    configure: Configure, own_broker: EmbeddedBroker, store: Store, tmp_path: Path
) -> None:
    async with (
        behind_nginx(configure, own_broker, tmp_path) as url,
        Run(store, "t1") as run,
        asyncio.timeout(3 * IDLE_DEADLINE_S),
        Viewer(url, make_token(), "t1", ORG).attached() as chunks,
    ):
        for said in "abc":
            await run.say(said)
            assert said == (await asyncio.wait_for(anext(chunks), IDLE_DEADLINE_S))["delta"]


@pytest.mark.nginx
async def test_without_what_the_gateway_says_of_buffers_nginx_would_hold_a_chunk_back(
    own_broker: EmbeddedBroker, store: Store, tmp_path: Path
) -> None:
    async with behind_nginx(deaf, own_broker, tmp_path) as url, Run(store, "t1") as run:
        await run.say("a")
        viewer = Viewer(url, make_token(), "t1", ORG, cursor="0-0")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(HELD_S), viewer.attached() as chunks:
                await anext(chunks)


@pytest.mark.nginx
async def test_behind_nginx_as_we_configure_it_the_page_may_post_and_a_gateway_that_is_away_is_not_seen(
    own_broker: EmbeddedBroker, store: Store, tmp_path: Path
) -> None:
    del store  # there are views to read
    async with (
        behind_nginx(shipped, own_broker, tmp_path) as url,
        aiohttp.ClientSession(url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser,
    ):
        async with browser.get("/", params={"token": make_token()}) as page:
            assert 200 == page.status
        for _ in range(10):
            body: dict[str, object] = {}
            async with browser.post(f"/{ORG}/decopilot/threads/t1/messages", json=body, headers={"Origin": url}) as got:
                # Let in, and read: the cookie came back, and the gateway knows where the page is from.
                assert (400, "invalid_body") == (got.status, (await got.json(content_type=None))["code"])
            async with browser.get(f"/{ORG}/decopilot/threads") as got:
                assert 200 == got.status


@pytest.mark.nginx
def test_nginx_has_nothing_against_the_configuration_that_we_give_to_operators() -> None:
    configured = shipped(free_port(), [8080, 8081])
    assert "" == checked(configured)
    assert "unknown directive" in checked(configured.replace("least_conn;", "most_conn;"))


@asynccontextmanager
async def behind_nginx(configure: Configure, broker: EmbeddedBroker, folder: Path) -> AsyncIterator[str]:
    """Run nginx before two gateways, of which one is away."""
    async with running_gateway(broker.url) as gateway:
        with nginx(configure, [free_port(), urlsplit(gateway.url).port or 0], folder / "nginx.log") as url:
            yield url
