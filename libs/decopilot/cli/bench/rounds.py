"""Having runs done by a deployment, and knowing when they have begun or ended."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from nats.aio.msg import Msg

from decopilot.cli.bench.ground import Ground
from decopilot.cli.bench.orders import Door
from decopilot.cli.bench.watching import post
from decopilot.contracts import subjects

POSTS_AT_ONCE = 8


@dataclass(slots=True)
class Heard:
    """The threads that an event of some type was heard of."""

    threads: set[str] = field(default_factory=set)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def of(self, threads: Sequence[str]) -> None:
        """Wait until it was heard of all these."""
        while not self.threads.issuperset(threads):
            self.more.clear()
            await self.more.wait()


@asynccontextmanager
async def hearing(ground: Ground, event_type: str = "run_completed") -> AsyncIterator[Heard]:
    """Hear of events of this type while the context is open."""
    heard = Heard()

    async def hear(message: Msg) -> None:
        heard.threads.add(subjects.owner_of(message.subject)[1])
        heard.more.set()

    subscription = await ground.nc.subscribe(subjects.events_of_type(event_type), cb=hear)
    await ground.nc.flush()
    try:
        yield heard
    finally:
        await subscription.unsubscribe()


async def post_all(session: aiohttp.ClientSession, door: Door, threads: Sequence[str], text: str) -> None:
    """Send a message to each thread, some at a time; returns when all are accepted."""
    some = asyncio.Semaphore(POSTS_AT_ONCE)

    async def one(thread: str) -> None:
        async with some:
            await post(session, door, thread, text)

    await asyncio.gather(*map(one, threads))
