"""Carrying out `decopilot bench`: every scenario in its turn, each bounded in time, whatever becomes of it."""

import asyncio
import contextlib
import resource
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import aiohttp
import uvloop
from nats.errors import Error as NatsError
from rich.console import Console

from decopilot.cli.bench import record, report
from decopilot.cli.bench.ground import prepared
from decopilot.cli.bench.pinning import Cores
from decopilot.cli.bench.plans import Scenario
from decopilot.cli.bench.progress import Progress
from decopilot.cli.bench.results import Block
from decopilot.cli.errors import CliError
from decopilot.cli.outputs import check_output

OK, NOT_EXACT, INTERRUPTED = 0, 1, 130
SPARE_FILES = 200
"""What a process opens besides its viewers."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the results go besides stdout."""

    json: Path | None = None
    plot: Path | None = None


class _Measuring:
    def __init__(self, scenarios: Sequence[Scenario], limit_s: float | None, cores: Cores, progress: Progress) -> None:
        self.done: dict[str, record.Pinned] = {}
        self.failures: dict[str, str] = {}
        self.is_interrupted = False
        self._scenarios, self._limit_s, self._cores, self._progress = scenarios, limit_s, cores, progress
        self._blocks: dict[tuple[str, str], Block] = {}

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Return what there is by now."""
        return tuple(self._blocks.values())

    async def run(self) -> None:
        """Measure everything; what was measured before an interruption stays."""
        measuring = asyncio.create_task(self._run())
        with self._signals(measuring):
            await asyncio.wait([measuring])
        if not measuring.cancelled():
            measuring.result()

    async def _run(self) -> None:
        for scenario in self._scenarios:
            if self.is_interrupted:
                # Not every part of what is measured hands a cancellation on (nats-py does not).
                return
            self._progress.scenario(scenario.name)
            began = time.monotonic()
            try:
                with self._cores.kept_by_us() if scenario.is_pinned else nullcontext():
                    await self._measure(scenario)
            finally:
                self.done[scenario.name] = record.Pinned(
                    version=scenario.version, parameters=asdict(scenario), took_s=round(time.monotonic() - began, 1)
                )

    async def _measure(self, scenario: Scenario) -> None:
        limit_s = self._limit_s or scenario.limit_s
        cores = self._cores if scenario.is_pinned else Cores(None, self._cores.others)
        try:
            async with asyncio.timeout(limit_s) as limited:
                # What one scenario leaves behind, above all one that was given up, is nothing to the next.
                with tempfile.TemporaryDirectory(prefix="decopilot-bench-", ignore_cleanup_errors=True) as folder:
                    async with (
                        prepared(Path(folder), cores, self._progress) as ground,
                        aclosing(cast("AsyncGenerator[Block]", scenario.measure(ground))) as blocks,
                    ):
                        async for block in blocks:
                            self._blocks[block.scenario, block.title] = block
        except (CliError, NatsError, OSError, aiohttp.ClientError) as error:
            late = isinstance(error, TimeoutError) and limited.expired()
            words = str(error) or type(error).__name__
            self.failures[scenario.name] = f"it took longer than {limit_s:g} s (--limit)" if late else words

    @contextlib.contextmanager
    def _signals(self, measuring: "asyncio.Task[None]") -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def asked() -> None:
            self.is_interrupted = True
            measuring.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, asked)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def measure(scenarios: Sequence[Scenario], outputs: Outputs, limit_s: float | None = None) -> int:
    """Measure, print and write; returns the exit code. Raises `CliError` where it can't begin.

    `limit_s` is how long each scenario may take, where that is not to be as it says itself.
    """
    _check_outputs(outputs)
    _allow_files(max(scenario.connections for scenario in scenarios))
    cores = Cores.found()
    progress = Progress(Console(stderr=True))
    measuring = _Measuring(scenarios, limit_s, cores, progress)
    with progress.shown():
        uvloop.run(measuring.run())
    blocks, failures = measuring.blocks, measuring.failures
    report.show(blocks, failures, cores, Console(width=None if sys.stdout.isatty() else report.WIDTH))
    is_exact = not failures and all(block.is_exact for block in blocks)
    if outputs.json is not None:
        found = record.Report(
            measured_at=datetime.now(UTC),
            command=tuple(sys.argv[1:]),
            machine=record.machine() | {"pinning": str(cores)},
            scenarios=measuring.done,
            is_exact=is_exact,
            blocks=blocks,
            failures=failures,
        )
        record.write(outputs.json, found)
    if outputs.plot is not None and blocks:
        from decopilot.cli.bench.plot import draw  # noqa: PLC0415 - matplotlib is an extra

        draw(outputs.plot, blocks)
    if measuring.is_interrupted:
        return INTERRUPTED
    return OK if is_exact else NOT_EXACT


def _check_outputs(outputs: Outputs) -> None:
    """Find out before measuring what would go wrong behind it."""
    for path in (outputs.json, outputs.plot):
        if path is not None:
            check_output(path)
    if outputs.plot is None:
        return
    if outputs.plot.suffix not in {".svg", ".png"}:
        message = f"--plot {outputs.plot}: the name must end in .svg or .png."
        raise CliError(message)
    try:
        import matplotlib  # noqa: F401, ICN001, PLC0415 - only to know that it is there
    except ImportError as error:
        message = "--plot needs matplotlib. Get it with: pip install 'decopilot[bench]'"
        raise CliError(message) from error


def _allow_files(viewers: int) -> None:
    """Let this process, and so what it starts, open a file for each viewer; raises `CliError` where it must not."""
    needed = viewers + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        message = (
            f"{viewers:,} viewers need {needed:,} open files, and a process may have {hard:,} here (`ulimit -Hn`): "
            "ask for fewer with --idle-viewers or --fanout."
        )
        raise CliError(message)
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
