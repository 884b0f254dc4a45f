"""What everything costs in memory: services with nothing to do, a run that goes on, a viewer, a thread."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import aiohttp

from decopilot.cli.bench.ground import Ground, attach_path
from decopilot.cli.bench.orders import Attach, Stream
from decopilot.cli.bench.procfs import pss_bytes
from decopilot.cli.bench.results import Beside, Block, Row
from decopilot.cli.bench.rounds import hearing, post_all
from decopilot.cli.bench.services import NATS, Services, services
from decopilot.cli.bench.watching import http
from decopilot.cli.bench.writing import ORG
from decopilot.cli.ports import HOST

KIB, MIB = 1024, 1 << 20
GROUP = "memory"
WARM_UP = 20
WORDS = 20
BARE_SERVER, BARE_CLIENT = "bare server", "bare SSE"
_Held = Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Memory:
    """So many runs, viewers and threads, one kind after the other; memory is read when all has settled."""

    name: ClassVar[str] = "memory"
    version: ClassVar[int] = 1
    limit_s: ClassVar[float] = 600.0
    is_pinned: ClassVar[bool] = False
    threads: int = 500
    runs: int = 100
    viewers: int = 1_000
    settle_s: float = 3

    @property
    def connections(self) -> int:
        """Return how many are open at once."""
        return self.viewers + WARM_UP

    async def measure(self, ground: Ground) -> AsyncIterator[Block]:
        """Measure the bare server, then ours."""
        bare, bare_client = await self._bare(ground)
        told = {"DECOPILOT_RUNS_AT_ONCE": str(self.runs)}
        async with services(ground, told=told) as stack, http() as session:
            await self._short_runs(ground, stack, session, "warm-up", WARM_UP)
            before = await self._settled(ground, stack)
            yield self._block(
                "services with nothing to do",
                [_row(service, "MiB", held, bare, MIB) for service, held in before.items()],
            )
            threads = await self._long_runs(ground, stack, session)
            during = await self._settled(ground, stack)
            yield self._block(f"a run that goes on, of {self.runs:,}", _growth(before, during, self.runs))
            await _cancel(ground, session, stack, threads)
            await self._attach(ground, stack, WARM_UP)
            before = await self._settled(ground, stack)
            await self._attach(ground, stack, self.viewers)
            during = await self._settled(ground, stack)
            grown = _growth(before, during, self.viewers, {"gateway": bare_client})
            yield self._block(f"a viewer of a silent thread, of {self.viewers:,}", grown)
            await ground.crowd.drop(GROUP)
            before, disk = await self._settled(ground, stack), _disk_bytes(ground.folder / "nats")
            await self._short_runs(ground, stack, session, "thread", self.threads)
            during, disk = await self._settled(ground, stack), _disk_bytes(ground.folder / "nats") - disk
            on_disk = Row(measure=f"{NATS}, on disk", unit="KiB", value=disk / self.threads / KIB)
            rows = [*_growth(before, during, self.threads), on_disk]
            yield self._block(f"a thread with one run of {WORDS} chunks, of {self.threads:,}", rows)

    def _block(self, title: str, rows: list[Row]) -> Block:
        return Block(scenario=self.name, title=title, ours="ours", rows=tuple(rows))

    async def _settled(self, ground: Ground, stack: Services) -> _Held:
        async with ground.progress.running("Letting all settle", self.settle_s):
            await asyncio.sleep(self.settle_s)
        return stack.memory()

    async def _bare(self, ground: Ground) -> tuple[int | None, int | None]:
        """Tell what the bare server holds, and what a client adds."""
        stream = Stream(thread="bare", path="/stream")
        async with ground.bare() as server:
            await ground.crowd.attach(Attach(group="warm-up", door=server.door, streams=(stream,) * WARM_UP))
            await ground.crowd.drop("warm-up")
            before = pss_bytes(server.pid)
            await ground.crowd.attach(Attach(group=GROUP, door=server.door, streams=(stream,) * self.viewers))
            after = pss_bytes(server.pid)
            await ground.crowd.drop(GROUP)
        return before, None if before is None or after is None else (after - before) // self.viewers

    async def _short_runs(
        self, ground: Ground, stack: Services, session: aiohttp.ClientSession, name: str, count: int
    ) -> None:
        threads = [f"{name}-{number}" for number in range(count)]
        ground.progress.step(f"{count:,} short runs")
        async with hearing(ground) as ends:
            await post_all(session, stack.door, threads, f"/count {WORDS} 0")
            await ends.of(threads)

    async def _long_runs(self, ground: Ground, stack: Services, session: aiohttp.ClientSession) -> list[str]:
        threads = [f"run-{number}" for number in range(self.runs)]
        ground.progress.step(f"{self.runs:,} runs that go on")
        async with hearing(ground, "run_started") as starts:
            await post_all(session, stack.door, threads, "/count 10000 1000")
            await starts.of(threads)
        return threads

    async def _attach(self, ground: Ground, stack: Services, viewers: int) -> None:
        ground.progress.step(f"Attaching {viewers:,} viewers")
        streams = tuple(attach_path(f"silent-{number % WARM_UP}") for number in range(viewers))
        await ground.crowd.attach(Attach(group=GROUP, door=stack.door, streams=streams))


async def _cancel(ground: Ground, session: aiohttp.ClientSession, stack: Services, threads: list[str]) -> None:
    headers = {"Authorization": f"Bearer {stack.door.token}"}
    async with hearing(ground, "run_failed") as ends:
        for thread in threads:
            url = f"http://{HOST}:{stack.door.port}/{ORG}/decopilot/cancel/{thread}"
            async with session.post(url, headers=headers) as response:
                response.raise_for_status()
        await ends.of(threads)


def _row(measure: str, unit: str, held: int | None, bare: int | None, size: int) -> Row:
    beside = () if bare is None else (Beside(what=BARE_SERVER if unit == "MiB" else BARE_CLIENT, value=bare / size),)
    note = "" if held is not None else "told by Linux only"
    return Row(measure=measure, unit=unit, value=None if held is None else held / size, beside=beside, note=note)


def _growth(before: _Held, after: _Held, count: int, bare: _Held | None = None) -> list[Row]:
    """Make a row of each process: what one of so many added."""

    def each(name: str) -> int | None:
        was, is_ = before[name], after[name]
        return None if was is None or is_ is None else (is_ - was) // count

    return [_row(name, "KiB", each(name), (bare or {}).get(name), KIB) for name in before]


def _disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
