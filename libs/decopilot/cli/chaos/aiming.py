"""Aiming: what the options of a target say together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from decopilot.cli.chaos.commands import commands_of
from decopilot.cli.chaos.doors import ORG
from decopilot.cli.chaos.target import Aim
from decopilot.cli.errors import CliError
from decopilot.cli.reaching import Where
from decopilot.cli.state import DataFolder
from decopilot.cli.tokens import Role, issue_token
from decopilot.cli.up import USER

HOURS = 24 * 2
STRANGER = ("elsewhere", "eve")


@dataclass(frozen=True, slots=True)
class Said:
    """What was said of a target."""

    urls: Sequence[str]
    org: str
    token: str | None
    stranger: str | None
    commands: Sequence[str]
    secrets: Path | None
    data_dir: Path | None
    keeps: bool


def aim_of(said: Said, environment: Mapping[str, str]) -> Aim | None:
    """Take the options of a target together; None where none is meant.

    Raises:
        CliError: something is missing, or is said without a target.

    """
    if not said.urls:
        if said.commands or said.keeps or said.secrets is not None or said.data_dir is not None or said.org != ORG:
            message = (
                "--fault, --org, --keep-threads, --secrets and --data-dir are for a --target: without one, chaos has "
                "a stack of its own."
            )
            raise CliError(message)
        return None
    token, stranger, marks = said.token, said.stranger, None
    if said.data_dir is not None:
        folder = DataFolder(said.data_dir)
        folder.read_run()  # refuses where nothing runs
        secret = folder.jwt_secret(environment)
        marks = folder.path / "demo" / "notes.jsonl"
        token = token or _issued(secret, said.org, USER)
        stranger = stranger or _issued(secret, *STRANGER)
    if token is None:
        message = "A token of an owner is needed beside the URL: give --token, or set DECOPILOT_TOKEN."
        raise CliError(message)
    where = Where(said.data_dir or Path(), said.secrets, environment)
    has_log = where.is_named or said.data_dir is not None
    commands = commands_of(said.commands)
    return Aim(
        tuple(said.urls), token, said.org, where if has_log else None, stranger, commands, marks, keeps=said.keeps
    )


def _issued(secret: str, org: str, user: str) -> str:
    return issue_token(secret, org=org, user=user, role=Role.OWNER, hours=HOURS, now=datetime.now(UTC))
