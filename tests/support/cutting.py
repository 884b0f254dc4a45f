"""A TCP proxy that cuts: every connection, after so many bytes or so long, with a reset, wherever it stands."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from decopilot.cli.chaos.faults.ways import carry, listening, reset


@dataclass(slots=True)
class CuttingProxy:
    """A bad way to several ports: a connection has up to `2 * bytes_mean` of an answer, and up to `life_s`, to live."""

    ports: Sequence[int]
    chance: random.Random
    bytes_mean: int
    life_s: float
    port: int = 0
    cuts: int = 0
    _served: int = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until its cut, or until an end of it leaves."""
        self._served += 1
        port = self.ports[self._served % len(self.ports)]
        left = round(self.chance.uniform(0, 2 * self.bytes_mean))
        life_s = self.chance.uniform(0, self.life_s)
        try:
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            _reset(writer)
            return
        asking = asyncio.create_task(_carry(reader, upstream))
        try:
            async with asyncio.timeout(life_s):
                is_cut = await _answer(upstream_reader, writer, left)
            self.cuts += is_cut
        except TimeoutError:
            self.cuts += 1
        except OSError:
            pass
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            _reset(writer)
            _reset(upstream)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int) -> bool:
    """Carry so many bytes; tell whether the end came with them, and not before."""
    while left and (data := await reader.read(min(left, 1 << 16))):
        left -= len(data)
        writer.write(data)
        await writer.drain()
    return not left


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await carry(reader, writer)
    # Whoever asked has left: what it asked for is wanted by nobody.
    _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    reset(writer.transport)


@asynccontextmanager
async def cutting(
    ports: Sequence[int], chance: random.Random, *, bytes_mean: int, life_s: float
) -> AsyncIterator[CuttingProxy]:
    """Run such a proxy before ports of this machine, one after the other."""
    proxy = CuttingProxy(ports, chance, bytes_mean, life_s)
    async with listening(proxy.serve) as proxy.port:
        yield proxy
