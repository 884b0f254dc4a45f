"""What the command line refuses, said so that a person knows what to do next."""

from typing import Literal


class CliError(Exception):
    """The command can't be carried out; its text is the whole message, the exit code is 1."""


class UnansweredError(CliError):
    """What was asked of a gateway came to no end that is known: refused, unreachable, or not in time.

    `reason` is the gateway's code, where it refused.
    """

    def __init__(self, status: Literal["error", "timeout"], text: str, reason: str | None = None) -> None:
        self.status, self.reason = status, reason
        super().__init__(text)


class BrokerError(CliError):
    """The embedded nats-server can't be found, started, or given its folder."""
