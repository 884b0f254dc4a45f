"""Viewers by the thousand: raw connections that read an event stream, check it, and say when what came."""

import asyncio
import socket
import time
from array import array
from typing import cast

from decopilot.cli.bench.orders import Door, Expected, Stream
from decopilot.cli.bench.parsing import Body, Events, Transcript
from decopilot.cli.bench.saying import said_at
from decopilot.cli.ports import HOST

OK = 200
AT_ONCE = 64
ATTACH_TIMEOUT_S = 120.0
SLOW_BUFFER_BYTES = 16 * 1024
FAST_BUFFER_BYTES = 4 << 20


class NotAttachedError(Exception):
    """The server did not answer with a stream."""


class Group:
    """Viewers that are told what to do together, and the latencies of what they saw."""

    def __init__(self, door: Door, unmeasured: int) -> None:
        self.door = door
        self.unmeasured = unmeasured
        self.viewers: list[Viewer] = []
        self.latencies: array[int] = array("q")
        self.bytes_read = 0
        self.hurry = asyncio.Event()

    async def attach(self, streams: tuple[Stream, ...], slow_bytes_s: int) -> None:
        """Attach a viewer to each stream; returns when all have their first bytes.

        Raises:
            NotAttachedError: one was refused, or its connection ended.
            OSError, TimeoutError: no connection, or no answer.

        """
        some = asyncio.Semaphore(AT_ONCE)

        async def one(stream: Stream) -> None:
            async with some:
                viewer = Viewer(self, stream)
                self.viewers.append(viewer)
                await viewer.attach(slow_bytes_s)

        async with asyncio.timeout(ATTACH_TIMEOUT_S):
            await asyncio.gather(*map(one, streams))

    async def settle(self, expected: dict[str, Expected], timeout_s: float) -> None:
        """Wait until every viewer has as many chunks as expected, or its connection is gone, or time is up."""
        waiting = self.viewers
        deadline = time.monotonic() + timeout_s
        while waiting and time.monotonic() < deadline:
            waiting = [v for v in waiting if not v.is_lost and v.transcript.count < expected[v.stream.thread].chunks]
            await asyncio.sleep(0.1)
        # One that comes twice would come behind.
        await asyncio.sleep(0.2)

    async def close(self) -> None:
        """Let all viewers go."""
        for viewer in self.viewers:
            await viewer.close()


class Viewer(asyncio.Protocol):
    """One viewer of one stream."""

    def __init__(self, group: Group, stream: Stream) -> None:
        self.stream = stream
        self.transcript = Transcript()
        self.is_lost = False
        self._group = group
        self._body, self._events = Body(), Events()
        self._attached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._slow: asyncio.Task[None] | None = None

    async def attach(self, slow_bytes_s: int) -> None:
        """Connect and ask; returns with the first bytes of the stream."""
        if slow_bytes_s:
            self._slow = asyncio.create_task(self._read_slowly(slow_bytes_s))
        else:
            await asyncio.get_running_loop().create_connection(lambda: self, HOST, self._group.door.port)
        await self._attached

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(request(self._group.door, self.stream.path))

    def data_received(self, data: bytes) -> None:
        """Take a piece of the response."""
        now_ns = time.monotonic_ns()
        group, transcript = self._group, self.transcript
        group.bytes_read += len(data)
        body = self._body.feed(data)
        if body and not self._attached.done():
            self._answered()
        for event in self._events.feed(body):
            chunk = transcript.take(event)
            if transcript.count > group.unmeasured and (said_ns := said_at(chunk)) is not None:
                group.latencies.append(now_ns - said_ns)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing comes any more."""
        self.is_lost = True
        if not self._attached.done():
            self._attached.set_exception(NotAttachedError(f"the connection ended before the stream began: {exc}"))

    def trouble(self, expected: Expected) -> str | None:
        """Say what was not seen as expected; None where all was."""
        seen, problems = self.transcript, []
        if seen.count != expected.chunks:
            problems.append(f"{seen.count} chunks instead of {expected.chunks}")
        elif seen.crc != expected.crc:
            problems.append("chunks lost, doubled, changed or out of order")
        if not seen.is_ordered:
            problems.append("ids that do not grow")
        if self.is_lost:
            problems.append("the connection ended")
        return f"{self.stream.path}: {', '.join(problems)}" if problems else None

    async def close(self) -> None:
        """Leave."""
        if self._transport is not None:
            self._transport.abort()
        if self._slow is not None:
            self._slow.cancel()
            await asyncio.wait([self._slow])

    def _answered(self) -> None:
        if self._body.status == OK:
            self._attached.set_result(None)
        else:
            self._attached.set_exception(NotAttachedError(f"{self.stream.path} answered {self._body.status}"))

    async def _read_slowly(self, bytes_s: int) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as own:
            own.setblocking(False)  # noqa: FBT003 - the standard library's
            # Before connecting: a window once offered is not taken back.
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)
            error: Exception | None = None
            try:
                await loop.sock_connect(own, (HOST, self._group.door.port))
                await loop.sock_sendall(own, request(self._group.door, self.stream.path))
                while data := await loop.sock_recv(own, FAST_BUFFER_BYTES if self._group.hurry.is_set() else bytes_s):
                    self.data_received(data)
                    await self._pause(own)
            except OSError as failed:
                error = failed
            self.connection_lost(error)

    async def _pause(self, own: socket.socket) -> None:
        if self._group.hurry.is_set():
            return
        try:
            async with asyncio.timeout(1):
                await self._group.hurry.wait()
        except TimeoutError:
            return
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, FAST_BUFFER_BYTES)


class Reader(asyncio.Protocol):
    """One who reads a stream as fast as it can, and looks at it afterwards."""

    def __init__(self, door: Door, path: str, until: bytes) -> None:
        self.pieces: list[bytes] = []
        self.done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.body = Body()
        self._request = request(door, path)
        self._end = b"\ndata: %s\n\n" % until if until else b""
        self._tail = b""
        self._asked_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask, and let the time run."""
        self._asked_at = time.monotonic()
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take a piece of the response; look no further than whether it is the last."""
        body = self.body.feed(data)
        self.pieces.append(body)
        if not self.done.done() and (self._is_end(body) or self.body.status not in {0, OK}):
            self.done.set_result(time.monotonic() - self._asked_at)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so where more was expected."""
        if not self.done.done():
            self.done.set_exception(NotAttachedError(f"the connection ended before the end was seen: {exc}"))

    def _is_end(self, body: bytes) -> bool:
        if self._end:
            self._tail = (self._tail + body)[-len(self._end) :]
            return self._tail == self._end
        self._tail += body
        return has_id(self._tail)


def has_id(body: bytes) -> bool:
    """Tell whether there is a whole event with an id."""
    start = 0 if body.startswith(b"id: ") else body.find(b"\n\nid: ") + 2
    return (start != 1) and body.find(b"\n\n", start) >= 0


def request(door: Door, path: str) -> bytes:
    """Make a request for an event stream."""
    opens = f"Authorization: Bearer {door.token}\r\n" if door.token else ""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {HOST}:{door.port}\r\n{opens}Accept: text/event-stream\r\n"
        "User-Agent: decopilot-bench\r\n\r\n"
    ).encode()
