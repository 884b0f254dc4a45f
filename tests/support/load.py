"""A load: authors who write on a few threads, and fifty viewers of what they write, while a test disturbs them."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from decopilot.log.store import Store
from support.authors import Author
from support.gateways import make_token, until
from support.returning import Returning, all_watch, faults

THREADS = ("t1", "t2", "t3", "t4")
VIEWERS = 50
COMERS = 10
"""The first of them, who leave by themselves and come back."""
PACE_S = 0.05
"""Between two frames of a thread, on average."""
DEADLINE_S = 90.0
MORE_CHUNKS = 100

Property = Callable[[str, object], None]


@dataclass(frozen=True, slots=True)
class Load:
    """Authors who write, and viewers of what they write."""

    store: Store
    chance: random.Random
    authors: Sequence[Author]
    viewers: Sequence[Returning]

    @classmethod
    def on(cls, store: Store, urls: Sequence[str], chance: random.Random) -> Self:
        """Put a load on gateways: half of the viewers begin at each end, and all go to the next when they come back."""
        token = make_token()
        viewers = [
            Returning(token, THREADS[number % 4], urls if number % 8 < 4 else urls[::-1]) for number in range(VIEWERS)
        ]
        for viewer in viewers[:COMERS]:
            viewer.stays_for = partial(chance.randint, 1, 200)
        authors = [Author(store, thread, random.Random(chance.random())) for thread in THREADS]
        return cls(store, chance, authors, viewers)

    async def through(self, disturb: Callable[[], Awaitable[None]], record_property: Property) -> None:
        """Disturb viewers while they read what is written, and judge what each of them saw."""
        is_over = asyncio.Event()

        async def disturbing() -> None:
            await self.flows()
            await disturb()
            await self.flows()
            is_over.set()

        async def pause() -> None:
            # The shape of the load; nobody waits for anything here.
            await asyncio.sleep(self.chance.uniform(0, 2 * PACE_S))

        writing = [author.write(is_over.is_set, pause) for author in self.authors]
        await all_watch(self.viewers, *writing, disturbing(), deadline_s=DEADLINE_S)
        record_property("longest_silences_s", self.silences_s)
        assert [] == await faults(self.store, self.viewers)

    async def flows(self) -> None:
        """Wait until everybody has seen more."""
        await _more(MORE_CHUNKS, lambda: [len(viewer.seen) for viewer in self.viewers])

    async def is_written(self) -> None:
        """Wait until everybody has written more."""
        await _more(MORE_CHUNKS, lambda: [author.written for author in self.authors])

    @property
    def silences_s(self) -> list[float]:
        """The longest silence that each viewer has lived through."""
        return sorted(round(viewer.longest_silence_s, 2) for viewer in self.viewers)


async def _more(more: int, counts: Callable[[], list[int]]) -> None:
    before = counts()
    await until(
        lambda: all(now >= then + more for now, then in zip(counts(), before, strict=True)), deadline_s=DEADLINE_S / 3
    )
