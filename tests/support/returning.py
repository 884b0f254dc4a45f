"""Viewers that come back at once, wherever they were cut off, and how what they saw is judged."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from pydantic_core import from_json

from decopilot.log.store import Store
from support.authors import LAST, stored
from support.gateways import ORG
from support.lean import ShutError, body
from support.viewer import Chunk

SHUT_S = 0.02
"""What a viewer waits where it was not let in: many of them at a door that is shut would leave nobody a processor."""
DONE = b"data: [DONE]"

Seen = list[tuple[str, Chunk]]


@dataclass(slots=True)
class Stay:
    """One connection: to which door, the last two events that came, and what came of another.

    `status` is that of the answer; None where there was none.
    """

    door: str
    events: list[bytes] = field(default_factory=list)
    torn: bytes = b""
    status: int | None = None

    @property
    def was_ended(self) -> bool:
        """Whether the gateway ended it, behind a chunk, and said when to come back."""
        return not self.torn and self.events[-1:] == [DONE] and self.events[0].startswith(b"retry: ")


@dataclass(slots=True)
class Returning:
    """A viewer that comes back at once, at the next of its doors, until it has seen the author's last chunk.

    `stays_for` draws after how many chunks it leaves by itself (None: it does not). `begins` is told of each answer.
    """

    token: str
    thread: str
    doors: Sequence[str]
    stays_for: Callable[[], int | None] = lambda: None
    cursor: str | None = "0-0"
    begins: Callable[[], None] = lambda: None
    seen: Seen = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)
    longest_silence_s: float = 0.0
    _heard_at: float | None = None

    @property
    def is_through(self) -> bool:
        """Whether the author's last chunk was seen."""
        return bool(self.seen) and self.seen[-1][1] == LAST

    @property
    def sequence(self) -> int:
        """The frame that it has come to."""
        return int((self.cursor or "0").partition("-")[0])

    async def watch(self) -> None:
        """Watch to the end."""
        while not self.is_through:
            await self.stay(self.stays_for())

    async def stay(self, at_most: int | None = None) -> None:
        """Connect once, for this many chunks, until the author's last one, or as long as it is let."""
        stay = Stay(self.doors[len(self.stays) % len(self.doors)])
        self.stays.append(stay)
        until = None if at_most is None else len(self.seen) + at_most
        try:
            async with aclosing(self._read(stay)) as chunks:
                async for _ in chunks:
                    if self.is_through or len(self.seen) == until:
                        return
        except ShutError as error:
            stay.status = error.status
            await asyncio.sleep(SHUT_S)
        except ConnectionError:
            pass

    async def _read(self, stay: Stay) -> AsyncGenerator[None, None]:
        headers = {"Authorization": f"Bearer {self.token}"}
        if self.cursor is not None:
            headers["Last-Event-ID"] = self.cursor
        async with aclosing(body(stay.door, f"/{ORG}/decopilot/attach/{self.thread}", headers)) as pieces:
            async for piece in pieces:
                if stay.status is None:
                    stay.status = 200
                    self.begins()
                *events, stay.torn = (stay.torn + piece).split(b"\n\n")
                for event in events:
                    stay.events = [*stay.events[-1:], event]
                    if event.startswith(b"id: "):
                        self._take(event)
                        yield

    def _take(self, event: bytes) -> None:
        id_, _, data = event.partition(b"\n")
        self.cursor = id_.removeprefix(b"id: ").decode()
        if not data:
            return
        self.seen.append((self.cursor, from_json(data.removeprefix(b"data: "))))
        now = time.monotonic()
        if self._heard_at is not None:
            self.longest_silence_s = max(self.longest_silence_s, now - self._heard_at)
        self._heard_at = now


async def all_watch(viewers: Sequence[Returning], *writing: Awaitable[None], deadline_s: float) -> None:
    """Let all watch to the end while others write; who is not there by the deadline is judged by what it saw."""
    tasks = [asyncio.ensure_future(some) for some in (*(viewer.watch() for viewer in viewers), *writing)]
    try:
        done, _ = await asyncio.wait(tasks, timeout=deadline_s, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def fault(there: Seen, seen: Seen) -> str | None:
    """Say where a transcript differs from what is there to be seen, if it does."""
    for place, (expected, found) in enumerate(zip(there, seen, strict=False)):
        if expected != found:
            return f"chunk {place} of {len(there)} is {_short(expected)} in the log and {_short(found)} for the viewer"
    if len(there) != len(seen):
        return f"the viewer saw {len(seen)} of {len(there)} chunks"
    return None


async def faults(store: Store, viewers: Sequence[Returning]) -> list[str]:
    """Say of each viewer that saw other than every chunk that is stored once and in order, what is wrong."""
    there = {thread: await stored(store, thread) for thread in {viewer.thread for viewer in viewers}}
    return [
        f"viewer {number} of {viewer.thread} after {len(viewer.stays)} connections: {found}"
        for number, viewer in enumerate(viewers)
        if (found := fault(there[viewer.thread], viewer.seen)) is not None
    ]


def _short(item: tuple[str, Chunk]) -> str:
    return f"{item[0]} {item[1]!s:.80}"
