"""The producer of hubs that have none: an app that publishes every chunk by HTTP, and again until it is taken."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
import uvloop
from aiohttp import web

from bench.peers.saying import Chunk, Work, saying
from decopilot.cli.ports import HOST
from decopilot.contracts.chunks import encode_chunk

AGAIN_S = 0.1


class Publisher:
    """Publishes runs to channels below a URL, each in order: a chunk once the one before it was taken."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._runs: set[asyncio.Task[None]] = set()

    async def begin(self, request: web.Request) -> web.Response:
        """Begin a run."""
        run = asyncio.create_task(self._publish(request.match_info["id"], await request.json()))
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)
        return web.Response(status=202)

    async def _publish(self, channel: str, work: Work) -> None:
        async with aiohttp.ClientSession() as session:
            async for chunk in _whole(work):
                while not await _taken(session, f"{self._url}/{channel}", encode_chunk(chunk)):
                    await asyncio.sleep(AGAIN_S)


async def _whole(work: Work) -> AsyncIterator[Chunk]:
    yield {"type": "start", "messageId": "a1"}
    async for chunk in saying(work):
        yield chunk
    yield {"type": "finish"}


async def _taken(session: aiohttp.ClientSession, url: str, body: bytes) -> bool:
    with suppress(aiohttp.ClientError, TimeoutError):
        async with session.post(url, data=body) as answer:
            return answer.ok
    return False


async def main(port: int, url: str) -> None:
    """Serve until killed."""
    app = web.Application()
    app.add_routes([web.post("/runs/{id}", Publisher(url).begin)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
