"""Commands of operators: what may be asked for. They read NATS as its operator, and change nothing."""

import os
from typing import Annotated

import typer

from decopilot.cli.usage import DEFAULT_DATA_DIR, DataDir, Secrets

Org = Annotated[str, typer.Option(help="Org that it belongs to.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")]
Lines = Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for programs.")]


def doctor(
    *,
    secrets: Secrets = None,
    monitor: Annotated[
        str | None,
        typer.Option(
            metavar="URL", show_default="that of `up`", help="HTTP monitoring of NATS, such as http://127.0.0.1:8222."
        ),
    ] = None,
    late: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long something may wait before it is a fault.")
    ] = 30,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what is fine, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: status, findings.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Look at NATS, streams, services, clocks and runs; say what is wrong, why it matters and what to do.

    Changes nothing. Of services' users only reading and hearing is tried; the server logs one refusal of each.

    Exit codes: 0 fine; 1 faults were found; 2 it could not be looked.
    """
    from decopilot.cli.doctor import Wish  # noqa: PLC0415 - `--help` must not wait for it
    from decopilot.cli.doctor import doctor as look  # noqa: PLC0415 - as above

    wish = Wish(data_dir, secrets, monitor, late, as_json, verbose)
    raise typer.Exit(look(wish, os.environ))


def runs(
    *,
    org: Annotated[str | None, typer.Option(show_default="all", help="Only runs of this org.")] = None,
    thread: Annotated[str | None, typer.Option(metavar="ID", show_default="all", help="Only of this thread.")] = None,
    status: Annotated[
        str | None,
        typer.Option(
            show_default="any", help="Only queued, in_progress, requires_action, completed, failed or withdrawn ones."
        ),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Asked for since then: 30m, 2h or 7d ago, or a time (ISO 8601).")
    ] = "1d",
    limit: Annotated[int, typer.Option(min=1, help="So many of the newest.")] = 50,
    follow: Follow = False,
    as_json: Lines = False,
    secrets: Secrets = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """List the runs of all threads, the newest last, as the log tells of them."""
    from decopilot.cli.looking.runs import Asked  # noqa: PLC0415 - as above
    from decopilot.cli.looking.runs import runs as tell  # noqa: PLC0415 - as above
    from decopilot.cli.reaching import Where  # noqa: PLC0415 - `--help` must not wait for it

    tell(Where(data_dir, secrets, os.environ), Asked(org, thread, status, since, limit, follow, as_json))


def events(
    *,
    thread: Annotated[str, typer.Argument(metavar="THREAD", help="Id of the thread.")],
    org: Org = "local",
    follow: Follow = False,
    as_json: Lines = False,
    secrets: Secrets = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Show a thread's event log: who asked, who started, what ended, and when, by the broker's clock.

    --json prints each event as it is stored.
    """
    from decopilot.cli.looking.events import events as tell  # noqa: PLC0415 - `--help` must not wait for it
    from decopilot.cli.reaching import Where  # noqa: PLC0415 - as above

    tell(Where(data_dir, secrets, os.environ), org, thread, follow=follow, as_json=as_json)


def replay(
    *,
    ids: Annotated[list[str], typer.Argument(metavar="RUN|THREAD…", help="Runs, or threads with all their runs.")],
    org: Org = "local",
    speed: Annotated[
        float, typer.Option(min=0, metavar="TIMES", help="2 is twice as fast as it was; 0 makes no pause.")
    ] = 1,
    as_json: Lines = False,
    secrets: Secrets = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a run's message again from its stored chunks, one by one, at the pace at which they came.

    Of a run whose chunks were purged, from what its terminal event holds.
    """
    from decopilot.cli.looking.replay import replay as play  # noqa: PLC0415 - as above
    from decopilot.cli.reaching import Where  # noqa: PLC0415 - `--help` must not wait for it

    play(Where(data_dir, secrets, os.environ), ids, org, speed=speed, as_json=as_json)
