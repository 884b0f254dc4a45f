"""Tasks that go on until they are told to end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any

CANCEL_AGAIN_S = 1.0

Start = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


@asynccontextmanager
async def keeping() -> AsyncIterator[Start]:
    """Keep what is started going, as a `TaskGroup`, while the context is open; leaving it ends all of it."""
    async with asyncio.TaskGroup() as group:
        started: list[asyncio.Task[None]] = []

        def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            started.append(task := group.create_task(work))
            return task

        try:
            yield start
        finally:
            await end(started)


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks, those that join them meanwhile too, until all have ended; with what is for whoever awaits them.

    More than once: Python 3.11 loses a cancellation that meets an answer in one turn of the loop, and an agent may take
    one for the failure of its own call, and go on.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        # Not awaited themselves: our own cancellation must not be taken for theirs.
        await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
