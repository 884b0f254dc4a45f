"""Authors: each writes run after run on a thread while others read, and knows which chunk is the last."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from decopilot.contracts.ids import ThreadId
from decopilot.log.chunklog import ChunkLog
from decopilot.log.store import Store
from support.gateways import ORG, Run
from support.viewer import Chunk

LAST: Chunk = {"type": "finish", "finishReason": "stop", "messageMetadata": {"last": True}}
"""What every author's last run ends with."""
_FINISH: Chunk = {"type": "finish", "finishReason": "stop"}
_LETTERS = "abc ünï 漢字 🙂"


@dataclass(slots=True)
class Author:
    """Writes on one thread: frames of one to nine chunks, some of them long."""

    store: Store
    thread: str
    chance: random.Random
    frames_per_run: int = 150
    written: int = 0
    """Chunks that are stored."""
    sequence: int = 0
    """The last frame that is stored."""
    run: int = 0
    """The number of the run that is being written, or was last."""

    async def write(self, is_enough: Callable[[], bool], pause: Callable[[], Awaitable[None]]) -> None:
        """Write runs, with a pause behind every frame, until there is enough."""
        while not await self._write_run(is_enough, pause):
            pass

    async def _write_run(self, is_enough: Callable[[], bool], pause: Callable[[], Awaitable[None]]) -> bool:
        """Write one run; tell whether it is the last."""
        self.run += 1
        async with Run(self.store, self.thread, self.run, previous=self.sequence) as run:
            await self._frame(run, {"type": "start", "messageId": run.requested.assistant_id}, _text("text-start"))
            for _ in range(self.frames_per_run):
                if is_enough():
                    break
                await self._frame(run, *self._deltas())
                await pause()
            is_last = is_enough()
            self.sequence = await run.seal(_text("text-end"), LAST if is_last else _FINISH)
            self.written += 2
        return is_last

    async def _frame(self, run: Run, *chunks: Chunk) -> None:
        self.sequence = await run.frame(*chunks)
        self.written += len(chunks)

    def _deltas(self) -> list[Chunk]:
        deltas = []
        for number in range(self.written, self.written + self.chance.randint(1, 9)):
            length = 1_000 if self.chance.random() < 0.002 else self.chance.randint(0, 40)
            said = "".join(self.chance.choices(_LETTERS, k=length))
            deltas.append({**_text("text-delta"), "delta": f"{number} {said}"})
        return deltas


def _text(kind: str) -> Chunk:
    return {"type": kind, "id": "t"}


async def stored(store: Store, thread: str) -> list[tuple[str, Chunk]]:
    """Read what a thread's viewers are to see: every chunk that the log holds, with its cursor."""
    log = ChunkLog(store)
    last = await log.last_of_thread(ORG, ThreadId(thread))
    assert last is not None
    return [
        (f"{frame.sequence}-{index}", chunk)
        async for frames in log.of_thread(ORG, ThreadId(thread), after=0, until=last.sequence)
        for frame in frames
        for index, chunk in enumerate(frame.chunks)
    ]
