"""Outbound over real sockets: redirects, names whose addresses change, and who is asked by which name."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx2
import pytest
from aiohttp import web

from decopilot.agent import outbound_session
from decopilot.agent.outbound import Reach
from decopilot.contracts.configuration import McpServer, Search
from decopilot_runner.default_agent.mcp import McpServers
from decopilot_runner.default_agent.mcp_client import client_factory
from decopilot_runner.default_agent.search_endpoint import SearchEndpoint, SearchFailedError

Heard = list[tuple[str, str]]


@asynccontextmanager
async def site(**redirects: str) -> AsyncIterator[tuple[int, Heard]]:
    """Serve on loopback; yields the port, and what is asked of it: paths, with the host that was meant."""
    heard: Heard = []

    async def answer(request: web.Request) -> web.Response:
        heard.append((request.path, request.host.partition(":")[0]))
        if (to := redirects.get(request.path.strip("/"))) is not None:
            return web.Response(status=307, headers={"Location": to})
        return web.json_response([{"url": "https://a.org"}])

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield int(runner.addresses[0][1]), heard
    finally:
        await runner.cleanup()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names stand for: each look-up takes the first address, until one is left."""
    known: dict[str, list[str]] = {}
    real = asyncio.BaseEventLoop.getaddrinfo

    async def getaddrinfo(loop: Any, host: str, port: int, **more: Any) -> Any:  # noqa: ANN401  asyncio's own
        if host not in known:
            return await real(loop, host, port, **more)
        address = known[host].pop(0) if len(known[host]) > 1 else known[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return known


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0", "127.1", "0177.0.0.1", "127.0.0.01", "①②⑦.0.0.1"])
async def test_no_other_way_to_write_an_address_of_ours_leads_to_it(host: str) -> None:
    async with site() as (port, heard), outbound_session() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://{host}:{port}/")
        assert [] == heard


async def test_a_redirect_to_what_is_private_is_not_followed_and_one_within_reach_is(
    names: dict[str, list[str]],
) -> None:
    names["open.example"] = ["127.0.0.1"]
    async with site(in_="/there", out="http://127.0.0.1:9/", meta="http://169.254.169.254/") as (port, heard):
        async with outbound_session(["open.example"]) as session:
            for path in ("out", "meta"):
                with pytest.raises(aiohttp.ClientConnectorError, match="no public address"):
                    await session.get(f"http://open.example:{port}/{path}")
            async with session.get(f"http://open.example:{port}/in_") as response:
                assert "/there" == response.url.path
        assert [
            ("/out", "open.example"),
            ("/meta", "open.example"),
            ("/in_", "open.example"),
            ("/there", "open.example"),
        ] == heard


async def test_a_name_is_looked_up_once_a_connection_and_that_address_is_the_one_connected_to(
    names: dict[str, list[str]],
) -> None:
    async with site() as (port, heard):
        # Public when it is checked, private a moment later: it is the first that is tried, and nobody listens there.
        names["rebinding.example"] = ["192.0.2.1", "127.0.0.1"]
        reach = Reach.of(["192.0.2.0/24"])
        url = f"http://rebinding.example:{port}/mcp"
        async with client_factory(url, reach)(timeout=httpx2.Timeout(0.3)) as client:
            with pytest.raises((httpx2.ConnectError, httpx2.ConnectTimeout)):
                await client.get(url)
            with pytest.raises(httpx2.ConnectError, match="no public address"):
                await client.get(url)
        assert [] == heard


async def test_an_mcp_server_at_a_private_name_is_left_out_until_it_is_allowed_and_is_asked_by_its_name(
    names: dict[str, list[str]],
) -> None:
    names["tools.internal"] = ["127.0.0.1"]
    async with site() as (port, heard):
        entry = {"tools": McpServer(url=f"http://tools.internal:{port}/mcp", timeout_s=5)}
        for allowed in ((), ("tools.internal",), ("127.0.0.0/8",)):
            servers = McpServers(entry, allowed)
            async with servers.opened(["tools"], ()) as tools:
                assert 1 == len(tools.missing)
            await servers.closed()
            assert bool(allowed) == bool(heard)
        assert {"tools.internal"} == {host for _, host in heard}


async def test_an_mcp_server_can_not_send_the_runner_elsewhere(names: dict[str, list[str]]) -> None:
    names["tools.internal"] = ["127.0.0.1"]
    async with site() as (elsewhere, unheard), site(mcp=f"http://127.0.0.1:{elsewhere}/x") as (port, heard):
        servers = McpServers({"tools": McpServer(url=f"http://127.0.0.1:{port}/mcp", timeout_s=5)})
        async with servers.opened(["tools"], ()) as tools:
            assert 1 == len(tools.missing)
        await servers.closed()
        url = f"http://tools.internal:{port}/mcp"
        async with client_factory(url, Reach.of(["tools.internal"]))(follow_redirects=True) as client:
            assert 307 == (await client.get(url)).status_code
            with pytest.raises(httpx2.ConnectError, match=r"is not tools\.internal"):
                await client.get(f"http://127.0.0.1:{elsewhere}/")
        assert heard
        assert [] == unheard


async def test_a_search_endpoint_at_a_private_name_is_asked_once_it_is_allowed(names: dict[str, list[str]]) -> None:
    names["search.internal"] = ["127.0.0.1"]
    async with site() as (port, heard):
        search = Search(url=f"http://search.internal:{port}/?q={{query}}")
        with pytest.raises(SearchFailedError, match="could not be reached"):
            await SearchEndpoint(search).search("cats")
        assert [] == heard
        (found,) = await SearchEndpoint(search, ("127.0.0.0/8",)).search("cats")
        assert ("https://a.org", [("/", "search.internal")]) == (found.url, heard)
