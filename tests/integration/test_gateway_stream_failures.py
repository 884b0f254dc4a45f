"""What goes wrong in mid-stream ends the connection; nothing but events is ever written to it."""

import asyncio
import math

import aiohttp
import pytest
from aiohttp import web

from decopilot_gateway import sse
from decopilot_gateway.problems import problems
from decopilot_gateway.streaming import Channel, Lease, Leaving, Pulse, stream


@pytest.mark.parametrize("error", [RuntimeError("broken"), TimeoutError(), ValueError("no frame")])
async def test_an_error_in_mid_stream_cuts_the_connection_and_says_nothing_more(error: Exception) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        async def write(channel: Channel) -> None:
            channel.write(sse.event(b"1", id_="1-0"))
            raise error

        return await stream(request, Leaving([]), Pulse(15), Lease(math.inf), write)

    app = web.Application(middlewares=[problems])
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    seen = bytearray()
    try:
        with pytest.raises(aiohttp.ClientError):
            await _read(f"http://127.0.0.1:{runner.addresses[0][1]}/", seen)
    finally:
        await runner.cleanup()
    assert sse.retry(1000) + sse.event(b"1", id_="1-0") == seen


async def _read(url: str, seen: bytearray) -> None:
    async with asyncio.timeout(10), aiohttp.ClientSession() as session, session.get(url) as response:
        async for data in response.content.iter_any():
            seen += data
