"""`decopilot chat`: a conversation in the terminal, which goes on whoever watches it."""

import asyncio
import shlex
import sys
import uuid
from collections.abc import Mapping

from decopilot.cli.chat.app import ChatApp
from decopilot.cli.chat.session import Choice
from decopilot.cli.door import find_door
from decopilot.cli.errors import CliError, UnansweredError
from decopilot.cli.following import DEADLINE_S, Terms
from decopilot.cli.up import ORG
from decopilot.cli.usage import DEFAULT_DATA_DIR
from decopilot.client import ApiError, Client, ClientError
from decopilot.contracts.ids import is_id


def chat(choice: Choice, terms: Terms, environment: Mapping[str, str]) -> None:
    """Talk until the user leaves; raises `CliError` where there is no terminal, or nobody to talk with."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        message = 'A chat needs a terminal. From a script or a pipe, ask with: decopilot run "…"'
        raise CliError(message)
    if terms.thread is not None and not is_id(terms.thread):
        message = f"{terms.thread[:64]!r} is no id of a conversation: 1 to 64 of A-Z, a-z, 0-9, _ and -."
        raise CliError(message)
    door = find_door(environment, data_dir=terms.data_dir, org=terms.org, url=terms.url, token=terms.token)

    async def talk() -> ChatApp:
        async with Client(door.url, door.token, terms.org, deadline_s=DEADLINE_S) as client:
            try:
                agents = {agent.id for agent in await client.agents()}
                if choice.agent is not None and choice.agent not in agents:
                    message = f"There is no agent {choice.agent!r}, but {', '.join(sorted(agents))}."
                    raise CliError(message)
                app = ChatApp(client, terms.thread or new_thread(), choice)
            except ApiError as error:
                raise UnansweredError("error", f"{error.detail} ({error.code})", error.code) from error
            except ClientError as error:
                text = str(error)
                raise UnansweredError("error", f"{text[:1].upper()}{text[1:]}.") from error
            await app.run_async()
            await app.session.leave()
            return app

    app = asyncio.run(talk())
    if app.session.conversation.messages or app.session.is_busy:
        goes_on = "Its run goes on. " if app.session.is_busy else ""
        sys.stderr.write(f"{goes_on}Come back with: {_command(terms, app.session.thread)}\n")


def new_thread() -> str:
    """Make the id of a thread that nobody has yet."""
    return f"thr_{uuid.uuid4().hex}"


def _command(terms: Terms, thread: str) -> str:
    is_elsewhere = terms.url is None and terms.data_dir != DEFAULT_DATA_DIR
    options = {
        "--thread": thread,
        "--org": terms.org if terms.org != ORG else None,
        "--url": terms.url,
        "--data-dir": str(terms.data_dir) if is_elsewhere else None,
    }
    return " ".join(["decopilot chat", *(f"{name} {shlex.quote(value)}" for name, value in options.items() if value)])
