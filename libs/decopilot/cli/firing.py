"""What `decopilot automations` asks of a gateway, and what it prints of the answers."""

import asyncio
import json
import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from decopilot.cli.door import Door, find_door
from decopilot.cli.errors import UnansweredError
from decopilot.cli.following import DEADLINE_S, Following, Hearing, Terms
from decopilot.cli.printing import Paper
from decopilot.cli.telling import ExitCode
from decopilot.client import ApiError, Automation, Client, ClientError, RunResult

ResultT = TypeVar("ResultT")


def read(terms: Terms, environment: Mapping[str, str]) -> tuple[Automation, ...]:
    """Read the org's automations; raises `CliError` where that is refused, or nobody answers."""
    return _ask(_door(terms, environment), terms, lambda client: client.automations())


def show(found: Sequence[Automation], *, as_json: bool) -> None:
    """Print automations, for a program or a person."""
    if as_json:
        sys.stdout.write(json.dumps([one.model_dump(mode="json", by_alias=True) for one in found], indent=2) + "\n")
        return
    table = Table(box=None, header_style="bold")
    for column in ("NAME", "SCHEDULE", "ZONE", "NEXT DUE (UTC)", "FIRED (UTC)", "RUNS"):
        table.add_column(column, justify="right" if column == "RUNS" else "left", no_wrap=column == "SCHEDULE")
    for one in found:
        due = _short(one.next_due_at) if one.is_active else "inactive"
        fired = _short(None if one.last_fired is None else one.last_fired.at)
        table.add_row(one.name, one.schedule or "-", one.timezone, due, fired, str(len(one.threads)))
    Console().print(table)


def _short(moment: str | None) -> str:
    return "-" if moment is None else moment[:19].replace("T", " ")


@dataclass(frozen=True, slots=True)
class Firing:
    """What the user of `fire` asks."""

    name: str
    context: str = ""
    is_awaited: bool = False

    def fire(self, terms: Terms, environment: Mapping[str, str]) -> ExitCode:
        """Fire, and print the thread, or all that comes of it; raises `CliError` as `read` does."""
        door = _door(terms, environment)
        context = sys.stdin.read() if self.context == "-" else self.context
        # The second time it is found by its id.
        id_ = f"f{uuid.uuid4().hex[:24]}"
        accepted = _ask(door, terms, lambda client: client.fire(self.name, context, id_=id_))
        if not self.is_awaited:
            told = {"thread": accepted.thread, "runId": accepted.run_id, "status": accepted.status}
            sys.stdout.write((json.dumps(told) if terms.as_json else accepted.thread) + "\n")
            return ExitCode.COMPLETED

        async def request(client: Client, _: str, hearing: Hearing) -> RunResult:
            return await client.fire_and_wait(self.name, context, id_=id_, **hearing)

        following = Following(terms, accepted.thread, Paper(sys.stdout, sys.stderr))
        with following.refusals():
            return following.run(door, request)


def _door(terms: Terms, environment: Mapping[str, str]) -> Door:
    return find_door(environment, data_dir=terms.data_dir, org=terms.org, url=terms.url, token=terms.token)


def _ask(door: Door, terms: Terms, call: Callable[[Client], Awaitable[ResultT]]) -> ResultT:
    async def asked() -> ResultT:
        async with Client(door.url, door.token, terms.org, deadline_s=DEADLINE_S) as client:
            return await call(client)

    try:
        return asyncio.run(asked())
    except ApiError as error:
        raise UnansweredError("error", f"{error.detail} ({error.code})", error.code) from error
    except ClientError as error:
        text = str(error)
        raise UnansweredError("error", f"{text[:1].upper()}{text[1:]}") from error
