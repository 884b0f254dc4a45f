"""`decopilot bench`: how fast it is on this machine, beside what is possible at all."""

from pathlib import Path
from typing import Annotated

import typer

from decopilot.cli.bench.parameters import QUICK, Parameters, Scenario, parse_cell

bench = typer.Typer(
    name="bench",
    no_args_is_help=True,
    help="Measure how fast it is on this machine, each figure beside the raw limit of the same run.",
    rich_markup_mode="rich",
)


# A paragraph a line: a line that is broken here would be broken there.
HELP = (
    "Measure one gateway process, and beside it what the machine can do at all.\n\n"
    "Starts a broker of its own in a temporary folder and a real gateway (settings of it in the environment hold), and "
    "ends both. On Linux the gateway has a core for itself; viewers, publisher and broker share the others. Latencies "
    "begin right before a chunk is published and end when the viewer's process has it. Nothing leaves this machine.\n\n"
    "[bold]idle[/bold]: thousands of viewers on hundreds of threads that have nothing to tell: their memory and CPU, "
    "then a chunk to each. Beside it: the clients of a bare aiohttp server.\n\n"
    "[bold]fanout[/bold]: many viewers of one thread, live. Beside it: a bare aiohttp server that writes such chunks "
    "at the same rate to the same clients, on the same core; and a bare NATS subscription to the same frames.\n\n"
    "[bold]replay[/bold]: a long run from its beginning, whole and compacted, to the first reader and to further ones. "
    "Beside it: a bare aiohttp server that writes the same bytes.\n\n"
    "[bold]slow[/bold]: one viewer that hardly reads, beside many that do; in the end it must have everything, too.\n\n"
    "All of it takes about seven minutes; Ctrl-C ends it and prints what there is by then.\n\n"
    "Exit codes: 0 measured, and every viewer saw exactly what was written; 1 not so, or refused; 130 ended by Ctrl-C."
)


@bench.callback()
def _group() -> None:
    """Keep the name of the one command there is."""


@bench.command(help=HELP)
def gateway(
    *,
    scenario: Annotated[
        list[Scenario] | None,
        typer.Option("--scenario", show_default="all", help="What to measure; may be given more than once."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only see whether it works: small numbers, some 20 s, no figure counts.")
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option(min=1, show_default="20", help="fanout, slow: for how long chunks are published in each part."),
    ] = None,
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
    limit: Annotated[
        float | None,
        typer.Option(
            min=1, metavar="SECONDS", show_default="300", help="How long a scenario may take before it is given up."
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything measured to this file.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw latencies and replay: .svg or .png (needs decopilot\\[bench])."),
    ] = None,
) -> None:
    """Measure one gateway process, and beside it what the machine can do at all."""
    from dataclasses import replace  # noqa: PLC0415 - `--help` must not wait for it

    from decopilot.cli.bench.measuring import Outputs, measure  # noqa: PLC0415 - as above

    given = {
        "scenarios": tuple(dict.fromkeys(scenario)) if scenario else None,
        "seconds": seconds,
        "idle_viewers": idle_viewers,
        "idle_threads": idle_threads,
        "cells": tuple(map(parse_cell, fanout)) if fanout else None,
        "replay_chunks": chunks,
        "limit_s": limit,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    parameters = replace(QUICK if quick else Parameters(), **chosen)  # type: ignore[arg-type]  # each is of its field's type
    raise typer.Exit(measure(parameters, Outputs(json_file, plot)))
