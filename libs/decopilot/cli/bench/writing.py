"""Writing runs as runners do, through the pump, at a rate or as fast as it goes."""

import asyncio
import time
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from nats.aio.client import Client
from nats.aio.msg import Msg

from decopilot.cli.bench.orders import Expected
from decopilot.cli.bench.parsing import Transcript
from decopilot.cli.bench.saying import delta, said_at
from decopilot.contracts import subjects
from decopilot.contracts.chunks import Chunk, encode_chunk
from decopilot.contracts.events import RunRequested, ThreadCreated
from decopilot.contracts.frames import Cursor, Outcome
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId, UserId
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot.domain.margins import closing, opening
from decopilot.log.pump import Pump
from decopilot.log.store import Store

ORG = OrgId("bench")
USER = UserId("bench")
ANSWER = MessageId("a1")
BREATH = 16
"""Chunks between two turns of the event loop, as a model without any delay gives them."""
OPENING_CHUNKS = 4
"""What stands ahead of the first delta."""
_COMPLETED = Outcome(status="completed", finish_reason="stop")


@dataclass(frozen=True, slots=True)
class Said:
    """A run as it was written: what its viewers have seen of it in the end, and how late its chunks were written."""

    expected: Expected
    end: Cursor
    last: bytes
    late_ms: float


class Run:
    """A run that is being written."""

    def __init__(self, pump: Pump, thread: str) -> None:
        self._pump = pump
        question = UIMessage(id=MessageId("u1"), role="user", parts=[{"type": "text", "text": "Go on."}])
        self._requested = RunRequested(
            at=datetime.now(UTC),
            run_id=RunId("run_1"),
            user_id=USER,
            message=question,
            assistant_id=ANSWER,
            config=RunConfig(),
            thread=ThreadCreated(owner=USER, agent_id="default", title=thread),
        )
        self._transcript = Transcript()
        self._last = b""
        self._late_s = 0.0

    async def open(self) -> None:
        """Begin: one frame, then the start of a text."""
        chunks = opening(self._requested, 1)
        for chunk in chunks:
            self._note(chunk)
        await self._pump.frame(chunks)
        await self._write({"type": "text-start", "id": "t"})
        await self._pump.barrier()

    async def speak(self, chunks: int, rate: float, padding: int = 0, *, begin: float | None = None) -> None:
        """Write chunks, each at its time, however long the ones before it take to be stored.

        With a `begin` (`time.monotonic`) they say when they were due, else when they were written.
        """
        first = time.monotonic() if begin is None else begin
        for number in range(chunks):
            due = first + number / rate
            await asyncio.sleep(due - time.monotonic())
            self._late_s = max(self._late_s, time.monotonic() - due)
            await self._write(delta(number, padding, None if begin is None else round(due * 1e9)))

    async def pour(self, chunks: int) -> None:
        """Write chunks as fast as the pump takes them, and leave it to make frames of them."""
        for number in range(chunks):
            await self._write(delta(number))
            if number % BREATH == 0:
                await asyncio.sleep(0)
        await self._pump.barrier()

    async def rush(self, chunks: int, each: int) -> AsyncIterator[int]:
        """Write chunks as fast as they are stored, `each` so many a frame; yields how many there are."""
        for number in range(chunks):
            await self._write(delta(number))
            if (number + 1) % each == 0:
                await self._pump.barrier()
                yield number + 1
        await self._pump.barrier()

    async def close(self) -> Cursor:
        """Seal it."""
        chunks = closing(self._requested, _COMPLETED, {})
        for chunk in chunks:
            self._note(chunk)
        return await self._pump.close(chunks, _COMPLETED)

    def said(self, end: Cursor) -> Said:
        """Sum up what was written."""
        expected = Expected(chunks=self._transcript.count, crc=self._transcript.crc)
        return Said(expected, end, self._last, self._late_s * 1000)

    async def _write(self, chunk: Chunk) -> None:
        self._note(chunk)
        await self._pump.write(chunk)

    def _note(self, chunk: Chunk) -> None:
        self._last = encode_chunk(chunk)
        self._transcript.add(self._last)


@asynccontextmanager
async def writing(store: Store, thread: str) -> AsyncIterator[Run]:
    """Write the first run of a thread."""
    async with Pump(store, ORG, ThreadId(thread), RunId("run_1"), attempt=1, previous=0) as pump:
        yield Run(pump, thread)


async def whole_run(store: Store, thread: str) -> Cursor:
    """Write the shortest run there is; returns its end."""
    async with writing(store, thread) as run:
        await run.open()
        return await run.close()


async def next_word(store: Store, thread: str, behind: Cursor) -> Expected:
    """Write one chunk of a second run."""
    run = Pump(store, ORG, ThreadId(thread), RunId("run_2"), attempt=1, previous=behind.sequence)
    transcript = Transcript()
    async with run as pump:
        chunk = delta(0)
        transcript.add(encode_chunk(chunk))
        await pump.frame([chunk])
    return Expected(chunks=1, crc=transcript.crc)


@asynccontextmanager
async def bare_subscription(nc: Client, thread: str, unmeasured: int = 0) -> "AsyncIterator[array[int]]":
    """Listen to what the broker re-publishes of a thread (`*`: of all); yields the latencies of what comes."""
    taken: array[int] = array("q")
    heard = 0

    async def hear(msg: Msg) -> None:
        nonlocal heard
        now_ns = time.monotonic_ns()
        for line in msg.data.split(b"\n"):
            heard += 1
            if heard > unmeasured and (said_ns := said_at(line)) is not None:
                taken.append(now_ns - said_ns)

    subscription = await nc.subscribe(subjects.tail_of(ORG, ThreadId(thread)), cb=hear)
    try:
        yield taken
    finally:
        await subscription.unsubscribe()
