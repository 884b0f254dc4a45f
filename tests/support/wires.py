"""Wires between the nodes of a cluster, which can be cut without anybody being told: what is said is held, no more."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from support.stack import free_port

Pair = tuple[str, str]


@dataclass(slots=True)
class Wires:
    """A TCP proxy for each way from a node to another; they carry bytes in a thread of their own."""

    loop: asyncio.AbstractEventLoop
    ports: dict[Pair, int] = field(default_factory=dict)
    _open: dict[Pair, asyncio.Event] = field(default_factory=dict)

    def lay(self, to: Mapping[str, int]) -> None:
        """Have wires between all nodes, by their names and the ports at which they hear the others."""
        for pair in ((one, other) for one in to for other in to if one != other):
            self.ports[pair] = free_port()
            asyncio.run_coroutine_threadsafe(self._serve(pair, to[pair[1]]), self.loop).result()

    def cut(self, name: str) -> None:
        """Have nothing pass any more between a node and the others."""
        for pair, gate in self._open.items():
            if name in pair:
                self.loop.call_soon_threadsafe(gate.clear)

    def heal(self) -> None:
        """Have everything pass, what was held first."""
        for gate in self._open.values():
            self.loop.call_soon_threadsafe(gate.set)

    async def _serve(self, pair: Pair, port: int) -> None:
        gate = self._open[pair] = asyncio.Event()
        gate.set()

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await reader.read(1 << 16):
                    await gate.wait()
                    writer.write(data)
                    await writer.drain()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there, back = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                writer.transport.abort()
                return
            ways = [asyncio.create_task(carry(reader, back)), asyncio.create_task(carry(there, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                for end in (writer, back):
                    end.transport.abort()

        await asyncio.start_server(accept, "127.0.0.1", self.ports[pair])


@contextmanager
def wires() -> Iterator[Wires]:
    """Have wires while the context is open."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="wires")
    thread.start()
    try:
        yield Wires(loop)
    finally:
        asyncio.run_coroutine_threadsafe(_end_all(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
