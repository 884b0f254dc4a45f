"""What operators do with what is kept: `rebuild-views`, `backup`, `restore`, `erase`, `erased` (docs/backup.md)."""

import os
from pathlib import Path
from typing import Annotated

import typer

from decopilot.cli.usage import DEFAULT_DATA_DIR, DataDir, OneLineUsage, Secrets

Ledger = Annotated[
    list[Path] | None,
    typer.Option(
        "--erased",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        readable=True,
        help="What `decopilot erased` printed since the backup: those threads are erased again. May be repeated.",
    ),
]


def register(app: typer.Typer, panel: str) -> None:
    """Add the commands to a command line."""
    for name, command in (
        ("rebuild-views", rebuild_views),
        ("backup", backup),
        ("restore", restore),
        ("erase", erase),
        ("erased", erased),
    ):
        app.command(name=name, rich_help_panel=panel, cls=OneLineUsage)(command)


def rebuild_views(
    *,
    org: Annotated[str | None, typer.Option(show_default="all", help="Views of this org only.")] = None,
    thread: Annotated[
        str | None, typer.Option(metavar="ID", show_default="all", help="Views of this thread only.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 where something differs.")
    ] = False,
    after: Annotated[
        int, typer.Option(min=0, metavar="SEQUENCE", help="Go on behind what an earlier rebuild told.")
    ] = 0,
    secrets: Secrets = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make thread and message views anew from the event log, while everything runs; print what differed.

    What is right is left alone. Stop it with Ctrl-C whenever you like: it tells how to go on.
    """
    from decopilot.cli.keepers import rebuild  # noqa: PLC0415 - `--help` must not wait for it
    from decopilot.cli.reaching import Where  # noqa: PLC0415 - as above

    raise typer.Exit(
        rebuild(Where(data_dir, secrets, os.environ), org=org, thread=thread, after=after, writes=not check)
    )


def backup(
    *,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is not there yet.")],
    secrets: Secrets = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Write events, chunks, files and automations into a folder, while everything runs."""
    from decopilot.cli.keepers import back_up  # noqa: PLC0415 - `--help` must not wait for it
    from decopilot.cli.reaching import Where  # noqa: PLC0415 - as above

    back_up(Where(data_dir, secrets, os.environ), folder)


def restore(
    *,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `decopilot backup` wrote.")],
    erased: Ledger = None,
    force: Annotated[
        bool, typer.Option("--force", help="In the place of all that the broker holds, which is lost.")
    ] = False,
    skip: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="COUNT",
            show_default="10000000",
            help="Sequences to leave out: more than frames were stored since the backup. 0: nobody has a cursor.",
        ),
    ] = None,
    secrets: Secrets = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Bring an empty broker to what a backup holds. End all services first: only NATS may run; no `up`, either.

    DECOPILOT_REPLICAS says how many copies a cluster keeps, as with `decopilot provision`.
    """
    from decopilot.cli.keepers import bring_back  # noqa: PLC0415 - `--help` must not wait for it
    from decopilot.cli.reaching import Where  # noqa: PLC0415 - as above

    bring_back(Where(data_dir, secrets, os.environ), folder, ledgers=erased or [], forces=force, skipped=skip)


def erase(
    *,
    org: Annotated[str, typer.Option(help="Org whose threads are erased.")],
    user: Annotated[
        str | None, typer.Option(show_default="everybody's", help="Only the threads that this user began.")
    ] = None,
    thread: Annotated[str | None, typer.Option(metavar="ID", show_default="all", help="This thread only.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without, only print what would be erased.")] = False,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait until reactors have erased it.")
    ] = 120,
    secrets: Secrets = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Delete the threads of an org or a user for good, and tell what is erased, one JSON object a line.

    Exit codes: 0 all is erased, or would be; 1 refused; 2 deleted, and not all erased yet.
    """
    from decopilot.cli.keepers import erase_threads  # noqa: PLC0415 - `--help` must not wait for it
    from decopilot.cli.reaching import Where  # noqa: PLC0415 - as above

    raise typer.Exit(
        erase_threads(Where(data_dir, secrets, os.environ), org=org, user=user, thread=thread, does=yes, wait_s=wait)
    )


def erased(*, secrets: Secrets = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Print every thread that was ever deleted, one JSON object a line: the ledger that `restore --erased` reads."""
    from decopilot.cli.keepers import print_ledger  # noqa: PLC0415 - `--help` must not wait for it
    from decopilot.cli.reaching import Where  # noqa: PLC0415 - as above

    print_ledger(Where(data_dir, secrets, os.environ))
