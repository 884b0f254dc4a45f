"""Carrying out `decopilot chaos`: rounds of load and faults, each judged when it is over, and the outcome of all."""

import asyncio
import contextlib
import logging
import math
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import structlog
import uvloop
from rich.console import Console

from decopilot.cli.chaos.conducting import Conductor
from decopilot.cli.chaos.ground import LOG
from decopilot.cli.chaos.joining import joined
from decopilot.cli.chaos.judging import judge
from decopilot.cli.chaos.orders import Orders
from decopilot.cli.chaos.outcome import Outcome
from decopilot.cli.chaos.progress import Progress
from decopilot.cli.chaos.reporting import page_of, show
from decopilot.cli.chaos.schedule import draw
from decopilot.cli.chaos.site import Site
from decopilot.cli.chaos.sites import site_of
from decopilot.cli.chaos.summing import LIMITS, sum_up
from decopilot.cli.chaos.verdict import Verdict
from decopilot.cli.errors import CliError
from decopilot.kit.connection import connected

KEPT, BROKEN, INTERRUPTED = 0, 1, 130
ROUND_S = 90.0
"""A round is no longer: what is kept of it until it is judged stays small."""
WIDTH = 100
"""Of the tables where no terminal says how wide it is."""


class Interruption:
    """What Ctrl-C does: first it stops what is drawn for later, then everything."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.has_begun = False
        """Whether there is anything to judge yet."""

    @contextlib.contextmanager
    def heard(self, working: "asyncio.Task[Outcome]", say: Callable[[str], None]) -> Iterator[None]:
        """Hear it while the context is open."""
        loop = asyncio.get_running_loop()

        def asked() -> None:
            if self.stopping.is_set() or not self.has_begun:
                working.cancel()
            else:
                say("Stops: mends all, waits for what was begun, and judges. Ctrl-C again ends it at once.")
            self.stopping.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, asked)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


async def run_rounds(orders: Orders, site: Site, interruption: Interruption, progress: Progress) -> Outcome:
    """Do all rounds, or those until it is stopped; the outcome is that of all of them."""
    count = max(1, math.ceil(orders.seconds / ROUND_S))
    started_at = datetime.now(UTC)
    async with connected(site.ground.operator, "chaos") as nc:
        version = nc.connected_server_version
        server = f"{version.major}.{version.minor}.{version.patch}"
    outcomes: list[Outcome] = []
    names: list[str] = []
    try:
        for number in range(1, count + 1):
            schedule = draw(
                random.Random(f"{orders.seed}/round/{number}").randrange(1 << 31),
                orders.seconds / count,
                prefix=f"{site.prefix}-{number}",
                watched=site.watched,
                pace=site.pace * orders.load,
                hangs=site.hangs,
                families=site.families,
                intensity=orders.intensity,
            )
            names += schedule.names
            verdict = Verdict()
            conductor = Conductor(
                site.ground,
                schedule,
                site.limits,
                site.notes,
                verdict,
                reach=site.reach,
                stopping=interruption.stopping,
            )
            interruption.has_begun = True
            async with progress.of(conductor, f"round {number} of {count}", outcomes):
                evidence = await conductor.conduct()
                conductor.phase = "judging"
                # Elsewhere: the proxies and the supervisor go on meanwhile.
                await asyncio.to_thread(judge, evidence, verdict)
            for failure in evidence.failures:
                progress.say(f"A fault could not be done or undone: {failure}")
            outcomes.append(
                sum_up(
                    evidence,
                    verdict,
                    schedule,
                    started_at=started_at,
                    target=site.what,
                    command=orders.again,
                    server_version=server,
                    parameters={
                        "intensity": orders.intensity,
                        "load": orders.load,
                        "nodes": orders.nodes,
                        "rounds": count,
                    },
                    unchecked=site.reasons,
                    is_interrupted=interruption.stopping.is_set(),
                    limits=(*LIMITS, *site.bounds),
                )
            )
            if interruption.stopping.is_set():
                break
    finally:
        try:
            await site.clears(names)
        except CliError as error:
            # What was found is told all the same.
            progress.say(str(error))
    return joined(outcomes, seed=orders.seed, seconds=orders.seconds, reasons=site.reasons)


async def _run(orders: Orders, folder: Path, progress: Progress) -> Outcome | None:
    """Do it; None where it was ended before there was anything to tell."""
    interruption = Interruption()

    async def work() -> Outcome:
        async with site_of(orders, folder, progress.say) as site:
            return await run_rounds(orders, site, interruption, progress)

    working = asyncio.create_task(work())
    with interruption.heard(working, progress.say):
        await asyncio.wait([working])
    return None if working.cancelled() else working.result()


def carry_out(orders: Orders) -> int:
    """Do as ordered, print and write what came of it; returns the exit status.

    Raises:
        CliError: it can't be done as asked.

    """
    orders.check()
    # That connections break is what this is about.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    progress = Progress(Console(stderr=True))
    folder = orders.keep or Path(tempfile.mkdtemp(prefix="decopilot-chaos-"))
    progress.say(f"Seed {orders.seed}" + (f"; everything is in {folder}." if orders.aim is None else "."))
    is_worth_keeping = True
    try:
        # All traffic goes through this process.
        outcome = uvloop.run(_run(orders, folder, progress))
        is_worth_keeping = outcome is not None and outcome.verdict == "broken"
    finally:
        if orders.keep is None and (orders.aim is not None or not is_worth_keeping):
            shutil.rmtree(folder, ignore_errors=True)
    if outcome is None:
        return INTERRUPTED
    tell(outcome, orders)
    if orders.aim is None and (orders.keep is not None or is_worth_keeping):
        progress.say(f"Kept: {folder}, with what all processes said in {LOG}.")
    return status_of(outcome)


def tell(outcome: Outcome, orders: Orders) -> None:
    """Print the outcome, and write it where it was asked for."""
    show(outcome, Console(width=None if sys.stdout.isatty() else WIDTH))
    if orders.json is not None:
        orders.json.write_text(outcome.to_json(), encoding="utf-8")
    if orders.html is not None:
        orders.html.write_text(page_of(outcome), encoding="utf-8")


def status_of(outcome: Outcome) -> int:
    """Tell the exit status."""
    if outcome.is_interrupted and outcome.verdict != "broken":
        return INTERRUPTED
    return KEPT if outcome.verdict == "kept" else BROKEN
