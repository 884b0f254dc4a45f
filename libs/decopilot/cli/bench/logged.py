"""Reading back what the broker holds of a thread's runs: that nothing is missing, and when it was stored."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from decopilot.cli.bench.orders import Expected
from decopilot.cli.bench.parsing import Transcript
from decopilot.cli.bench.writing import ORG
from decopilot.contracts import subjects
from decopilot.contracts.ids import ThreadId
from decopilot.log.store import Store

AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Logged:
    """What a thread's log holds, and between when it was stored; no times where it holds nothing."""

    expected: Expected
    times: tuple[datetime, ...]

    @property
    def took_s(self) -> float:
        """Return how long it was from the first frame to the last."""
        return (self.times[-1] - self.times[0]).total_seconds() if self.times else 0.0


async def logged(store: Store, threads: Iterable[str]) -> dict[str, Logged]:
    """Read the logs of threads."""
    some = asyncio.Semaphore(AT_ONCE)

    async def one(thread: str) -> Logged:
        transcript, times = Transcript(), list[datetime]()
        async with some:
            async for batch in store.read(subjects.CHUNKS_STREAM, subjects.chunks_of(ORG, ThreadId(thread)), 0):
                for stored in batch:
                    times += [] if stored.stored_at is None else [stored.stored_at]
                    for line in stored.data.split(b"\n"):
                        transcript.add(line)
        return Logged(Expected(chunks=transcript.count, crc=transcript.crc), tuple(times))

    names = list(threads)
    return dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))


async def unlike(store: Store, expected: Mapping[str, Expected]) -> list[str]:
    """Tell of the threads whose logs do not hold exactly what was written."""
    found = {thread: log.expected for thread, log in (await logged(store, expected)).items()}
    return [
        f"{thread}: {found[thread].chunks} chunks are not the {wanted.chunks} written"
        for thread, wanted in expected.items()
        if found[thread] != wanted
    ]
