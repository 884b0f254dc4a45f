"""How operators' commands keep what is kept: rebuild views, back up, restore, erase."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

import typer
from pydantic import ValidationError

from decopilot.cli.errors import CliError
from decopilot.cli.operating import alone, bars, operate
from decopilot.cli.reaching import Where, find
from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, ThreadId, UserId, is_id
from decopilot.log.backups import back_up as write_backup
from decopilot.log.erasures import Erased, Erasures, Owned
from decopilot.log.journal import Journal
from decopilot.log.rebuilding import Found, Progress, Rebuilder
from decopilot.log.restoring import SKIPPED, Restored, Restorer
from decopilot.log.store import Store
from decopilot.log.topology import Sizes
from decopilot.log.views import Views

NOT_YET = 2


def rebuild(
    where: Where,
    *,
    org: str | None,
    thread: str | None,
    after: int,
    writes: bool,
) -> int:
    """Rebuild views, print what differed; return the exit code."""
    within = OrgId(_id(org)) if org else None, ThreadId(_id(thread)) if thread else None
    if thread and not org:
        message = "A thread's id is its org's: give --org, too."
        raise CliError(message)
    reached, found, unread = Progress(after, 0), 0, 0

    async def work(store: Store) -> None:
        nonlocal found, unread
        views = Views(store)
        rebuilder = Rebuilder(store, Journal(store, views), views, writes=writes)
        head = (await store.js.stream_info(subjects.EVENTS_STREAM)).state.last_seq

        def note(progress: Progress) -> None:
            nonlocal reached
            reached = progress
            shown.told("event log", progress.sequence, head)

        async for difference in rebuilder.rebuild(org=within[0], thread=within[1], after=after, progress=note):
            found += 1
            unread += difference.difference == "unreadable"
            typer.echo(_line(difference))

    with bars("events") as shown:
        try:
            operate(find(where).settings, work, hint=f"Go on with --after {reached.sequence}.")
        except KeyboardInterrupt:
            message = f"Stopped. Go on with: decopilot rebuild-views --after {reached.sequence}"
            raise CliError(message) from None
    verb = "were mended" if writes else "differ"
    typer.echo(f"{reached.threads} threads were looked at, {found - unread} views {verb}.", err=True)
    if unread:
        typer.echo(f"{unread} threads were written to by a newer version: rebuild them with that one.", err=True)
    return 1 if unread or (found and not writes) else 0


def _line(found: Found) -> str:
    what = {"message": found.message} if found.message else {}
    return json.dumps({"org": found.org, "thread": found.thread} | what | {"view": found.difference})


def back_up(where: Where, folder: Path) -> None:
    """Back everything up."""
    with bars("bytes") as shown:
        manifest = operate(
            find(where).settings,
            lambda store: write_backup(store, folder.absolute(), told=shown.told),
            hint="No backup was written.",
        )
    size = sum(part.bytes for part in manifest.parts.values())
    typer.echo(f"Backed up to {folder}: {size:,} bytes, as of {manifest.made_at.isoformat(timespec='seconds')}.")


def bring_back(
    where: Where,
    folder: Path,
    *,
    ledgers: Iterable[Path],
    forces: bool,
    skipped: int | None,
) -> None:
    """Restore a backup."""
    erased = [entry for path in ledgers for entry in _read_ledger(path)]
    folder, count = folder.absolute(), SKIPPED if skipped is None else skipped
    with alone(where) as settings, bars("") as shown:
        sizes = Sizes(replicas=settings.replicas)

        async def work(store: Store) -> Restored:
            restorer = Restorer(store, folder, sizes=sizes, skipped=count, told=shown.told)
            return await restorer.restore(erased=erased, forces=forces)

        hint = "Restore again." if forces else "Nothing that was there is gone; --force would take its place."
        restored = operate(settings, work, hint=hint, restores=True)
    typer.echo(f"Restored {restored.threads} threads; {len(restored.erased)} of them were erased since, and are again.")
    for place in restored.damaged:
        typer.echo(f"{place.name} is not what was written: the file is lost.", err=True)


def erase_threads(
    where: Where,
    *,
    org: str,
    user: str | None,
    thread: str | None,
    does: bool,
    wait_s: float,
) -> int:
    """Erase threads, tell of each; return the exit code."""

    async def work(store: Store) -> int:
        erasures = Erasures(store, Journal(store, Views(store)))
        gone: list[Erased] = []
        async for owned in erasures.find(OrgId(_id(org)), user=UserId(user) if user else None):
            if thread is not None and owned.thread != thread:
                continue
            if does and owned.is_theirs and await erasures.delete(owned.org, owned.thread):
                gone.append(Erased(org=owned.org, thread=owned.thread))
            typer.echo(_told(owned, does=does))
        try:
            async with asyncio.timeout(wait_s):
                await erasures.wait(gone)
        except TimeoutError:
            typer.echo("Deleted, but not everything is erased yet: does a reactor run?", err=True)
            return NOT_YET
        return 0

    return operate(find(where).settings, work, hint="Say it once more: what is erased stays so.")


def _told(owned: Owned, *, does: bool) -> str:
    # A thread of somebody else stays, with what the user wrote in it: whoever asked decides about it by its id.
    what = "wrote in" if not owned.is_theirs else "erased" if does else "would be erased"
    return json.dumps({"org": owned.org, "thread": owned.thread, "owner": owned.owner, "is": what})


def print_ledger(where: Where) -> None:
    """Print what was ever erased."""

    async def work(store: Store) -> None:
        async for entry in Erasures(store, Journal(store, Views(store))).ledger():
            typer.echo(entry.model_dump_json(exclude_none=True))

    operate(find(where).settings, work)


def _read_ledger(path: Path) -> list[Erased]:
    try:
        return [Erased.model_validate_json(line) for line in path.read_text().splitlines() if line.strip()]
    except (ValidationError, UnicodeDecodeError) as error:
        message = f"{path} is not what `decopilot erased` prints."
        raise CliError(message) from error


def _id(text: str) -> str:
    if not is_id(text):
        message = f"An id is 1 to 64 of A-Z, a-z, 0-9, _ and -, which {text[:64]!r} is not."
        raise CliError(message)
    return text
