"""Clients that mean no good, over bare sockets."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Line:
    """A connection, and what was said on it before it ended."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, *said: bytes) -> None:
        """Send, without waiting for it to be taken; what nobody takes is no matter."""
        with suppress(OSError):
            for piece in said:
                if not self.writer.is_closing():
                    self.writer.write(piece)

    async def head(self) -> bytes:
        """Read an answer's head; empty where the connection ended without one."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            return await self.reader.readuntil(b"\r\n\r\n")
        return b""

    async def rest(self) -> bytes:
        """Read until the connection ends."""
        found = b""
        with suppress(ConnectionError):
            while piece := await self.reader.read(1 << 16):
                found += piece
        return found

    async def ends(self) -> bool:
        """Wait for the connection's end."""
        await self.rest()
        return True

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


class Lines:
    """Connections that are closed in the end."""

    def __init__(self) -> None:
        self._open: list[Line] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for line in self._open:
            await line.close()

    async def to(self, url: str) -> Line:
        """Connect."""
        host, _, port = url.removeprefix("http://").partition(":")
        line = Line(*await asyncio.open_connection(host, int(port)))
        self._open.append(line)
        return line


def resident_kib(pid: int) -> int:
    """How much memory a process has had at most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
