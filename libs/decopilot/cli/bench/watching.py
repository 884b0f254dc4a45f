"""A viewer in this very process: it notes when what came, comes back behind its cursor, and folds what it saw."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import aiohttp
from pydantic_core import from_json

from decopilot.cli.bench.orders import Door
from decopilot.cli.bench.parsing import Events
from decopilot.cli.bench.writing import ORG
from decopilot.cli.errors import CliError
from decopilot.cli.ports import HOST
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.ids import MessageId
from decopilot.domain.fold import Fold

FIRST_PAUSE_S, PAUSE_S = 0.0, 0.05
ACCEPTED = 202


@dataclass(frozen=True, slots=True)
class Seen:
    """A chunk, when it came (`time.monotonic_ns`), over which connection, and its position (None: it has no id)."""

    at_ns: int
    connection: int
    position: tuple[int, int] | None
    chunk: Chunk


class LateError(CliError):
    """What was waited for did not come."""


class Watcher:
    """One viewer of one thread's run; goes to the next door where one closes."""

    def __init__(self, session: aiohttp.ClientSession, doors: Sequence[Door], thread: str) -> None:
        self.thread = thread
        self.seen: list[Seen] = []
        self.attached = asyncio.Event()
        self.more = asyncio.Event()
        self._session, self._doors = session, doors
        self._cursor = ""
        self._connections = 0

    @property
    def text(self) -> str:
        """The text of the answer, as a client has it that understands rewinds."""
        fold = Fold(MessageId(""))
        for seen in self.seen:
            if seen.chunk["type"] == "start":
                fold = Fold(MessageId(seen.chunk["messageId"]))
            fold.add(seen.chunk)
        return "".join(part["text"] for part in fold.message().parts if part["type"] == "text")

    @property
    def has_finished(self) -> bool:
        """Whether the run was seen to its end."""
        return bool(self.seen) and self.seen[-1].chunk["type"] == "finish"

    async def run(self) -> None:
        """View until the run's end has come, over as many connections as it takes."""
        number, pause_s = 0, FIRST_PAUSE_S
        while not self.has_finished:
            with suppress(aiohttp.ClientError, OSError):
                await self._view(self._doors[number % len(self._doors)])
            number += 1
            if not self.has_finished:
                await asyncio.sleep(pause_s)
                pause_s = PAUSE_S

    async def until(self, is_there: "Callable[[Watcher], bool]", deadline_s: float) -> None:
        """Wait until what was seen is enough; raises `LateError` where it is not in time."""
        try:
            async with asyncio.timeout(deadline_s):
                while not is_there(self):
                    self.more.clear()
                    await self.more.wait()
        except TimeoutError as error:
            message = f"{self.thread}: what was waited for did not come within {deadline_s:g} s."
            raise LateError(message) from error

    async def _view(self, door: Door) -> None:
        url = f"http://{HOST}:{door.port}/{ORG}/decopilot/attach/{self.thread}"
        headers = {"Authorization": f"Bearer {door.token}"}
        if self._cursor:
            headers["Last-Event-ID"] = self._cursor
        async with self._session.get(url, params={"rewind": "true"}, headers=headers) as response:
            response.raise_for_status()
            self._connections += 1
            events = Events()
            async for data in response.content.iter_any():
                now_ns = time.monotonic_ns()
                self.attached.set()
                for event in events.feed(data):
                    self._take(event, now_ns)
                self.more.set()
                if self.has_finished:
                    return

    def _take(self, event: bytes, at_ns: int) -> None:
        head, is_data, data = (b"\n" + event).partition(b"\ndata: ")
        if not is_data or data == b"[DONE]":
            return
        cursor = head.partition(b"\nid: ")[2].decode()
        self._cursor = cursor or self._cursor
        sequence, _, index = cursor.partition("-")
        position = (int(sequence), int(index)) if cursor else None
        self.seen.append(Seen(at_ns, self._connections, position, from_json(data)))


@asynccontextmanager
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Hold connections to gateways while the context is open."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@asynccontextmanager
async def watching(watchers: Sequence[Watcher], deadline_s: float) -> AsyncIterator[None]:
    """Let them view while the context is open, all attached; when it ends well, all have seen their runs' ends."""
    tasks = [asyncio.create_task(watcher.run(), name=f"view {watcher.thread}") for watcher in watchers]
    try:
        async with asyncio.timeout(deadline_s):
            for watcher in watchers:
                await watcher.attached.wait()
        yield
        done, late = await asyncio.wait(tasks, timeout=deadline_s)
        if late:
            message = f"{len(late)} viewers did not see the end of their run within {deadline_s:g} s."
            raise LateError(message)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def post(session: aiohttp.ClientSession, door: Door, thread: str, text: str) -> None:
    """Send a message; returns with its 202, and raises `CliError` where it is refused."""
    message = {"role": "user", "parts": [{"type": "text", "text": text}]}
    url = f"http://{HOST}:{door.port}/{ORG}/decopilot/threads/{thread}/messages"
    headers = {"Authorization": f"Bearer {door.token}"}
    async with session.post(url, json={"messages": [message]}, headers=headers) as response:
        body = await response.read()
        if response.status != ACCEPTED:
            refusal = f"The message to {thread} was answered {response.status}: {body[:200].decode(errors='replace')}"
            raise CliError(refusal)


def counted(last: int) -> str:
    """Return what the demo model answers to `/count LAST`."""
    return " ".join(map(str, range(1, last + 1)))


def words_of(watcher: Watcher) -> int:
    """Count the words that were seen."""
    return sum(seen.chunk["type"] == "text-delta" for seen in watcher.seen)
