"""Viewers and watchers that drop and come back at any gateway, and keep every byte with the time it came."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp

from decopilot.cli.chaos.doors import FAILURES, Doors
from decopilot.cli.chaos.schedule import ViewerPlan

PAUSE_S = 0.2
FOR_GOOD_S = 3600.0
SILENT_S = 25.0
"""Keepalives come every 15 s: a connection that is silent for longer is dead."""


@dataclass(frozen=True, slots=True)
class Event:
    """A Server-Sent Event: its id, its name if it has one, its data, and when it came."""

    id: str
    data: bytes
    at: float
    name: str = ""


@dataclass(slots=True)
class Connection:
    """One connection: the cursor that it began with, and when; what came; and when it broke, if nobody left it.

    It was `asked` for before it `began`: what is true by then is true for whoever answers, however late that arrives.
    """

    cursor: str | None
    asked: float
    began: float
    events: list[Event] = field(default_factory=list)
    broke: float | None = None


@dataclass(slots=True)
class Stream:
    """What one client reads over many connections, each begun where the one before ended."""

    path: str
    doors: Doors
    chance: random.Random
    stays_s: tuple[float, float]
    goes_s: tuple[float, float]
    cursor: str | None = None
    stood: str | None = None
    """Where one that came without a cursor was told that it stands, before its first chunk."""
    query: dict[str, str] = field(default_factory=dict)
    is_slow: bool = False
    connections: list[Connection] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self) -> None:
        """Read until cancelled; once all is `settled`, stay."""
        while True:
            stays_s = FOR_GOOD_S if self.settled.is_set() else self.chance.uniform(*self.stays_s)
            try:
                async with asyncio.timeout(stays_s):
                    await self._read()
            except FAILURES:
                pass
            await asyncio.sleep(PAUSE_S)
            if not self.settled.is_set():
                try:
                    async with asyncio.timeout(self.chance.uniform(*self.goes_s)):
                        await self.settled.wait()
                except TimeoutError:
                    pass

    async def _read(self) -> None:
        headers = self.doors.headers | ({} if self.cursor is None else {"Last-Event-ID": self.cursor})
        url = self.doors.url(self.chance, self.path)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=SILENT_S)
        small = 1 << 12 if self.is_slow else 1 << 16
        asked = time.time()
        async with self.doors.session.get(
            url, headers=headers, params=self.query, timeout=timeout, read_bufsize=small
        ) as response:
            if response.status != 200:
                if response.status not in {429, 503}:
                    self.refusals.append(f"{url}: {response.status} {await response.text()}")
                return
            connection = Connection(self.cursor, asked, time.time())
            self.connections.append(connection)
            try:
                await self._take(connection, response)
            except FAILURES:
                connection.broke = time.time()
                raise
            connection.broke = time.time()

    async def _take(self, connection: Connection, response: aiohttp.ClientResponse) -> None:
        async for event in _events(response):
            is_first, self.cursor = self.cursor is None, event.id
            if not event.data:
                self.stood = event.id if is_first else self.stood
                continue
            connection.events.append(event)
            if self.is_slow and not self.settled.is_set() and self.chance.random() < 0.1:
                await asyncio.sleep(self.chance.uniform(0, 0.5))


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    rest = b""
    async for data in response.content.iter_any():
        *events, rest = (rest + data).split(b"\n\n")
        for event in events:
            if not event.startswith(b"id: "):
                continue  # a comment, `retry:`, or the end that says that the gateway leaves
            fields = dict(line.split(b": ", 1) for line in event.split(b"\n"))
            yield Event(
                fields[b"id"].decode(), fields.get(b"data", b""), time.time(), fields.get(b"event", b"").decode()
            )


@dataclass(slots=True)
class Viewer:
    """A viewer of one thread; `start` is the cursor it came with."""

    name: str
    thread: str
    rewind: bool
    start: str | None
    stream: Stream

    @classmethod
    def of(cls, plan: ViewerPlan, doors: Doors, seed: int) -> "Viewer":
        """Make the viewer of a plan."""
        start = "0-0" if plan.from_start else None
        return cls._of(plan, doors, seed, start)

    @classmethod
    def behind(cls, name: str, thread: str, cursor: str, doors: Doors, seed: int, *, rewind: bool) -> "Viewer":
        """Make a viewer that begins where a history ended."""
        plan = ViewerPlan(name, thread, rewind, from_start=False, stays_s=(1.0, 10.0), goes_s=(0.0, 0.5))
        return cls._of(plan, doors, seed, cursor)

    @classmethod
    def _of(cls, plan: ViewerPlan, doors: Doors, seed: int, start: str | None) -> "Viewer":
        stream = Stream(
            f"decopilot/attach/{plan.thread}",
            doors,
            random.Random(f"{seed}/{plan.name}"),
            plan.stays_s,
            plan.goes_s,
            cursor=start,
            query={"rewind": "true"} if plan.rewind else {},
            is_slow=plan.is_slow,
        )
        return cls(plan.name, plan.thread, plan.rewind, start, stream)
