"""Many runs at once through one process's pumps, beside as many bare publishers that await each acknowledgement."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from decopilot.cli.bench.ground import Ground
from decopilot.cli.bench.logged import unlike
from decopilot.cli.bench.results import Beside, Block, Row, curves, latency_rows
from decopilot.cli.bench.speakers import Speak, Spoken
from decopilot.cli.broker import broker_environment
from decopilot.cli.errors import CliError
from decopilot.cli.processes import Program
from decopilot.cli.spawn import bound_to_parent
from decopilot.log.permissions import OPERATOR

BARE = "awaited publishes"


@dataclass(frozen=True, slots=True)
class Pumps:
    """So many runs, so many chunks a second each, for so long; what comes while all warms up does not count."""

    name: ClassVar[str] = "pumps"
    version: ClassVar[int] = 1
    limit_s: ClassVar[float] = 300.0
    is_pinned: ClassVar[bool] = True
    connections: ClassVar[int] = 2
    runs: int = 200
    rate: int = 50
    seconds: float = 20
    warm_up_s: float = 2

    async def measure(self, ground: Ground) -> AsyncIterator[Block]:
        """Measure the bare ones, then ours."""
        chunks, unmeasured = round(self.rate * self.seconds), round(self.rate * self.warm_up_s)

        def order(by: str) -> Speak:
            sizes = {"runs": self.runs, "chunks": chunks, "rate": self.rate, "unmeasured": unmeasured}
            return Speak.model_validate({"by": by, "name": f"pumps-{by}"} | sizes)

        async with ground.progress.running("Bare publishers", self.seconds):
            bare = await spoken(ground, order("publish"))
        async with ground.progress.running("Pumps", self.seconds):
            ours = await spoken(ground, order("pump"))
        ground.progress.step("Reading the logs")
        troubles = await unlike(ground.store, ours.expected)
        beside = {BARE: bare.stored}
        yield Block(
            scenario=self.name,
            title=f"{self.runs} runs at once, {self.rate} chunks/s each",
            ours="pumps",
            timed="due → stored",
            rows=(
                *latency_rows("chunk due → stored", ours.stored, beside),
                *latency_rows("one publish → acknowledged", ours.published, {BARE: bare.published}),
                figure("chunks stored", "/s", ours.chunks / ours.took_s, bare.chunks / bare.took_s),
                figure("publishes", "/s", ours.publishes / ours.took_s, bare.publishes / bare.took_s),
                figure("CPU of the process", "% of a core", ours.cpu_percent, bare.cpu_percent),
            ),
            viewers=len(ours.expected),
            exact=len(ours.expected) - len(troubles),
            troubles=tuple(troubles[:5]),
            curves=curves({"pumps": ours.stored} | beside),
        )


def figure(measure: str, unit: str, value: float | None, bare: float | None, of: str = BARE) -> Row:
    """Make a row of one figure."""
    return Row(measure=measure, unit=unit, value=value, beside=() if bare is None else (Beside(what=of, value=bare),))


async def spoken(ground: Ground, order: Speak) -> Spoken:
    """Let a process of its own speak, on the core that is kept for what is measured."""
    argv = (sys.executable, "-m", "decopilot.cli.bench.speakers", order.model_dump_json())
    login = broker_environment(ground.broker.url, OPERATOR, ground.passwords[OPERATOR])
    program = Program("speakers", 1, ground.cores.for_server(argv), dict(os.environ) | login)
    process = await asyncio.create_subprocess_exec(
        *bound_to_parent(program.argv, program.death_signal),
        env=program.environment,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C must reach the command alone
    )
    try:
        out, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    # What a pump logs stands ahead of it.
    lines = out.splitlines()
    if process.returncode or not lines:
        message = f"The process that speaks ended with exit code {process.returncode}; what it said is above."
        raise CliError(message)
    return Spoken.model_validate_json(lines[-1])
