"""How many runs one runner drives at once without falling behind, beside as many bare publishers on its core."""

from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import ClassVar

import aiohttp

from decopilot.cli.bench.ground import Ground, attach_path
from decopilot.cli.bench.latency import latency
from decopilot.cli.bench.logged import Logged, logged
from decopilot.cli.bench.orders import Attach, Settle
from decopilot.cli.bench.procfs import CpuMeter
from decopilot.cli.bench.results import Block, Row
from decopilot.cli.bench.rounds import hearing, post_all
from decopilot.cli.bench.scenarios.pumps import figure, spoken
from decopilot.cli.bench.services import Services, services
from decopilot.cli.bench.speakers import Speak
from decopilot.cli.bench.watching import http

GROUP = "together"
DELAY_MS = 50
KEEPS_UP = 1.1
"""Runs that take a tenth longer than their model does keep up."""
SETTLE_S = 30.0


@dataclass(frozen=True, slots=True)
class Together:
    """For each number of runs: all at once, so many chunks each at 20 a second, one viewer each."""

    name: ClassVar[str] = "together"
    version: ClassVar[int] = 2
    limit_s: ClassVar[float] = 600.0
    is_pinned: ClassVar[bool] = True
    at_once: tuple[int, ...] = (25, 50, 100, 200)
    chunks: int = 400

    @property
    def connections(self) -> int:
        """Return how many are open at once."""
        return 2 * max(self.at_once)

    @property
    def planned_s(self) -> float:
        """Return how long the model of a run takes."""
        return self.chunks * DELAY_MS / 1000

    async def measure(self, ground: Ground) -> AsyncIterator[Block]:
        """Measure each number, and say up to which the runner kept up."""
        kept_up = 0
        told = {"DECOPILOT_RUNS_AT_ONCE": str(max(self.at_once))}
        async with services(ground, alone="runner", told=told) as stack, http() as session:
            await self._runs(ground, stack, session, ["warm-up"], 10)
            for number in self.at_once:
                block, stretch = await self._cell(ground, stack, session, number)
                kept_up = number if stretch <= KEEPS_UP else kept_up
                yield block
        tried = ", ".join(map(str, self.at_once))
        note = f"the most of {tried} whose p95 took {KEEPS_UP:g} times their model's time at most"
        row = Row(measure="kept up with", unit="runs", value=kept_up, note=note)
        yield Block(scenario=self.name, title="runs at once per runner", ours="ours", rows=(row,))

    async def _cell(
        self, ground: Ground, stack: Services, session: aiohttp.ClientSession, number: int
    ) -> tuple[Block, float]:
        name = f"together-{number}"
        rate = 1000 / DELAY_MS
        async with ground.progress.running(f"{number} bare publishers", self.planned_s):
            order = Speak(by="publish", name=f"{name}-bare", runs=number, chunks=self.chunks, rate=rate)
            bare = await spoken(ground, order)
        server = stack.server("runner")
        async with ground.progress.running(f"{number} runs", self.planned_s):
            threads = [f"{name}-{which}" for which in range(number)]
            streams = tuple(attach_path(thread) for thread in threads)
            await ground.crowd.attach(Attach(group=GROUP, door=stack.door, streams=streams))
            with CpuMeter(server.pid) as cpu:
                logs = await self._runs(ground, stack, session, threads, self.chunks)
        expected = {thread: log.expected for thread, log in logs.items()}
        settled = await ground.crowd.settle(Settle(group=GROUP, expected=expected, timeout_s=SETTLE_S))
        await ground.crowd.drop(GROUP)
        took = latency(array("q", [round(log.took_s * 1e9) for log in logs.values()]))
        whole_s = (
            max(log.times[-1] for log in logs.values()) - min(log.times[0] for log in logs.values())
        ).total_seconds()
        stretch = float("inf") if took is None else took.p95_ms / 1000 / self.planned_s
        return (
            Block(
                scenario=self.name,
                title=f"{number} runs at once, {rate:g} chunks/s each",
                ours="runner",
                rows=(
                    figure("chunks stored", "/s", number * self.chunks / whole_s, bare.chunks / bare.took_s),
                    figure("CPU of the process", "% of a core", cpu.percent, bare.cpu_percent),
                    Row(
                        measure="p95 run, beside its model's time",
                        unit="times",
                        value=stretch,
                        has_ratio=False,
                    ),
                ),
                viewers=settled.viewers,
                exact=settled.exact,
                troubles=settled.troubles,
            ),
            stretch,
        )

    async def _runs(
        self, ground: Ground, stack: Services, session: aiohttp.ClientSession, threads: list[str], chunks: int
    ) -> dict[str, Logged]:
        """Have the runs done, all at once; returns what their logs hold."""
        async with hearing(ground) as ends:
            await post_all(session, stack.door, threads, f"/count {chunks} {DELAY_MS}")
            await ends.of(threads)
        return await logged(ground.store, threads)
