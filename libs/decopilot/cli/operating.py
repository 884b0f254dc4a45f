"""What operators' commands share: the broker as the one who may do everything there, and how far a command is."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import typer
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from pydantic import SecretStr
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from decopilot.cli.broker import EmbeddedBroker
from decopilot.cli.errors import CliError
from decopilot.cli.printing import Paper, ReaderGoneError
from decopilot.cli.provision import TIMEOUT_S, reason
from decopilot.cli.reaching import Where, find
from decopilot.cli.state import DataFolder
from decopilot.cli.telling import ExitCode
from decopilot.contracts.events import UnknownEventError
from decopilot.kit import logging
from decopilot.kit.connection import ServerTooOldError, connected, forbidden, is_unauthorized
from decopilot.kit.redaction import redact
from decopilot.kit.settings import Settings, read
from decopilot.log.backups import BackupError
from decopilot.log.direct import StoreError
from decopilot.log.permissions import OPERATOR, STREAMS, USERS
from decopilot.log.restoring import InUseError, OccupiedError
from decopilot.log.snapshots import SnapshotError
from decopilot.log.store import Store
from decopilot.log.topology import TopologyError
from decopilot.log.unfinished import UnfinishedRestoreError, ensure_restored

ResultT = TypeVar("ResultT")


@contextmanager
def alone(where: Where) -> Iterator[Settings]:
    """Have the broker to oneself: the one that is named, or else that of a data folder in which no `up` runs.

    Raises:
        CliError: one runs there, or its broker does not start.
        SystemExit: the settings are wrong, which has been said (exit code 78).

    """
    if where.is_named:
        yield find(where).settings
        return
    folder = DataFolder(where.data_dir)
    folder.create()
    with folder.locked(), EmbeddedBroker(folder.nats_store, passwords=folder.nats_passwords(USERS)) as broker:
        yield _as_operator(read(Settings), broker.url, folder)


def _as_operator(settings: Settings, url: str, folder: DataFolder) -> Settings:
    password = SecretStr(folder.nats_passwords([OPERATOR])[OPERATOR])
    return settings.model_copy(update={"nats_url": url, "nats_user": OPERATOR, "nats_password": password})


def operate(
    settings: Settings,
    work: Callable[[Store], Coroutine[None, None, ResultT]],
    *,
    hint: str | Callable[[], str] = "Nothing was changed.",
    restores: bool = False,
) -> ResultT:
    """Do some work with the broker; `hint` says what a failure leaves.

    Where a restore is not finished, or nothing is provisioned, only work that `restores` is done. Where nobody reads
    what is printed any more it ends quietly, as a program does by SIGPIPE.

    Raises:
        CliError: the broker refuses it, or does not answer.

    """
    logging.configure(settings.model_copy(update={"log_level": "critical"}), "operator")
    causes: list[Exception] = []

    async def run() -> ResultT:
        async with _store(settings, causes) as store:
            if not restores:
                await ensure_restored(store.js)
                await _ensure_provisioned(settings, store)
            return await work(store)

    try:
        return asyncio.run(run())
    except ReaderGoneError:
        raise typer.Exit(ExitCode.UNREAD) from None
    except (TimeoutError, OSError, NatsError) as error:
        said = redact(f"{settings.nats_url}: {str(error) or repr(error)}.")
        refused = [cause for cause in causes if forbidden(cause)]
        message = f"{reason(settings, refused, OPERATOR) if refused else said} {_text(hint)}"
        raise CliError(message) from error
    except (UnfinishedRestoreError, InUseError) as error:
        raise CliError(sentence(error)) from error
    except (ServerTooOldError, StoreError, SnapshotError, BackupError, OccupiedError, TopologyError) as error:
        message = f"{sentence(error)} {_text(hint)}"
        raise CliError(message) from error
    except UnknownEventError as error:
        message = f"A newer version of decopilot wrote {error}: use that one. {_text(hint)}"
        raise CliError(message) from error


def say(line: str) -> None:
    """Print a line on standard output; raises `ReaderGoneError`, which `operate` makes an exit code of."""
    Paper(sys.stdout, sys.stderr).text(f"{line}\n")


def _text(hint: str | Callable[[], str]) -> str:
    return hint if isinstance(hint, str) else hint()


async def _ensure_provisioned(settings: Settings, store: Store) -> None:
    for name in STREAMS:
        try:
            await store.js.stream_info(name)
        except NotFoundError as error:
            message = f"{settings.nats_url} has no {name}. Run `decopilot provision` first."
            raise CliError(message) from error


def sentence(error: Exception) -> str:
    """Make a sentence of what an error says."""
    told = str(error).rstrip(".")
    return f"{told[:1].upper()}{told[1:]}."


@asynccontextmanager
async def _store(settings: Settings, causes: list[Exception]) -> AsyncIterator[Store]:
    loop = asyncio.get_running_loop()

    def note(error: Exception) -> None:
        causes.append(error)
        if is_unauthorized(error) and deadline.when() is not None:
            deadline.reschedule(loop.time())

    connection = connected(settings, "operator", on_failure=note)
    try:
        async with asyncio.timeout(TIMEOUT_S) as deadline:
            client = await connection.__aenter__()
    except TimeoutError as error:
        raise CliError(reason(settings, causes, OPERATOR)) from error
    try:
        async with Store(client) as store:
            yield store
    finally:
        await connection.__aexit__(*sys.exc_info())


class Bars:
    """Progress bars on a terminal, one for each name; nothing where nobody looks."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def told(self, name: str, done: int, total: int | None = None) -> None:
        """Show how much of something is done."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._tasks[name], completed=done, total=total)


@contextmanager
def bars(unit: str) -> Iterator[Bars]:
    """Show progress bars on standard error while the context is open."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.completed:,.0f}} {unit}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Bars(progress)
