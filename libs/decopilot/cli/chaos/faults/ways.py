"""Ways: TCP proxies on which connections fare as on a bad network."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

Direction = Literal["up", "down"]
"""`up` is from whoever connected to whom it wanted, `down` the other way."""
End = Literal["client", "server"]

READ_BYTES = 1 << 14
IN_FLIGHT = 8
"""Pieces under way in one direction: who sends more is blocked, as by a full window."""
SLICE_S = 0.1
_ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER for zero seconds: closing sends RST, not FIN."""

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Weather:
    """How a way is. What is held is not lost, for TCP sends again what did not arrive: it comes when the way is good.

    `delay_s` is that of each piece, up to `jitter_s` more is drawn; order stays. `bytes_per_s` is each direction's own.
    Where it `severs`, what a server says next is carried in part, and the connection reset there.
    """

    holds: frozenset[Direction] = frozenset()
    refuses: bool = False
    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    severs: bool = False


@dataclass(slots=True, eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    carrying: list[asyncio.Task[None]]
    left: End | None = None
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        for task in self.carrying:
            task.cancel()


@dataclass(slots=True)
class Way:
    """A way to one address. Several weathers may be on it at once: of each trait the worst counts."""

    host: str
    to_port: int
    chance: random.Random = field(default_factory=random.Random)
    port: int = 0
    severed: int = 0
    _weathers: list[Weather] = field(default_factory=list)
    _good: dict[Direction, asyncio.Event] = field(
        default_factory=lambda: {"up": asyncio.Event(), "down": asyncio.Event()}
    )
    _connections: set[_Connection] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._look()

    @property
    def address(self) -> str:
        """Where to connect, without a scheme."""
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    def have(self, weather: Weather) -> None:
        """Let a weather begin."""
        if not self._has(weather):
            self._weathers.append(weather)
            self._look()

    def lose(self, weather: Weather) -> None:
        """Let a weather end, if it is there."""
        self._weathers = [other for other in self._weathers if other is not weather]
        self._look()

    def cut(self) -> int:
        """Reset all connections at both ends, wherever in a message they stand; returns how many."""
        cut = [connection for connection in self._connections if connection.left is None]
        for connection in cut:
            connection.stop()
        return len(cut)

    def halve(self, left: End) -> Callable[[], None]:
        """Reset all connections at one end, of which the end that is `left` never hears; returns what lets it hear."""
        halved = [connection for connection in self._connections if connection.left is None]
        for connection in halved:
            connection.left = left
            connection.stop()

        def release() -> None:
            for connection in halved:
                connection.released.set()

        return release

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to its end."""
        if any(weather.refuses for weather in self._weathers):
            reset(writer.transport)
            return
        try:
            upstream_reader, upstream = await asyncio.open_connection(self.host, self.to_port)
        except OSError:
            reset(writer.transport)
            return
        carrying = [
            asyncio.create_task(self._carry("up", reader, upstream)),
            asyncio.create_task(self._carry("down", upstream_reader, writer)),
        ]
        connection = _Connection(writer, upstream, carrying)
        self._connections.add(connection)
        try:
            # `cut` and `halve` cancel them.
            await asyncio.wait(carrying, return_when=asyncio.FIRST_EXCEPTION)
            if connection.left is not None:
                reset((upstream if connection.left == "client" else writer).transport)
                await connection.released.wait()
        finally:
            connection.stop()
            await asyncio.gather(*carrying, return_exceptions=True)
            self._connections.discard(connection)
            reset(writer.transport)
            reset(upstream.transport)

    async def _carry(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction until its end has been told; a reset is raised."""
        pieces: asyncio.Queue[tuple[float, bytes | OSError]] = asyncio.Queue(IN_FLIGHT)
        pulling = asyncio.create_task(self._pull(direction, reader, pieces))
        clock = asyncio.get_running_loop().time
        try:
            while True:
                due, piece = await pieces.get()
                await asyncio.sleep(max(0.0, due - clock()))
                await self._good[direction].wait()
                if isinstance(piece, OSError):
                    raise piece
                if not piece:
                    with suppress(OSError):
                        writer.write_eof()
                    return
                await self._push(direction, piece, writer)
        finally:
            pulling.cancel()

    async def _pull(
        self, direction: Direction, reader: asyncio.StreamReader, pieces: asyncio.Queue[tuple[float, bytes | OSError]]
    ) -> None:
        clock, due = asyncio.get_running_loop().time, 0.0
        piece: bytes | OSError = b" "
        while piece and not isinstance(piece, OSError):
            await self._good[direction].wait()
            try:
                piece = await reader.read(READ_BYTES)
            except OSError as error:
                piece = error
            delays = [one.delay_s + self.chance.uniform(0, one.jitter_s) for one in self._weathers]
            due = max(due, clock() + max(delays, default=0.0))
            await pieces.put((due, piece))

    async def _push(self, direction: Direction, piece: bytes, writer: asyncio.StreamWriter) -> None:
        if direction == "down" and any(weather.severs for weather in self._weathers):
            # Never the whole of it.
            writer.write(piece[: self.chance.randrange(len(piece))])
            await writer.drain()
            self.severed += 1
            raise ConnectionResetError
        while piece:
            await self._good[direction].wait()
            rate = min((one.bytes_per_s for one in self._weathers if one.bytes_per_s is not None), default=None)
            size = len(piece) if rate is None else max(1, int(rate * SLICE_S))
            writer.write(piece[:size])
            await writer.drain()
            if rate is not None:
                await asyncio.sleep(min(size, len(piece)) / rate)
            piece = piece[size:]

    def _has(self, weather: Weather) -> bool:
        return any(other is weather for other in self._weathers)

    def _look(self) -> None:
        for direction, good in self._good.items():
            if any(direction in weather.holds for weather in self._weathers):
                good.clear()
            else:
                good.set()


@asynccontextmanager
async def way_to(port: int, host: str = "127.0.0.1", *, chance: random.Random | None = None) -> AsyncIterator[Way]:
    """Keep a way to an address open; it begins at a free port of this machine."""
    way = Way(host, port, chance or random.Random())
    async with listening(way.serve) as way.port:
        yield way


@asynccontextmanager
async def listening(serve: Serve, *, backlog: int = 1024) -> AsyncIterator[int]:
    """Serve each connection to a free port of this machine, which is yielded, in a task that ends with the context."""
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not server.is_serving():
            # It was taken as we closed.
            writer.transport.abort()
            return
        task = asyncio.ensure_future(serve(reader, writer))
        serving.add(task)
        task.add_done_callback(partial(leave, writer=writer))

    def leave(task: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        serving.discard(task)
        if task.cancelled():
            # One that never had its first turn has closed nothing.
            writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=backlog)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry what is read, until either end is gone."""
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


def reset(transport: asyncio.WriteTransport) -> None:
    """Close a connection with a reset."""
    # What is closed already has no socket any more: uvloop says so by None, or by a ValueError.
    with suppress(OSError, ValueError):
        if (held := transport.get_extra_info("socket")) is not None:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    transport.abort()
