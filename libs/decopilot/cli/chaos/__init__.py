"""`decopilot chaos`: say which promise breaks when parts are killed, stopped, parted and cut at random."""

import os
from pathlib import Path
from typing import Annotated

import typer

from decopilot.cli.errors import CliError
from decopilot.cli.usage import Secrets

WRONG_USE = 2

# A paragraph a line: a line that is broken here would be broken there.
HELP = (
    "Break things at random and see whether every promise is kept.\n\n"
    "Starts NATS and copies of every service in a folder of its own, and has users, viewers and watchers at work with "
    "the built-in demo model. Meanwhile it kills, stops and ends processes, parts services from the broker and viewers "
    "from gateways, cuts, halves and slows connections, whenever the seed says. That goes in rounds of up to 90 s. "
    "Behind each, all is mended, what was begun comes to its end, and everything that anybody was shown, told or "
    "promised is compared with the log: what was acknowledged must be there, once, in order.\n\n"
    "Ctrl-C ends it early: all is mended, and what there is by then is judged. A second Ctrl-C ends it at once.\n\n"
    "With [bold]--target[/bold] it does that to a deployment of yours that runs the demo model, in threads of its own, "
    "which it deletes in the end. Faults are then those between its viewers and your gateways, and your commands:\n\n"
    "decopilot chaos --target https://chat.example --secrets nats --fault 'runner-pod=kubectl delete pod -l "
    "app.kubernetes.io/name=decopilot-runner --grace-period=0 --force'\n\n"
    "docs/chaos.md tells what each fault is, how each promise is checked, and what a target must be told.\n\n"
    "Exit codes: 0 every promise was put to the test and kept; 1 one was broken, or nothing spoke of it; 2 it can't be "
    "done as asked; 130 ended by Ctrl-C, and nothing broken by then."
)
TARGET = "A deployment of yours"

Seconds = Annotated[
    float, typer.Option(min=1, max=86_400, help="How long there are load and faults; judging comes on top.")
]
Seed = Annotated[
    int | None,
    typer.Option(min=0, show_default="drawn, and told", help="What all is drawn from: the same, the same schedule."),
]
Faults = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KINDS",
        show_default="all",
        help="Only these, joined by commas: families (processes, network, clients, clocks, store, commands), blows "
        "(kill, stop, partition, cut, …), or whom they hit (runner, nats, viewers, …).",
    ),
]
Intensity = Annotated[
    float,
    typer.Option(min=0.05, max=3, help="How many faults: at 2 twice as many as at 1, which are about 2 a second."),
]
Load = Annotated[
    float | None,
    typer.Option(
        min=0.05,
        max=10,
        show_default="1; of an own stack on fewer than 4 cores as much less",
        help="How much is asked: at 2 there is half the time between two messages.",
    ),
]
Nodes = Annotated[int, typer.Option(help="Servers of NATS: 1, or 3 for a cluster that keeps three copies.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all that was found here.")]
Html = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a page with plots here; it needs no other file.")
]
Keep = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Run in this new folder, and keep it: the brokers' data, the log of all processes."
    ),
]
Target = Annotated[
    list[str] | None,
    typer.Option(
        metavar="URL", rich_help_panel=TARGET, help="Do it to this one: a gateway of it; may be given more than once."
    ),
]
KeepThreads = Annotated[
    bool, typer.Option("--keep-threads", rich_help_panel=TARGET, help="Leave the threads there in the end.")
]
InOrg = Annotated[str, typer.Option(rich_help_panel=TARGET, help="Org in which threads are made.")]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="DECOPILOT_TOKEN",
        rich_help_panel=TARGET,
        show_default="made by --data-dir's secret",
        help="Of an owner of that org.",
    ),
]
Stranger = Annotated[
    str | None,
    typer.Option(
        "--stranger-token",
        envvar="DECOPILOT_STRANGER_TOKEN",
        rich_help_panel=TARGET,
        show_default="as above",
        help="Of another org: what TENANT-WALL is tried with.",
    ),
]
Commands = Annotated[
    list[str] | None,
    typer.Option(
        "--fault",
        metavar="NAME=COMMAND",
        rich_help_panel=TARGET,
        help="A fault of your own: the shell runs it now and then; NAME:undo=COMMAND ends it. May be given more than "
        "once.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        rich_help_panel=TARGET,
        show_default="none",
        help="Where the `up` that is the target keeps its data: for its NATS and tokens.",
    ),
]


def chaos(
    *,
    seconds: Seconds = 60,
    seed: Seed = None,
    faults: Faults = None,
    intensity: Intensity = 1,
    load: Load = None,
    nodes: Nodes = 1,
    json_file: Json = None,
    html: Html = None,
    keep: Keep = None,
    target: Target = None,
    commands: Commands = None,
    org: InOrg = "local",
    token: Token = None,
    stranger: Stranger = None,
    secrets: Secrets = None,
    data_dir: Data = None,
    keep_threads: KeepThreads = False,
) -> None:
    """Break things at random and see whether every promise is kept."""
    from secrets import randbelow  # noqa: PLC0415 - `--help` must not wait for it

    from decopilot.cli.chaos.aiming import Said, aim_of  # noqa: PLC0415 - as above
    from decopilot.cli.chaos.orders import Orders, kinds_of, usual_load  # noqa: PLC0415 - as above
    from decopilot.cli.chaos.rounds import carry_out  # noqa: PLC0415 - as above

    if nodes not in {1, 3}:
        raise typer.BadParameter("1 or 3.", param_hint="--nodes")  # noqa: TRY003  typer's own way
    said = Said(target or (), org, token, stranger, commands or (), secrets, data_dir, keep_threads)
    drawn = randbelow(1_000_000) if seed is None else seed
    try:
        aim = aim_of(said, os.environ)
        asked = usual_load(is_own=aim is None) if load is None else load
        orders = Orders(seconds, drawn, kinds_of(faults or ()), intensity, asked, nodes, json_file, html, keep, aim)
        status = carry_out(orders)
    except CliError as error:
        typer.secho(str(error), err=True, fg=typer.colors.RED)
        raise typer.Exit(WRONG_USE) from error
    raise typer.Exit(status)
