"""What is told beside a stream of chunks while its next one is still waited for."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from decopilot.contracts.chunks import Chunk


class Asides:
    """Chunks from inside of what a stream does, which come between its own as soon as they are told."""

    def __init__(self) -> None:
        self._told: deque[Chunk] = deque()
        self._news = asyncio.Event()
        self._taken = asyncio.Event()

    def tell(self, chunk: Chunk) -> None:
        """Tell a chunk; a transient one: it may come before a stream's part is open, or after it is closed."""
        self._told.append(chunk)
        self._news.set()

    async def between(self, stream: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
        """Yield the stream's chunks and what is told; the stream goes on only once its last chunk was taken.

        All of the stream runs in one task of its own, as pydantic-ai's cancel scopes and spans want it, and is closed
        in it, whoever closes this generator, and wherever.
        """
        task = asyncio.create_task(self._drive(stream), name="agent stream")
        task.add_done_callback(lambda _: self._news.set())
        try:
            while True:
                while self._told:
                    yield self._told.popleft()
                self._taken.set()
                if task.done() and not self._told:
                    break
                self._news.clear()
                await self._news.wait()
            task.result()
        finally:
            await _ended(task)

    async def _drive(self, stream: AsyncGenerator[Chunk, None]) -> None:
        async with aclosing(stream):
            async for chunk in stream:
                self._taken.clear()
                self.tell(chunk)
                await self._taken.wait()


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended; each cancellation of ours meanwhile is handed on to it.

    Raises:
        Exception: what it ended with.

    """
    while not task.done():
        task.cancel()
        # Whoever is here is on the way out already, by the cancellation or the closing that this one adds to.
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled():
        task.result()
