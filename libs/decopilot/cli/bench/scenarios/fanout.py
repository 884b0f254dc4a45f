"""Many viewers of one thread: how soon each has what was published, beside bare SSE and a bare subscription."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import ClassVar

from decopilot.cli.bench.bare import Saying
from decopilot.cli.bench.ground import Ground, Server, attach_path, say
from decopilot.cli.bench.latency import Latency, latency
from decopilot.cli.bench.orders import Attach, Settle, Settled, Stream
from decopilot.cli.bench.procfs import CpuMeter
from decopilot.cli.bench.results import Beside, Block, Row, curves, latency_rows
from decopilot.cli.bench.writing import OPENING_CHUNKS, Said, bare_subscription, writing
from decopilot.cli.errors import CliError

SETTLE_S = 30.0
GROUP = "fanout"
BARE = "bare"
SERVER_CPU = "server CPU"


@dataclass(frozen=True, slots=True)
class Cell:
    """So many viewers of one thread, so many chunks a second."""

    viewers: int
    rate: int

    def __str__(self) -> str:
        return f"{self.viewers:,} viewers, {self.rate} chunks/s"


@dataclass(frozen=True, slots=True)
class Fanout:
    """Each cell for so many seconds; what comes while all warms up does not count."""

    name: ClassVar[str] = "fanout"
    version: ClassVar[int] = 1
    limit_s: ClassVar[float] = 300.0
    is_pinned: ClassVar[bool] = True
    seconds: float = 20
    warm_up_s: float = 1
    cells: tuple[Cell, ...] = (Cell(10, 50), Cell(200, 50), Cell(200, 200), Cell(1_000, 50))

    @property
    def connections(self) -> int:
        """Return how many are open at once."""
        return max(cell.viewers for cell in self.cells)

    async def measure(self, ground: Ground) -> AsyncIterator[Block]:
        """Measure each cell, ours then bare."""
        for cell in self.cells:
            yield await _cell(ground, self, cell)


def parse_cell(text: str) -> Cell:
    """Read `1000x50`; raises `CliError` where it is none."""
    viewers, _, rate = text.partition("x")
    if not (viewers.isdecimal() and rate.isdecimal() and int(viewers) and int(rate)):
        message = f"--fanout {text!r}: say VIEWERSxRATE, such as 1000x50: chunks a second to so many viewers."
        raise CliError(message)
    return Cell(int(viewers), int(rate))


async def _cell(ground: Ground, fanout: Fanout, cell: Cell) -> Block:
    chunks, unmeasured = round(fanout.seconds * cell.rate), round(fanout.warm_up_s * cell.rate)
    async with ground.gateway() as server, ground.progress.running(f"{cell}, gateway", fanout.seconds):
        ours, said, raw, cpu, crowd_cpu = await _ours(ground, server, cell, chunks, unmeasured)
    async with ground.bare() as server, ground.progress.running(f"{cell}, bare server", fanout.seconds):
        bare, bare_cpu, bare_crowd_cpu = await _bare(ground, server, cell, chunks, unmeasured)
    beside = {"bare SSE": bare.latency, "bare NATS": raw}
    rows = [
        *latency_rows("publish → client", ours.latency, beside),
        _row(SERVER_CPU, "% of a core", cpu.percent, bare_cpu.percent),
        # Of a machine that is not quiet: what a server waits for its core, its viewers wait too.
        _row("server kept from its core", "% of the time", cpu.waited_percent, bare_cpu.waited_percent),
        _row("clients' CPU", "% of a core", crowd_cpu.percent, bare_crowd_cpu.percent),
        _row("clients kept from theirs", "% of the time", crowd_cpu.waited_percent, bare_crowd_cpu.waited_percent),
    ]
    return Block(
        scenario="fanout",
        title=str(cell),
        rows=tuple(rows),
        viewers=ours.viewers + bare.viewers,
        exact=ours.exact + bare.exact,
        troubles=ours.troubles + bare.troubles,
        curves=curves({"gateway": ours.latency} | beside),
        facts={"publisher_late_ms": said.late_ms},
    )


async def _ours(
    ground: Ground, server: Server, cell: Cell, chunks: int, unmeasured: int
) -> tuple[Settled, Said, Latency | None, CpuMeter, CpuMeter]:
    thread = f"fanout-{cell.viewers}-{cell.rate}"
    skipped = OPENING_CHUNKS + unmeasured
    streams = (attach_path(thread),) * cell.viewers
    await ground.crowd.attach(Attach(group=GROUP, door=server.door, streams=streams, unmeasured=skipped))
    async with bare_subscription(ground.nc, thread, skipped) as heard, writing(ground.store, thread) as run:
        await run.open()
        with CpuMeter(server.pid) as cpu, CpuMeter(ground.crowd.pid) as crowd_cpu:
            await run.speak(chunks, cell.rate)
        said = run.said(await run.close())
        settled = await ground.crowd.settle(Settle(group=GROUP, expected={thread: said.expected}, timeout_s=SETTLE_S))
        raw = latency(heard)
    await ground.crowd.drop(GROUP)
    return settled, said, raw, cpu, crowd_cpu


async def _bare(
    ground: Ground, server: Server, cell: Cell, chunks: int, unmeasured: int
) -> tuple[Settled, CpuMeter, CpuMeter]:
    streams = (Stream(thread=BARE, path="/stream"),) * cell.viewers
    await ground.crowd.attach(Attach(group=GROUP, door=server.door, streams=streams, unmeasured=unmeasured))
    with CpuMeter(server.pid) as cpu, CpuMeter(ground.crowd.pid) as crowd_cpu:
        expected = await say(server, Saying(chunks=chunks, rate=cell.rate))
    settled = await ground.crowd.settle(Settle(group=GROUP, expected={BARE: expected}, timeout_s=SETTLE_S))
    await ground.crowd.drop(GROUP)
    return settled, cpu, crowd_cpu


def _row(measure: str, unit: str, value: float | None, bare: float | None) -> Row:
    beside = () if bare is None else (Beside(what="bare SSE", value=bare),)
    return Row(measure=measure, unit=unit, value=value, beside=beside, has_ratio=measure == SERVER_CPU)
