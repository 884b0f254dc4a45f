"""A watcher: reads an org's watch events as a browser would."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from support.viewer import Api


@dataclass(frozen=True, slots=True)
class Told:
    """A watch event as it came: its cursor, its name, its envelope."""

    id: str
    name: str
    data: dict[str, Any]


@asynccontextmanager
async def watching(api: Api, types: str | None = None, last: str | None = None) -> AsyncIterator["Watcher"]:
    """Watch an org's events of some types, from where one was when the last was heard."""
    headers = {"Authorization": f"Bearer {api.token}"} | ({} if last is None else {"Last-Event-ID": last})
    params = {} if types is None else {"types": types}
    async with (
        aiohttp.ClientSession() as session,
        session.get(api.path("watch"), params=params, headers=headers) as response,
    ):
        assert 200 == response.status
        yield Watcher(response.content)


class Watcher:
    """One connection that watches."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    async def next(self) -> Told:
        """Read the next event, passing over comments and `retry:`."""
        async with asyncio.timeout(10):
            while True:
                lines = (await self._content.readuntil(b"\n\n")).decode().splitlines()
                fields = dict(line.split(": ", 1) for line in lines if line and not line.startswith(":"))
                if "data" in fields:
                    return Told(fields["id"], fields["event"], json.loads(fields["data"]))

    async def quiet(self) -> None:
        """Read until a comment, which says that there is nothing to tell."""
        async with asyncio.timeout(10):
            while not (await self._content.readuntil(b"\n\n")).startswith(b":"):
                pass

    async def names(self, count: int) -> list[str]:
        """Read the names of the next events."""
        return [(await self.next()).name for _ in range(count)]

    async def subjects(self, count: int) -> list[object]:
        """Read the threads that the next events speak of."""
        return [(await self.next()).data["subject"] for _ in range(count)]
