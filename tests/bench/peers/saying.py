"""What every producer says, whoever carries it: the same UI-message chunks, dated by the clock that all share.

Needs nothing but Python: it runs in other people's environments. `node/saying.mjs` is the same for Node.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypedDict

STEP = 100
"""So many deltas are a step: one that dies goes on behind the last finished one, if anybody does."""
GATE_POLL_S = 0.02
BREATH = 64

Chunk = dict[str, Any]


class Work(TypedDict):
    """A run: `rush` deltas as fast as they are taken, then, once the file `gate` is there, `chunks` more.

    Those come in bursts of `burst`, so that there are `rate` a second.
    """

    rush: int
    chunks: int
    rate: float
    burst: int
    gate: str


def delta(number: int) -> Chunk:
    """Make the delta of this number, said now."""
    return {"type": "text-delta", "id": f"t{number // STEP}", "delta": f"{time.monotonic_ns():019d} {number} "}


async def saying(work: Work, first: int = 0) -> AsyncIterator[Chunk]:
    """Say everything from the delta of number `first` on, which begins a step; without `start` and `finish`."""
    rush, end = work["rush"], work["rush"] + work["chunks"]
    for number in range(first, rush):
        if number % BREATH == 0:
            await asyncio.sleep(0)
        for chunk in _delta_and_seams(number, end):
            yield chunk
    while not await asyncio.to_thread(Path(work["gate"]).exists):
        await asyncio.sleep(GATE_POLL_S)
    begin, paced = time.monotonic(), max(first, rush)
    for number in range(paced, end):
        if (number - paced) % work["burst"] == 0:
            await asyncio.sleep(begin + (number - paced) / work["rate"] - time.monotonic())
        for chunk in _delta_and_seams(number, end):
            yield chunk


def _delta_and_seams(number: int, end: int) -> list[Chunk]:
    chunks = [delta(number)]
    step = {"id": f"t{number // STEP}"}
    if number % STEP == 0:
        chunks[:0] = [{"type": "start-step"}, {"type": "text-start", **step}]
    if number % STEP == STEP - 1 or number == end - 1:
        chunks += [{"type": "text-end", **step}, {"type": "finish-step"}]
    return chunks
