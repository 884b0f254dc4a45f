"""Idle viewers: what thousands of them cost while nothing happens, and how soon they hear that something did."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import ClassVar

from decopilot.cli.bench.ground import Ground, Server, attach_path
from decopilot.cli.bench.latency import latency
from decopilot.cli.bench.orders import Attach, Settle, Stream
from decopilot.cli.bench.procfs import CpuMeter, pss_bytes
from decopilot.cli.bench.results import Beside, Block, Row, curves, latency_rows
from decopilot.cli.bench.writing import bare_subscription, next_word, whole_run
from decopilot.contracts.frames import Cursor

AT_ONCE = 32
WORDS_PER_S = 100
WARM_UP = 20
SETTLE_S = 30.0
GROUP = "idle"
KIB = 1024


@dataclass(frozen=True, slots=True)
class Idle:
    """So many viewers on so many threads; `seconds` are two keepalives of each viewer, whenever it came."""

    name: ClassVar[str] = "idle"
    version: ClassVar[int] = 1
    limit_s: ClassVar[float] = 300.0
    is_pinned: ClassVar[bool] = True
    viewers: int = 5_000
    threads: int = 500
    seconds: float = 30

    @property
    def connections(self) -> int:
        """Return how many are open at once."""
        return self.viewers

    async def measure(self, ground: Ground) -> AsyncIterator[Block]:
        """Measure the gateway, then the bare server with as many clients."""
        yield await _measure(ground, self)


async def _measure(ground: Ground, idle: Idle) -> Block:
    threads = [f"idle-{number}" for number in range(idle.threads)]
    ground.progress.step(f"Writing a run to each of {len(threads):,} threads")
    some = asyncio.Semaphore(AT_ONCE)

    async def write(thread: str) -> Cursor:
        async with some:
            return await whole_run(ground.store, thread)

    ends = dict(zip(threads, await asyncio.gather(*map(write, threads)), strict=True))
    viewers = idle.viewers
    streams = [_stream(ends, threads[number % len(threads)], number) for number in range(viewers)]
    async with ground.gateway() as server:
        # What is loaded with the first request is no viewer's.
        await _attach(ground, server, "warm-up", [attach_path("idle-none") for _ in range(WARM_UP)])
        await ground.crowd.drop("warm-up")
        memory, broker_memory = pss_bytes(server.pid), pss_bytes(ground.broker_pid)
        ground.progress.step(f"Attaching {viewers:,} viewers")
        attached_s = await _attach(ground, server, GROUP, streams)
        async with ground.progress.running(f"{viewers:,} idle viewers", idle.seconds):
            with CpuMeter(server.pid) as cpu, CpuMeter(ground.broker_pid) as broker_cpu:
                await asyncio.sleep(idle.seconds)
        grown = _growth(memory, pss_bytes(server.pid))
        broker_grown = _growth(broker_memory, pss_bytes(ground.broker_pid))
        ground.progress.step("One chunk to each thread")
        async with bare_subscription(ground.nc, "*") as heard:
            expected = {}
            async with asyncio.TaskGroup() as words:
                tasks = {}
                for thread in threads:
                    tasks[thread] = words.create_task(next_word(ground.store, thread, ends[thread]))
                    await asyncio.sleep(1 / WORDS_PER_S)
            expected = {thread: task.result() for thread, task in tasks.items()}
            settled = await ground.crowd.settle(Settle(group=GROUP, expected=expected, timeout_s=SETTLE_S))
            raw = latency(heard)
        await ground.crowd.drop(GROUP)
    bare_grown, bare_attached_s = await _bare(ground, viewers)
    rows = [
        _row("memory a viewer", "KiB", _each(grown, viewers), _each(bare_grown, viewers)),
        _row("broker memory", "MiB more", None if broker_grown is None else broker_grown / KIB**2),
        _row("CPU", "% of a core", cpu.percent),
        _row("broker CPU", "% of a core", broker_cpu.percent),
        _row("viewers attached", "/s", viewers / attached_s, viewers / bare_attached_s),
        *latency_rows("publish → client", settled.latency, {"bare NATS": raw}),
    ]
    return Block(
        scenario="idle",
        title=f"{viewers:,} idle viewers on {len(threads):,} threads",
        rows=tuple(rows),
        viewers=settled.viewers,
        exact=settled.exact,
        troubles=settled.troubles,
        curves=curves({"gateway": settled.latency, "bare NATS": raw}),
    )


async def _bare(ground: Ground, viewers: int) -> tuple[int | None, float]:
    stream = Stream(thread="bare", path="/stream")
    async with ground.bare() as server:
        await _attach(ground, server, "warm-up", [stream] * WARM_UP)
        await ground.crowd.drop("warm-up")
        before = pss_bytes(server.pid)
        ground.progress.step(f"Attaching {viewers:,} clients to the bare server")
        attached_s = await _attach(ground, server, GROUP, [stream] * viewers)
        grown = _growth(before, pss_bytes(server.pid))
        await ground.crowd.drop(GROUP)
    return grown, attached_s


async def _attach(ground: Ground, server: Server, group: str, streams: list[Stream]) -> float:
    return (await ground.crowd.attach(Attach(group=group, door=server.door, streams=tuple(streams)))).took_s


def _stream(ends: dict[str, Cursor], thread: str, number: int) -> Stream:
    """Half of a thread's viewers come without a cursor, half at its end."""
    is_first_half = number // len(ends) % 2 == 0
    return attach_path(thread) if is_first_half else attach_path(thread, f"cursor={ends[thread]}")


def _growth(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _each(grown: int | None, viewers: int) -> float | None:
    return None if grown is None else grown / viewers / KIB


def _row(measure: str, unit: str, value: float | None, bare: float | None = None) -> Row:
    beside = () if bare is None else (Beside(what="bare SSE", value=bare),)
    return Row(
        measure=measure, unit=unit, value=value, beside=beside, note="" if value is not None else "told by Linux only"
    )
