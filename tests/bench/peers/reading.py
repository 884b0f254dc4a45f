"""The one client of all peers: a raw connection that reads an event stream, and says what came when.

It knows HTTP/1.1 and the event stream's format, and of the peers nothing: what they want for a resume is made of what
every event stream has (the last id, the last event of a name, how many characters came).
"""

import asyncio
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from bench.peers.tally import DELTA
from decopilot.cli.bench.parsing import Body
from decopilot.cli.ports import HOST

OK = 200
_REWIND = b'"type":"data-run-rewind"'
_RESET = b'"type":"data-thread-reset"'
_FINISH = b'"type":"finish"'


class RefusedError(Exception):
    """The answer was no stream."""

    def __init__(self, status: int) -> None:
        super().__init__(f"answered {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """What an attach asks, and whom."""

    port: int
    path: str
    headers: tuple[tuple[str, str], ...] = ()

    def encoded(self) -> bytes:
        """Make the request."""
        lines = [f"GET {self.path} HTTP/1.1", f"Host: {HOST}:{self.port}", "Accept: text/event-stream"]
        return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in self.headers), "", ""]).encode()


@dataclass(slots=True)
class Seen:
    """What a reader has, over all of its connections."""

    numbers: "array[int]" = field(default_factory=lambda: array("q"))
    latencies: "array[int]" = field(default_factory=lambda: array("q"))
    last_id: str = ""
    control: bytes = b""
    held: list[tuple[int, bytes]] = field(default_factory=list)
    """Events named `data`, until the one named `control` behind them says that they are whole."""
    characters: int = 0
    resets: int = 0
    error: str = ""
    """What an event named `error` said last."""
    finished: bool = False
    arrived_at: float = 0.0
    """When a delta came that it had not, monotonic."""


class Events:
    """Cuts a body into events, of LF and of CRLF lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, body: bytes) -> list[bytes]:
        """Return the events that are complete now, without the empty line; lines end with LF."""
        text = self._rest + body
        held = b"\r" if text.endswith(b"\r") else b""
        if b"\r" in text:
            text = text[: len(text) - len(held)].replace(b"\r\n", b"\n")
        *events, rest = text.split(b"\n\n")
        self._rest = rest + held
        return events


def take(seen: Seen, event: bytes, now_ns: int) -> None:
    """Take an event in."""
    if (at := event.find(b"id:")) == 0 or (at := event.find(b"\nid:") + 1) > 0:
        seen.last_id = event[at + 3 :].partition(b"\n")[0].strip().decode()
    if event.startswith(b"event: data\n"):
        # As @durable-streams/client does: a cursor comes behind what it is the cursor of.
        seen.held.append((now_ns, event))
        return
    if event.startswith(b"event: control\n"):
        seen.control = event.partition(b"data:")[2]
        for held_ns, held in seen.held:
            _take_deltas(seen, held, held_ns)
        seen.held.clear()
    elif _REWIND in event:
        # What it says of the message takes the place of what was seen (docs/protocol.md, 28).
        seen.numbers = array("q", sorted(int(number) for _, number in DELTA.findall(event)))
        return
    elif event.startswith(b"event: error\n"):
        seen.error = event.partition(b"data:")[2].strip().decode(errors="replace")
    elif _RESET in event:
        seen.resets += 1
    _take_deltas(seen, event, now_ns)


def _take_deltas(seen: Seen, event: bytes, now_ns: int) -> None:
    if _FINISH in event:
        seen.finished = True
    for said_ns, number in DELTA.findall(event):
        seen.latencies.append(now_ns - int(said_ns))
        if not seen.numbers or int(number) > seen.numbers[-1]:
            seen.arrived_at = now_ns / 1e9
        seen.numbers.append(int(number))


class Reader(asyncio.Protocol):
    """One connection; `begun` is done with the first bytes of a stream, `ended` with the connection."""

    def __init__(self, request: Request, seen: Seen, on_event: Callable[[], None] | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._request, self._seen, self._on_event = request, seen, on_event
        self._body, self._events = Body(), Events()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request.encoded())

    def data_received(self, data: bytes) -> None:
        """Take a piece of the response."""
        now_ns = time.monotonic_ns()
        body = self._body.feed(data)
        if self._body.status not in {0, OK}:
            self._fail(RefusedError(self._body.status))
            self.close()
            return
        if self._body.status and not self.begun.done():
            self.begun.set_result(None)
        for event in self._events.feed(body):
            if self.ended.done():
                return
            self._seen.characters += len(event) + 2
            take(self._seen, event, now_ns)
            if self._on_event is not None:
                self._on_event()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self._fail(exc or ConnectionError("the connection ended before the stream began"))
        if not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        """Leave, at once: what has not been taken in is as if it had never come."""
        if not self.ended.done():
            self.ended.set_result(None)
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: Exception) -> None:
        if not self.begun.done():
            self.begun.set_exception(error)


async def attach(
    request: Request, seen: Seen, on_event: Callable[[], None] | None = None, timeout_s: float = 30.0
) -> Reader:
    """Connect and ask; returns with the head of a stream.

    Raises:
        RefusedError: the answer was no stream.
        OSError, TimeoutError: no connection, or no answer.

    """
    seen.held.clear()
    reader = Reader(request, seen, on_event)
    await asyncio.get_running_loop().create_connection(lambda: reader, HOST, request.port)
    try:
        async with asyncio.timeout(timeout_s):
            await reader.begun
    except BaseException:
        reader.close()
        raise
    return reader


class Rush(asyncio.Protocol):
    """Reads as fast as it can up to the delta of a number; what it got is looked at afterwards."""

    def __init__(self, request: Request, last: int) -> None:
        self.done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.first_event_s = 0.0
        self.pieces: list[bytes] = []
        self.status = 0
        self._body = Body()
        self._request, self._end = request, b' %d "' % last
        self._tail = b""
        self._asked_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask, and let the time run."""
        self._asked_at = time.monotonic()
        cast("asyncio.Transport", transport).write(self._request.encoded())

    def data_received(self, data: bytes) -> None:
        """Take a piece; look no further than whether the last delta is in it."""
        body = self._body.feed(data)
        if self._body.status not in {0, OK}:
            self._done(RefusedError(self._body.status))
            return
        if not self.first_event_s and b"data:" in body:
            self.first_event_s = time.monotonic() - self._asked_at
        self.pieces.append(body)
        if self._end in self._tail + body:
            self._done(None)
        self._tail = body[-len(self._end) :]

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so where more was expected."""
        self._done(exc or ConnectionError("the connection ended before the last chunk"))

    def seen(self) -> Seen:
        """Look at what came."""
        seen = Seen()
        for event in Events().feed(b"".join(self.pieces)):
            take(seen, event, time.monotonic_ns())
        return seen

    def _done(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(time.monotonic() - self._asked_at)
        else:
            self.done.set_exception(error)


async def rush(request: Request, last: int, timeout_s: float = 120.0) -> tuple[Rush, float]:
    """Read up to the delta of number `last`; returns the seconds it took, from the request on.

    Raises:
        RefusedError: the answer was no stream.
        OSError, TimeoutError: the connection ended, or it took too long.

    """
    reader = Rush(request, last)
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: reader, HOST, request.port)
    try:
        async with asyncio.timeout(timeout_s):
            return reader, await reader.done
    finally:
        transport.abort()
