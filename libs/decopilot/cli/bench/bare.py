"""The raw limit of an SSE server: bare aiohttp that holds its clients as simply as can be.

It makes up what it says. No broker, no tokens, no cursors: what it costs to get the same bytes to the same clients,
and nothing else.
"""

import asyncio
import sys
import time
from pathlib import Path

import uvloop
from aiohttp import web

from decopilot.cli.bench.orders import Expected
from decopilot.cli.bench.parsing import Transcript
from decopilot.cli.bench.saying import delta
from decopilot.cli.ports import HOST
from decopilot.contracts.chunks import encode_chunk
from decopilot.contracts.messages import Frozen

HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
WRITE_BYTES = 256 * 1024


class Saying(Frozen):
    """What is said to all: so many chunks, `rate` a second."""

    chunks: int
    rate: float
    padding: int = 0


class BareServer:
    """One process that says one thing to all of its clients, and hands a file out to whoever asks."""

    def __init__(self, file: Path | None) -> None:
        self._body = b"" if file is None else file.read_bytes()
        self._said: list[bytes] = []
        self._more = asyncio.Event()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send everything said from now on."""
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        await response.write(b"retry: 1000\n\n")
        position = 0
        while True:
            while position == len(self._said):
                await self._more.wait()
            news = self._said[position:]
            position += len(news)
            await response.write(b"".join(news))

    async def say(self, request: web.Request) -> web.Response:
        """Say what is asked for; answers when it is said, with its transcript."""
        saying = Saying.model_validate_json(await request.read())
        transcript = Transcript()
        begin = time.monotonic()
        for number in range(saying.chunks):
            await asyncio.sleep(begin + number / saying.rate - time.monotonic())
            data = encode_chunk(delta(number, saying.padding))
            transcript.add(data)
            self._said.append(b"id: %d-0\ndata: %s\n\n" % (number + 1, data))
            more, self._more = self._more, asyncio.Event()
            more.set()
        return web.json_response(text=Expected(chunks=transcript.count, crc=transcript.crc).model_dump_json())

    async def replay(self, request: web.Request) -> web.StreamResponse:
        """Send the file."""
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        for start in range(0, len(self._body), WRITE_BYTES):
            await response.write(self._body[start : start + WRITE_BYTES])
        await asyncio.Event().wait()
        return response


async def ready(_request: web.Request) -> web.Response:
    """Answer."""
    return web.Response(text="ready")


async def main(port: int, file: Path | None) -> None:
    """Serve until killed."""
    server = BareServer(file)
    app = web.Application()
    app.add_routes(
        [
            web.get("/stream", server.stream),
            web.get("/replay", server.replay),
            web.post("/say", server.say),
            web.get("/readyz", ready),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else None))
