"""`decopilot bench`: how fast it is on this machine, beside what is possible at all."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decopilot.cli.bench.names import GatewayScenario, RecoveryScenario, RunsScenario

if TYPE_CHECKING:
    from decopilot.cli.bench.plans import Scenario

Sizes = dict[str, dict[str, Any]]
"""What is to be otherwise than a scenario has it, by its name; None: nothing."""

bench = typer.Typer(
    name="bench",
    no_args_is_help=True,
    help="Measure how fast it is on this machine, each figure beside the raw limit of the same run.",
    rich_markup_mode="rich",
)

# A paragraph a line: a line that is broken here would be broken there.
ENDS = (
    "Each scenario has a broker of its own in a temporary folder and real services; settings in the environment "
    "hold. Nothing leaves this machine. Ctrl-C ends it and prints what there is by then.\n\n"
    "Exit codes: 0 measured, and every stream was exactly what was written; 1 not so, or refused; 130 ended by Ctrl-C."
)
GATEWAY = (
    "Measure one gateway process, and beside it what the machine can do at all; takes some seven minutes.\n\n"
    "On Linux the gateway has a core for itself; viewers, publisher and broker share the others. Latencies "
    "begin right before a chunk is published and end when the viewer's process has it.\n\n"
    "[bold]idle[/bold]: thousands of viewers on hundreds of threads that have nothing to tell: their memory and CPU, "
    "then a chunk to each. Beside it: the clients of a bare aiohttp server.\n\n"
    "[bold]fanout[/bold]: many viewers of one thread, live. Beside it: a bare aiohttp server that writes such chunks "
    "at the same rate to the same clients, on the same core; and a bare NATS subscription to the same frames.\n\n"
    "[bold]replay[/bold]: a long run from its beginning, whole and compacted, to the first reader and to further ones. "
    "Beside it: a bare aiohttp server that writes the same bytes.\n\n"
    "[bold]slow[/bold]: one viewer that hardly reads, beside many that do; in the end it must have everything, too.\n\n"
    f"{ENDS}"
)
RUNS = (
    "Measure the way of a run from its message to a viewer, with the demo model; takes some five minutes.\n\n"
    "[bold]accept[/bold]: POST → 202, → first chunk, → first word at a viewer. Beside it: an acknowledged publish.\n\n"
    "[bold]live[/bold]: a chunk's way from the broker's disk to a viewer. Beside it: a bare NATS subscription.\n\n"
    "[bold]pump[/bold]: one run as fast as it can be stored. Beside it: awaited publishes of single chunks.\n\n"
    "[bold]pumps[/bold]: 200 runs at once, 50 chunks a second each, through one process. Beside it: as many publishers "
    "that await each acknowledgement.\n\n"
    "[bold]together[/bold]: how many runs one runner drives at once without falling behind. Beside it: as many such "
    "publishers on its core.\n\n"
    f"{ENDS}"
)
RECOVERY = (
    "Measure how soon things go on after a death; takes some fifteen minutes.\n\n"
    "[bold]runner-killed[/bold]: `kill -9` of a runner in mid-answer → the next word at a viewer. Beside it: how soon "
    "the broker gives a bare work item, whose worker fell silent, to another. The heartbeat limit bounds both.\n\n"
    "[bold]runner-leaves[/bold]: the same by SIGTERM, as in a rollout.\n\n"
    "[bold]gateway-killed[/bold]: `kill -9` of a gateway → the next chunk at its viewers, who go to another. Beside: "
    "a first attach.\n\n"
    f"{ENDS}"
)
MEMORY = (
    "Measure what everything costs in memory; takes some two minutes, on Linux only.\n\n"
    "Each service with nothing to do, beside a bare aiohttp server; then what a run that goes on, a viewer of a silent "
    "thread (beside a client of the bare server) and a thread add to each of them and to the broker.\n\n"
    f"{ENDS}"
)

Quick = Annotated[
    bool, typer.Option("--quick", help="Only see whether it works: small numbers, some seconds, no figure counts.")
]
Limit = Annotated[
    float | None,
    typer.Option(
        min=1,
        metavar="SECONDS",
        show_default="as each has it",
        help="How long a scenario may take before it is given up.",
    ),
]
Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write everything measured to this file, for `compare` and `table`."),
]
Plot = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it: .svg or .png (needs decopilot\\[bench]).")]
Seconds = Annotated[
    float | None, typer.Option(min=1, show_default="20", help="For how long chunks are published in each part.")
]


@bench.command(help=GATEWAY)
def gateway(
    *,
    scenario: Annotated[
        list[GatewayScenario] | None,
        typer.Option("--scenario", show_default="all", help="What to measure; may be given more than once."),
    ] = None,
    quick: Quick = False,
    seconds: Seconds = None,
    idle_viewers: Annotated[
        int | None, typer.Option(min=1, show_default="5000", help="idle: how many viewers there are.")
    ] = None,
    idle_threads: Annotated[
        int | None, typer.Option(min=1, show_default="500", help="idle: on how many threads.")
    ] = None,
    fanout: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VIEWERSxRATE",
            show_default="10x50, 200x50, 200x200, 1000x50",
            help="fanout: viewers of one thread, and chunks a second; may be given more than once.",
        ),
    ] = None,
    chunks: Annotated[
        int | None, typer.Option(min=1, show_default="20000", help="replay: how long the run is.")
    ] = None,
    limit: Limit = None,
    json_file: Json = None,
    plot: Plot = None,
) -> None:
    """Measure one gateway process, and beside it what the machine can do at all."""
    from decopilot.cli.bench import plans  # noqa: PLC0415 - `--help` must not wait for it
    from decopilot.cli.bench.scenarios.fanout import parse_cell  # noqa: PLC0415 - as above

    sizes: Sizes = {
        "idle": {"viewers": idle_viewers, "threads": idle_threads},
        "fanout": {"seconds": seconds, "cells": tuple(map(parse_cell, fanout)) if fanout else None},
        "replay": {"chunks": chunks},
        "slow": {"seconds": seconds},
    }
    _measure(plans.GATEWAY, scenario, sizes, quick=quick, limit_s=limit, json=json_file, plot=plot)


@bench.command(help=RUNS)
def runs(
    *,
    scenario: Annotated[
        list[RunsScenario] | None,
        typer.Option("--scenario", show_default="all", help="What to measure; may be given more than once."),
    ] = None,
    quick: Quick = False,
    posts: Annotated[
        int | None, typer.Option(min=1, show_default="300", help="accept: how many messages are sent.")
    ] = None,
    seconds: Seconds = None,
    at_once: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            show_default="200; 25, 50, 100, 200",
            help="pumps, together: how many runs there are at once; for together it may be given more than once.",
        ),
    ] = None,
    limit: Limit = None,
    json_file: Json = None,
    plot: Plot = None,
) -> None:
    """Measure the way of a run from its message to a viewer, with the demo model."""
    from decopilot.cli.bench import plans  # noqa: PLC0415 - `--help` must not wait for it

    sizes: Sizes = {
        "accept": {"posts": posts},
        "pumps": {"runs": max(at_once) if at_once else None, "seconds": seconds},
        "together": {"at_once": tuple(sorted(set(at_once))) if at_once else None},
    }
    _measure(plans.RUNS, scenario, sizes, quick=quick, limit_s=limit, json=json_file, plot=plot)


@bench.command(help=RECOVERY)
def recovery(
    *,
    scenario: Annotated[
        list[RecoveryScenario] | None,
        typer.Option("--scenario", show_default="all", help="What to measure; may be given more than once."),
    ] = None,
    quick: Quick = False,
    kills: Annotated[
        int | None, typer.Option(min=1, show_default="100, 30, 20", help="How many processes are ended.")
    ] = None,
    runners: Annotated[
        int | None, typer.Option(min=2, show_default="6", help="How many runners there are, side by side.")
    ] = None,
    limit: Limit = None,
    json_file: Json = None,
    plot: Plot = None,
) -> None:
    """Measure how soon things go on after a death."""
    from decopilot.cli.bench import plans  # noqa: PLC0415 - `--help` must not wait for it

    lost = {"kills": kills, "runners": runners, "at_a_time": None if runners is None else runners // 2}
    sizes: Sizes = {"runner-killed": lost, "runner-leaves": lost, "gateway-killed": {"kills": kills}}
    _measure(plans.RECOVERY, scenario, sizes, quick=quick, limit_s=limit, json=json_file, plot=plot)


@bench.command(help=MEMORY)
def memory(
    *,
    quick: Quick = False,
    viewers: Annotated[
        int | None, typer.Option(min=1, show_default="1000", help="How many viewers are attached.")
    ] = None,
    runs: Annotated[int | None, typer.Option(min=1, show_default="100", help="How many runs go on at once.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, show_default="500", help="How many threads are made.")] = None,
    limit: Limit = None,
    json_file: Json = None,
) -> None:
    """Measure what everything costs in memory."""
    from decopilot.cli.bench import plans  # noqa: PLC0415 - `--help` must not wait for it

    sizes: Sizes = {"memory": {"viewers": viewers, "runs": runs, "threads": threads}}
    _measure(plans.MEMORY, None, sizes, quick=quick, limit_s=limit, json=json_file, plot=None)


@bench.command("all", help=f"Measure everything, one command after the other; takes half an hour.\n\n{ENDS}")
def everything(*, quick: Quick = False, limit: Limit = None, json_file: Json = None, plot: Plot = None) -> None:
    """Measure everything."""
    from decopilot.cli.bench import plans  # noqa: PLC0415 - `--help` must not wait for it

    scenarios = (*plans.GATEWAY, *plans.RUNS, *plans.RECOVERY, *plans.MEMORY)
    _measure(scenarios, None, {}, quick=quick, limit_s=limit, json=json_file, plot=plot)


@bench.command()
def compare(
    old: Annotated[Path, typer.Argument(metavar="OLD.json", help="What --json wrote before.")],
    new: Annotated[Path, typer.Argument(metavar="NEW.json", help="What it wrote now.")],
) -> None:
    """Print what became of each figure: new by old, as measured and beside the raw limit of its run.

    Only scenarios of the same version are compared. Other sizes and another machine are said.

    Exit codes: 0 compared; 1 there was nothing to compare, or a file is no report.
    """
    from rich.console import Console  # noqa: PLC0415 - `--help` must not wait for it

    from decopilot.cli.bench import comparing, record, report  # noqa: PLC0415 - as above

    console = Console()
    console = console if console.is_terminal else Console(width=report.WIDTH)
    raise typer.Exit(0 if comparing.show(record.read(old), record.read(new), console) else 1)


@bench.command()
def table(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="What --json wrote.")],
    into: Annotated[
        Path | None,
        typer.Option(
            metavar="DOCUMENT.md",
            show_default="stdout",
            help="Put each table between the lines <!-- bench SCENARIO --> and <!-- /bench --> of this document.",
        ),
    ] = None,
) -> None:
    """Write what was measured as Markdown.

    Exit codes: 0 written; 1 the document has no place for any of it, or the file is no report.
    """
    from decopilot.cli.bench import record, tables  # noqa: PLC0415 - `--help` must not wait for it
    from decopilot.cli.errors import CliError  # noqa: PLC0415 - as above

    report = record.read(file)
    measured = dict.fromkeys(block.scenario for block in report.blocks)
    if into is not None:
        placed = tables.into(into, report)
        missed = ", ".join(scenario for scenario in measured if scenario not in placed)
        if not placed:
            message = f"{into} has no place for {missed or 'anything'}: no line <!-- bench SCENARIO --> of it."
            raise CliError(message)
        typer.echo(f"{into}: {', '.join(placed)}" + (f"; it has no place for {missed}" if missed else ""), err=True)
        return
    for scenario in measured:
        typer.echo(tables.markdown(report, scenario))


def _measure(
    known: "Sequence[Scenario]",
    chosen: Sequence[str] | None,
    sizes: Sizes,
    *,
    quick: bool,
    limit_s: float | None,
    json: Path | None,
    plot: Path | None,
) -> None:
    from dataclasses import replace  # noqa: PLC0415 - `--help` must not wait for it

    from decopilot.cli.bench import plans  # noqa: PLC0415 - as above
    from decopilot.cli.bench.measuring import Outputs, measure  # noqa: PLC0415 - as above

    by_name = {one.name: one for one in (plans.quick(known) if quick else known)}
    scenarios = [by_name[name] for name in dict.fromkeys(chosen or by_name)]
    for place, one in enumerate(scenarios):
        given = {name: value for name, value in sizes.get(one.name, {}).items() if value is not None}
        scenarios[place] = replace(one, **given)
    raise typer.Exit(measure(scenarios, Outputs(json, plot), limit_s))
