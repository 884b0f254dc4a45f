"""Who speaks in many runs at once, in one process as a runner is one: through pumps, or by bare awaited publishes.

`python -m decopilot.cli.bench.speakers ORDER`; the environment says where the broker is. Its last line is `Spoken`.
"""

import asyncio
import os
import sys
import time
from array import array
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Literal, TypeVar

import uvloop

from decopilot.cli.bench.latency import Latency, latency
from decopilot.cli.bench.orders import Expected
from decopilot.cli.bench.procfs import CpuMeter
from decopilot.cli.bench.saying import delta, said_at
from decopilot.cli.bench.writing import ORG, Run, writing
from decopilot.contracts import subjects
from decopilot.contracts.chunks import encode_chunk
from decopilot.contracts.ids import RunId, ThreadId
from decopilot.contracts.messages import Frozen
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.store import Store

RunT = TypeVar("RunT")


class Speak(Frozen):
    """So many runs at once, each of so many chunks at so many a second (0: as fast as they are stored).

    The first `unmeasured` chunks of each don't count.
    """

    by: Literal["pump", "publish"]
    name: str
    runs: int
    chunks: int
    rate: float
    unmeasured: int = 0


class Spoken(Frozen):
    """What was stored, and how soon: each chunk from the instant it was due, each publish from its being sent."""

    took_s: float
    chunks: int
    publishes: int
    stored: Latency | None
    published: Latency | None
    cpu_percent: float | None
    expected: dict[str, Expected]


class _Notes:
    def __init__(self, unmeasured: int) -> None:
        self.chunks = self.publishes = 0
        self.stored: array[int] = array("q")
        self.early: array[int] = array("q")
        self.published: array[int] = array("q")
        self._unmeasured = unmeasured
        self._of: dict[str, int] = {}

    def note(self, subject: str, body: bytes, sent_ns: int) -> None:
        """Take in that a publish was acknowledged now."""
        now_ns = time.monotonic_ns()
        self.publishes += 1
        self.published.append(now_ns - sent_ns)
        heard = self._of.get(subject, 0)
        for line in body.split(b"\n"):
            if (said_ns := said_at(line)) is not None:
                heard += 1
                (self.stored if heard > self._unmeasured else self.early).append(now_ns - said_ns)
        self.chunks += heard - self._of.get(subject, 0)
        self._of[subject] = heard


class _NotingStore(Store):
    """A store that notes when what it was given is on the broker's disk."""

    notes: _Notes

    async def publish(
        self,
        stream: str,
        subject: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 2.0,
    ) -> int:
        """Store a message, as the store does."""
        sent_ns = time.monotonic_ns()
        sequence = await super().publish(stream, subject, body, headers, timeout_s=timeout_s)
        self.notes.note(subject, body, sent_ns)
        return sequence


async def speak(store: _NotingStore, order: Speak) -> Spoken:
    """Speak; returns when all is stored."""
    names = [f"{order.name}-{number}" for number in range(order.runs)]
    began = time.monotonic()
    expected: dict[str, Expected] = {}
    with CpuMeter(os.getpid()) as cpu:
        if order.by == "pump":
            async with AsyncExitStack() as stack:
                runs = [await stack.enter_async_context(writing(store, name)) for name in names]
                await asyncio.gather(*(run.open() for run in runs))
                began = time.monotonic()
                said = await asyncio.gather(*(_pump(run, order, begin) for run, begin in _begins(runs, order, began)))
            expected = dict(zip(names, said, strict=True))
        else:
            await asyncio.gather(*(_publish(store, name, order, begin) for name, begin in _begins(names, order, began)))
    notes = store.notes
    return Spoken(
        took_s=time.monotonic() - began,
        chunks=notes.chunks,
        publishes=notes.publishes,
        # Who hardly gets on is still in what was to be its warm-up.
        stored=latency(notes.stored or notes.early),
        published=latency(notes.published),
        cpu_percent=cpu.percent,
        expected=expected,
    )


def _begins(runs: list[RunT], order: Speak, began: float) -> list[tuple[RunT, float]]:
    """Spread the runs over the time between two chunks: models don't speak in step."""
    step_s = 1 / order.rate / len(runs) if order.rate else 0.0
    return [(run, began + number * step_s) for number, run in enumerate(runs)]


async def _pump(run: Run, order: Speak, begin: float) -> Expected:
    if order.rate:
        await run.speak(order.chunks, order.rate, begin=begin)
    else:
        await run.pour(order.chunks)
    return run.said(await run.close()).expected


async def _publish(store: Store, name: str, order: Speak, begin: float) -> None:
    subject = subjects.chunks(ORG, ThreadId(name), RunId("run_1"))
    # One that can't keep this pace is not waited for longer than twice the time.
    ends = begin + 2 * order.chunks / order.rate if order.rate else float("inf")
    for number in range(order.chunks):
        if time.monotonic() > ends:
            return
        at = begin + number / order.rate if order.rate else time.monotonic()
        await asyncio.sleep(at - time.monotonic())
        body = encode_chunk(delta(number, at_ns=round(at * 1e9)))
        await store.publish(subjects.CHUNKS_STREAM, subject, body, timeout_s=30)


async def main(order: Speak) -> None:
    """Speak, and say what came of it."""
    async with connected(Settings(), "bench") as nc, _NotingStore(nc) as store:
        store.notes = _Notes(order.unmeasured)
        sys.stdout.write(f"\n{(await speak(store, order)).model_dump_json()}\n")


if __name__ == "__main__":
    uvloop.run(main(Speak.model_validate_json(sys.argv[1])))
