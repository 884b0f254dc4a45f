"""What the logs of a running stack hold."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from decopilot.contracts.events import Recorded, ThreadTitled
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.kit.connection import connected
from decopilot.log.chunklog import ChunkLog
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.views import Views
from support.stack import Stack


@asynccontextmanager
async def _store(stack: Stack) -> AsyncIterator[Store]:
    async with connected(stack.operator, "test") as nc, Store(nc) as store:
        yield store


async def events(stack: Stack, org: OrgId, thread: ThreadId) -> list[Recorded]:
    """Read a thread's events."""
    async with _store(stack) as store:
        return await Journal(store, Views(store)).events(org, thread, after=0)


@asynccontextmanager
async def chunk_log(stack: Stack) -> AsyncIterator[ChunkLog]:
    """Hold the chunk log of a stack."""
    async with _store(stack) as store:
        yield ChunkLog(store)


async def event_types(stack: Stack, org: OrgId, thread: ThreadId) -> list[str]:
    """Read the types of a thread's events, but for a title that a model found meanwhile."""
    found = [recorded.event for recorded in await events(stack, org, thread)]
    return [event.type for event in found if not (isinstance(event, ThreadTitled) and event.automatic)]
