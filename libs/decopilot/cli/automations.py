"""`decopilot automations`: what an org has of them, and firing one by hand."""

import os
from typing import Annotated

import typer

from decopilot.cli.usage import (
    DEFAULT_DATA_DIR,
    AsJson,
    DataDir,
    OneLineUsage,
    Org,
    Timeout,
    Token,
    Url,
)

automations = typer.Typer(name="automations", no_args_is_help=True, help="Show automations, and fire them by hand.")


@automations.command(name="list", cls=OneLineUsage)
def list_(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, for programs.")] = False,
    org: Org = "local",
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Show the org's automations: when each is due, when it was fired last, and which of its runs go on."""
    from decopilot.cli.firing import read, show  # noqa: PLC0415 - `--help` must not wait for it
    from decopilot.cli.following import Terms  # noqa: PLC0415 - as above

    show(read(Terms(data_dir, org, None, url, token), os.environ), as_json=as_json)


@automations.command(cls=OneLineUsage)
def fire(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name in decopilot.toml.")],
    context: Annotated[
        str, typer.Option(metavar="TEXT", show_default="none", help="What its message is followed by; - reads stdin.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Print the answer as it comes, end when its run has.")] = False,
    as_json: AsJson = False,
    timeout: Timeout = None,
    org: Org = "local",
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Have an automation begin on a fresh thread, and print that thread's id.

    With --wait all is as with `decopilot run`, the exit codes, too.
    """
    from decopilot.cli.firing import Firing  # noqa: PLC0415 - `--help` must not wait for it
    from decopilot.cli.following import Terms  # noqa: PLC0415 - as above

    firing = Firing(name, context, is_awaited=wait)
    raise typer.Exit(firing.fire(Terms(data_dir, org, None, url, token, as_json, timeout), os.environ))
