"""One run as fast as it can be stored, beside awaited publishes of single chunks."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import ClassVar

from decopilot.cli.bench.ground import Ground
from decopilot.cli.bench.logged import unlike
from decopilot.cli.bench.results import Block
from decopilot.cli.bench.scenarios.pumps import figure, spoken
from decopilot.cli.bench.speakers import Speak


@dataclass(frozen=True, slots=True)
class Pump:
    """So many chunks of one run without any delay, and so many awaited publishes."""

    name: ClassVar[str] = "pump"
    version: ClassVar[int] = 1
    limit_s: ClassVar[float] = 120.0
    is_pinned: ClassVar[bool] = True
    connections: ClassVar[int] = 2
    chunks: int = 200_000
    publishes: int = 5_000

    async def measure(self, ground: Ground) -> AsyncIterator[Block]:
        """Measure the bare one, then ours."""
        ground.progress.step(f"{self.publishes:,} awaited publishes")
        bare = await spoken(ground, Speak(by="publish", name="pump-bare", runs=1, chunks=self.publishes, rate=0))
        ground.progress.step(f"{self.chunks:,} chunks of one run")
        ours = await spoken(ground, Speak(by="pump", name="pump", runs=1, chunks=self.chunks, rate=0))
        troubles = await unlike(ground.store, ours.expected)
        yield Block(
            scenario=self.name,
            title="one run, as fast as it is stored",
            ours="pump",
            rows=(
                figure("chunks stored", "/s", ours.chunks / ours.took_s, bare.chunks / bare.took_s),
                figure("publishes", "/s", ours.publishes / ours.took_s, bare.publishes / bare.took_s),
                figure("chunks a publish", "chunks", ours.chunks / ours.publishes, 1.0),
            ),
            viewers=1,
            exact=1 - len(troubles),
            troubles=tuple(troubles),
        )
