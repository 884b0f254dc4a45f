"""An HTTP proxy before a gateway that holds, drops and adds events of its streams, loses answers, and cuts."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from decopilot.cli.chaos.faults.ways import reset

_HOPS = {"connection", "content-length", "keep-alive", "transfer-encoding"}
_EVENT_END = b"\n\n"
_PIECE_BYTES = 37


@dataclass(frozen=True, slots=True)
class Event:
    """One event on its way to a browser. `name` is that of a watch event, or the type of a chunk; else it is empty."""

    stream: str
    """`watch` or `attach`."""
    name: str
    data: dict[str, object]
    id: str


Passes = Callable[[Event], Awaitable[bool]]
"""Tells whether an event goes on; those behind it wait for as long as this takes."""


async def every(_event: Event) -> bool:
    """Let everything pass."""
    return True


@dataclass(slots=True)
class Meddler:
    """A way to one gateway that does to streams what the test says, and what they say otherwise."""

    upstream: str
    port: int = 0
    passes: Passes = every
    loses: Callable[[str, str], bool] = lambda _method, _path: False
    """Of which requests (method, path) the answer is lost, after they were carried out."""
    passed: list[Event] = field(default_factory=list)
    cut_after_bytes: int | None = None
    """From now on so much of a stream comes through, in small pieces; then it is cut, wherever that is."""
    lost: int = 0
    cuts: int = 0
    _open: dict[str, set[web.StreamResponse]] = field(default_factory=lambda: {"watch": set(), "attach": set()})
    _told_bytes: Counter[web.StreamResponse] = field(default_factory=Counter)
    _requests: dict[web.StreamResponse, web.BaseRequest] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where browsers connect."""
        return f"http://127.0.0.1:{self.port}"

    def streams(self, stream: str) -> int:
        """Count the open streams of a kind."""
        return len(self._open[stream])

    async def say(self, stream: str, data: dict[str, object], *, name: str | None = None) -> None:
        """Say something that the gateway did not, on all open streams of a kind, at the place where they are."""
        place = next((event.id for event in reversed(self.passed) if event.stream == stream and event.id), None)
        head = b"" if place is None else b"id: %s\n" % place.encode()
        head += b"" if name is None else b"event: %s\n" % name.encode()
        for response in list(self._open[stream]):
            await response.write(head + b"data: " + json.dumps(data).encode() + _EVENT_END)

    def cut(self, *streams: str) -> None:
        """Cut all open streams of these kinds with a reset; they may come back."""
        for stream in streams:
            for response in list(self._open[stream]):
                _cut(self._requests[response])

    async def serve(self, session: aiohttp.ClientSession, request: web.BaseRequest) -> web.StreamResponse:
        """Carry one request and its answer."""
        url = URL(self.upstream + request.raw_path, encoded=True)
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOPS]
        body = await request.read() or None
        try:
            async with session.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            ) as answer:
                # Cookies come in several headers of one name.
                kept = CIMultiDict((name, value) for name, value in answer.headers.items() if name.lower() not in _HOPS)
                if answer.content_type == "text/event-stream":
                    response = web.StreamResponse(status=answer.status, headers=kept)
                    await self._stream(request, response, answer)
                    return response
                said = await answer.read()
        except aiohttp.ClientConnectionError:
            _cut(request)
            return web.Response(status=502)
        if self.loses(request.method, request.path):
            self.lost += 1
            _cut(request)
        return web.Response(status=answer.status, headers=kept, body=said)

    async def _stream(
        self, request: web.BaseRequest, response: web.StreamResponse, answer: aiohttp.ClientResponse
    ) -> None:
        stream = "watch" if request.path.endswith("/watch") else "attach"
        await response.prepare(request)
        self._open[stream].add(response)
        self._requests[response] = request
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, aiohttp.ClientPayloadError):
                while True:
                    block = await answer.content.readuntil(_EVENT_END)
                    event = _event(stream, block)
                    if await self.passes(event):
                        await self._write(request, response, block)
                        self.passed.append(event)
        finally:
            self._open[stream].discard(response)
            del self._requests[response], self._told_bytes[response]

    async def _write(self, request: web.BaseRequest, response: web.StreamResponse, block: bytes) -> None:
        if self.cut_after_bytes is None:
            await response.write(block)
            return
        for start in range(0, len(block), _PIECE_BYTES):
            await response.write(block[start : start + _PIECE_BYTES])
            self._told_bytes[response] += _PIECE_BYTES
            if self._told_bytes[response] >= self.cut_after_bytes:
                self.cuts += 1
                _cut(request)
                raise ConnectionAbortedError


@asynccontextmanager
async def meddling(upstream: str) -> AsyncIterator[Meddler]:
    """Run such a proxy before a gateway."""
    meddler = Meddler(upstream)
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(
        timeout=timeout, connector=connector, auto_decompress=False, read_bufsize=1 << 20
    ) as session:

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await meddler.serve(session, request)

        # Whoever leaves a stream is not waited for.
        server = web.ServerRunner(web.Server(handle, handler_cancellation=True), shutdown_timeout=0.1)
        await server.setup()
        site = web.TCPSite(server, "127.0.0.1", 0)
        await site.start()
        meddler.port = server.addresses[0][1]
        try:
            yield meddler
        finally:
            meddler.cut("watch", "attach")
            await server.cleanup()


def _event(stream: str, block: bytes) -> Event:
    lines = (line.partition(": ") for line in block.decode().splitlines() if not line.startswith(":"))
    fields = {name: value for name, _, value in lines}
    try:
        data = json.loads(fields.get("data", "{}"))
    except ValueError:
        data = {}
    return Event(stream, fields.get("event") or str(data.get("type", "")), data, fields.get("id", ""))


def _cut(request: web.BaseRequest) -> None:
    if request.transport is not None:
        reset(request.transport)
