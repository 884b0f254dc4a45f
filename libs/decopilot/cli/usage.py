"""What the arguments of `run` may be, and how wrong ones are refused: its exit codes have a meaning of their own."""

from enum import StrEnum
from typing import Any

from typer.core import TyperCommand

from decopilot.cli.errors import CliError


class OnConflict(StrEnum):
    """What becomes of a message for a thread that is busy."""

    QUEUE = "queue"
    INTERRUPT = "interrupt"
    REJECT = "reject"


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
