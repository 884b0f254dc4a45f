"""One viewer that hardly reads, beside many that do: what they notice, what it costs, and what it gets in the end."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import ClassVar

from decopilot.cli.bench.ground import Ground, Server, attach_path
from decopilot.cli.bench.orders import Attach, Expected, Settle, Settled
from decopilot.cli.bench.procfs import CpuMeter, in_kernel_bytes, pss_bytes
from decopilot.cli.bench.results import Beside, Block, Row, curves, latency_rows
from decopilot.cli.bench.writing import OPENING_CHUNKS, writing

SETTLE_S = 60.0
GROUP, SLOW = "others", "slow"
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Slow:
    """So many viewers, and one more that reads so many bytes a second.

    With 20 s at 50/s the padding makes 8 MB for each viewer: above what the kernel buffers of a connection (some 4 MB).
    """

    name: ClassVar[str] = "slow"
    version: ClassVar[int] = 1
    limit_s: ClassVar[float] = 300.0
    is_pinned: ClassVar[bool] = True
    seconds: float = 20
    warm_up_s: float = 1
    viewers: int = 200
    rate: int = 50
    padding_bytes: int = 8 * 1024
    reads_bytes_s: int = 1024

    @property
    def connections(self) -> int:
        """Return how many are open at once."""
        return self.viewers + 1

    async def measure(self, ground: Ground) -> AsyncIterator[Block]:
        """Measure without the slow one, then with it."""
        yield await _measure(ground, self)


@dataclass(frozen=True, slots=True)
class _Seen:
    others: Settled
    expected: Expected
    bytes_each: int
    memory: tuple[int | None, int | None]
    cpu: CpuMeter


async def _measure(ground: Ground, slow: Slow) -> Block:
    async with ground.gateway() as server:
        alone = await _publish(ground, slow, server, "without-slow")
        await ground.crowd.drop(GROUP)
        thread = "with-slow"
        reader = Attach(
            group=SLOW,
            door=server.door,
            streams=(attach_path(thread),),
            slow_bytes_s=slow.reads_bytes_s,
        )
        await ground.crowd.attach(reader)
        beside = await _publish(ground, slow, server, thread)
        kernel = in_kernel_bytes(server.door.port)
        ground.progress.step("The slow one reads on")
        read_before = (await ground.crowd.hurry(SLOW)).bytes_read
        order = Settle(group=SLOW, expected={thread: beside.expected}, timeout_s=SETTLE_S)
        caught_up = await ground.crowd.settle(order)
        after = pss_bytes(server.pid)
        await ground.crowd.drop(SLOW)
        await ground.crowd.drop(GROUP)
    rows = [
        *latency_rows("publish → client, with it", beside.others.latency, {"without": alone.others.latency}),
        _percent("server CPU, with it", "% of a core", beside.cpu.percent, alone.cpu.percent),
        _percent("kept from its core, with it", "% of the time", beside.cpu.waited_percent, alone.cpu.waited_percent),
        _memory("memory while it is behind", beside.memory[1], beside.memory[0]),
        _memory("memory when it has caught up", after, beside.memory[0]),
        _behind(read_before, beside.bytes_each, kernel),
    ]
    padding, rate = slow.padding_bytes // 1024, slow.rate
    groups = (alone.others, beside.others, caught_up)
    return Block(
        scenario="slow",
        title=f"{slow.viewers} viewers, {rate} chunks/s of {padding} KiB; one more reads "
        f"{slow.reads_bytes_s:,} bytes/s",
        rows=tuple(rows),
        viewers=sum(group.viewers for group in groups),
        exact=sum(group.exact for group in groups),
        troubles=tuple(trouble for group in groups for trouble in group.troubles),
        curves=curves({"with": beside.others.latency, "without": alone.others.latency}),
    )


async def _publish(ground: Ground, slow: Slow, server: Server, thread: str) -> _Seen:
    rate = slow.rate
    unmeasured = OPENING_CHUNKS + round(slow.warm_up_s * rate)
    streams = (attach_path(thread),) * slow.viewers
    await ground.crowd.attach(Attach(group=GROUP, door=server.door, streams=streams, unmeasured=unmeasured))
    before = pss_bytes(server.pid)
    text = f"{slow.viewers:,} viewers, {thread.replace('-', ' ')} one"
    async with ground.progress.running(text, slow.seconds), writing(ground.store, thread) as run:
        await run.open()
        with CpuMeter(server.pid) as cpu:
            await run.speak(round(slow.seconds * rate), rate, slow.padding_bytes)
        said = run.said(await run.close())
    order = Settle(group=GROUP, expected={thread: said.expected}, timeout_s=SETTLE_S)
    settled = await ground.crowd.settle(order)
    each = settled.bytes_read // settled.viewers
    return _Seen(settled, said.expected, each, (before, pss_bytes(server.pid)), cpu)


def _percent(measure: str, unit: str, value: float | None, alone: float | None) -> Row:
    beside = () if alone is None else (Beside(what="without", value=alone),)
    return Row(measure=measure, unit=unit, value=value, beside=beside)


def _memory(measure: str, value: int | None, before: int | None) -> Row:
    beside = () if before is None else (Beside(what="before", value=before / MIB),)
    return Row(measure=measure, unit="MiB", value=None if value is None else value / MIB, beside=beside)


def _behind(read: int, whole: int, kernel: tuple[int, int] | None) -> Row:
    held = "" if kernel is None else f"{sum(kernel) / MIB:.1f} MiB of it in the kernel"
    return Row(measure="how far it was behind", unit="MiB", value=(whole - read) / MIB, note=held)
