"""Where `decopilot run` asks, and what opens it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from decopilot.cli.errors import CliError
from decopilot.cli.state import DataFolder
from decopilot.cli.tokens import Role, issue_token
from decopilot.cli.up import USER
from decopilot.client.calling import Token

TOKEN_HOURS = 1


@dataclass(frozen=True, slots=True)
class Door:
    """Where a gateway is, and what opens it."""

    url: str
    token: Token


def find_door(
    environment: Mapping[str, str], *, data_dir: Path, org: str, url: str | None = None, token: str | None = None
) -> Door:
    """Find the gateway and a token for it; raises `CliError` where there is none.

    What this machine's `up` signs with opens only its own gateway: no token of it goes to another address.
    """
    if url is not None:
        if token is None:
            message = "A token is needed beside the URL: give --token, or set DECOPILOT_TOKEN."
            raise CliError(message)
        return Door(url, token)
    folder = DataFolder(data_dir)
    found = folder.read_run().web_url
    if token is not None:
        return Door(found, token)
    secret = folder.jwt_secret(environment)
    issue = lambda: issue_token(  # noqa: E731  made anew for each request, so that none expires under a long run
        secret, org=org, user=USER, role=Role.OWNER, hours=TOKEN_HOURS, now=datetime.now(UTC)
    )
    return Door(found, issue)
