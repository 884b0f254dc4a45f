"""A TCP proxy before a broker that speaks NATS well enough to lose, repeat and hold what the broker says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from decopilot.cli.chaos.faults.ways import carry, listening

Says = Callable[[bytes], list[bytes]]
"""What becomes of one protocol message of the broker: nothing, itself, it twice, others."""


@dataclass(slots=True)
class Proxy:
    """A way to a broker that can be made bad."""

    port: int = 0
    treat: Says = lambda message: [message]
    """Applied to each whole message of the broker."""
    talks: asyncio.Event = field(default_factory=asyncio.Event)
    """While this is not set, what the broker says is held."""
    lost: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    def lose(self, wanted: Callable[[bytes], bool], *, times: int = 1 << 62) -> None:
        """Lose messages of the broker, this often."""
        left = times

        def treat(message: bytes) -> list[bytes]:
            nonlocal left
            if left and wanted(message):
                left -= 1
                self.lost += 1
                return []
            return [message]

        self.treat = treat

    def heal(self) -> None:
        """Be a good way again."""
        self.treat = lambda message: [message]

    def cut(self) -> None:
        """Break all connections; what was held is lost."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def serve(self, to_port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        try:
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", to_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, upstream}
        ways = [
            asyncio.create_task(carry(reader, upstream)),
            asyncio.create_task(self._answer(upstream_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, upstream):
                self._writers.discard(end)
                end.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                message = line
                if line.startswith((b"MSG ", b"HMSG ")):
                    message += await reader.readexactly(int(line.split()[-1]) + 2)
                await self.talks.wait()
                for said in self.treat(message):
                    writer.write(said)
                await writer.drain()


@asynccontextmanager
async def proxied(to_port: int) -> AsyncIterator[Proxy]:
    """Run a proxy before a port of this machine."""
    proxy = Proxy()
    proxy.talks.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await proxy.serve(to_port, reader, writer)

    async with listening(serve) as proxy.port:
        yield proxy


def is_ack(message: bytes) -> bool:
    """Tell whether this is the broker's word that something was stored."""
    return b'"stream":"DECOPILOT_' in message and b'"seq":' in message and b'"message":' not in message
