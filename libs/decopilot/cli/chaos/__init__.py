"""`decopilot chaos`: say which promise breaks when parts are killed, stopped, parted and cut at random."""

from pathlib import Path
from typing import Annotated

import typer

from decopilot.cli.errors import CliError

WRONG_USE = 2

# A paragraph a line: a line that is broken here would be broken there.
HELP = (
    "Break things at random and see whether every promise is kept.\n\n"
    "Starts NATS and copies of every service in a folder of its own, and has users, viewers and watchers of the built-in "
    "demo model at work. Meanwhile it kills, stops and ends processes, parts services from the broker and viewers from "
    "gateways, cuts, halves and slows connections, whenever the seed says. In rounds of up to 90 s; behind each, all is "
    "mended, what was begun comes to its end, and everything that anybody was shown, told or promised is compared with "
    "the log. What was acknowledged must be there, once, in order.\n\n"
    "Ctrl-C ends it early: all is mended, and what there is by then is judged. A second Ctrl-C ends it at once.\n\n"
    "With [bold]--target[/bold] it does that to a deployment of yours that runs the demo model: see docs/chaos.md.\n\n"
    "Exit codes: 0 every promise was put to the test and kept; 1 one was broken, or nothing spoke of it; 2 can't be done "
    "as asked; 130 ended by Ctrl-C."
)


def chaos(
    *,
    seconds: Annotated[
        float, typer.Option(min=1, max=86_400, help="How long there are load and faults; judging comes on top.")
    ] = 60,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, show_default="drawn, and told", help="What all is drawn from: the same, the same schedule."
        ),
    ] = None,
    faults: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KINDS",
            show_default="all",
            help="Only these: families (processes, network, clients), blows (kill, stop, partition, cut, …), or whom "
            "they hit (runner, nats, viewers, …), joined by commas.",
        ),
    ] = None,
    intensity: Annotated[
        float,
        typer.Option(min=0.05, max=3, help="How many faults: at 2 twice as many as at 1, which are 2 to 3 a second."),
    ] = 1,
    nodes: Annotated[int, typer.Option(help="Servers of NATS: 1, or 3 for a cluster that keeps three copies.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all that was found here.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with plots here; it needs no other file.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Run in this new folder, and keep it: the brokers' data, the log of all processes."
        ),
    ] = None,
) -> None:
    """Break things at random and see whether every promise is kept."""
    import secrets  # noqa: PLC0415 - `--help` must not wait for it

    from decopilot.cli.chaos.orders import Orders, kinds_of  # noqa: PLC0415 - as above
    from decopilot.cli.chaos.rounds import carry_out  # noqa: PLC0415 - as above

    if nodes not in {1, 3}:
        raise typer.BadParameter("1 or 3.", param_hint="--nodes")  # noqa: TRY003  typer's own way
    drawn = secrets.randbelow(1_000_000) if seed is None else seed
    orders = Orders(seconds, drawn, kinds_of(faults or ()), intensity, nodes, json_file, html, keep)
    try:
        status = carry_out(orders)
    except CliError as error:
        typer.secho(str(error), err=True, fg=typer.colors.RED)
        raise typer.Exit(WRONG_USE) from error
    raise typer.Exit(status)
