"""What the arguments of `run` and `answer` may be, and how wrong ones are refused: exit codes have a meaning there."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from decopilot.cli.errors import CliError

DEFAULT_DATA_DIR = Path(".decopilot")

DataDir = Annotated[Path, typer.Option("--data-dir", metavar="DIR", help="Where `up` keeps its data.")]
Secrets = Annotated[
    Path | None,
    typer.Option(
        "--secrets",
        metavar="DIR",
        show_default="DECOPILOT_NATS_URL, …_USER and …_PASSWORD, else the `up` in --data-dir",
        help="Folder that `decopilot nats-config` wrote: where NATS is, and everybody's passwords.",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", show_default="decopilot.toml, if it is there", help="Configuration."),
]
Org = Annotated[str, typer.Option(show_default="local", help="Org to ask in.")]
Url = Annotated[
    str | None,
    typer.Option(envvar="DECOPILOT_URL", show_default="that of the `up` in --data-dir", help="Gateway to ask."),
]
Token = Annotated[
    str | None,
    typer.Option(envvar="DECOPILOT_TOKEN", show_default="made as `up` does", help="What opens the gateway."),
]
Private = Annotated[
    bool, typer.Option("--private", help="Only you and the org's owners read a conversation that begins with this.")
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object at the end: status, reason, detail, runId, message, pending."),
]
Timeout = Annotated[
    float | None,
    typer.Option(min=0.1, metavar="SECONDS", show_default="none", help="Leave after so long; the run goes on."),
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--file", metavar="PATH", exists=True, dir_okay=False, readable=True, help="Attach a file; may be repeated."
    ),
]


class OnConflict(StrEnum):
    """What becomes of a message for a thread that is busy."""

    QUEUE = "queue"
    INTERRUPT = "interrupt"
    REJECT = "reject"


class Mode(StrEnum):
    """How a question is worked on."""

    DEFAULT = "default"
    PLAN = "plan"
    WEB_SEARCH = "web-search"


class Tier(StrEnum):
    """A kind of model."""

    FAST = "fast"
    SMART = "smart"
    THINKING = "thinking"
    IMAGE = "image"
    WEB_RESEARCH = "web_research"


class ToolApproval(StrEnum):
    """Which tools run without asking."""

    AUTO = "auto"
    READONLY = "readonly"


class OneLineUsage(TyperCommand):
    """A command that refuses wrong arguments as it does everything else: one line, exit code 1."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  typer may bring a click of its own
        """Parse; raises `CliError` for what can't be."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # Whichever click it is: its errors of usage can format their message.
            if not hasattr(error, "format_message"):
                raise
            message = f"{error.format_message().rstrip('.')}. See `decopilot {self.name} --help`."
            raise CliError(message) from error
