"""How operators' commands keep what is kept: rebuild views, back up, restore, erase."""

import asyncio
import json
from collections.abc import Iterable
from contextlib import aclosing
from pathlib import Path

import typer
from pydantic import ValidationError

from decopilot.cli.errors import CliError
from decopilot.cli.operating import alone, bars, operate, say, sentence
from decopilot.cli.reaching import Where, find
from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, ThreadId, UserId, is_id
from decopilot.log.backups import BackupError
from decopilot.log.backups import back_up as write_backup
from decopilot.log.erasures import Erased, Erasures, Owned
from decopilot.log.journal import Journal
from decopilot.log.rebuilding import Found, Progress, Rebuilder
from decopilot.log.restoring import SKIPPED, OccupiedError, Restored, Restorer
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

    def go_on() -> str:
        told = {"--org": org, "--thread": thread, "--after": reached.sequence or None}
        words = [f" {name} {value}" for name, value in told.items() if value is not None]
        return f"decopilot rebuild-views{'' if writes else ' --check'}{''.join(words)}"

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
            say(_line(difference))

    with bars("events") as shown:
        try:
            operate(find(where).settings, work, hint=lambda: f"Go on with: {go_on()}")
        except KeyboardInterrupt:
            message = f"Stopped. Go on with: {go_on()}"
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
            try:
                return await restorer.restore(erased=erased, forces=forces)
            except BackupError as error:
                message = f"{sentence(error)} Nothing was touched; restore another backup."
                raise CliError(message) from error
            except OccupiedError as error:
                message = f"{sentence(error)} Nothing was touched; --force would restore in the place of it."
                raise CliError(message) from error

        again = f"Unfinished: run it again: decopilot restore {folder}"
        try:
            restored = operate(settings, work, hint=again, restores=True)
        except KeyboardInterrupt:
            message = f"Stopped. {again}"
            raise CliError(message) from None
    since = f" {len(restored.erased)} of them were erased since, and are erased again." if restored.erased else ""
    typer.echo(f"Restored {restored.threads} threads.{since}")
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
    within, owner = OrgId(_id(org)), UserId(user) if user else None

    async def work(store: Store) -> int:
        erasures = Erasures(store, Journal(store, Views(store)))
        found = [owned async for owned in erasures.find(within, user=owner) if thread in {None, owned.thread}]
        typer.echo(f"{len(found)} {'thread matches' if len(found) == 1 else 'threads match'}.", err=True)
        if thread is not None and not found:
            left = await erasures.left_of(within, ThreadId(_id(thread)))
            if left is None:
                message = f"There is no thread {thread} of that in {org}."
                raise CliError(message)
            typer.echo(f"Thread {thread} is {'deleted' if left else 'erased'} already.", err=True)
            return NOT_YET if left else 0
        for owned in found:
            if not (does and owned.is_theirs):
                say(_told(owned, "would be erased" if owned.is_theirs else "wrote in"))
        return await _erase(erasures, [owned for owned in found if does and owned.is_theirs], wait_s)

    return operate(find(where).settings, work, hint="Say it once more: what is erased stays so.")


async def _erase(erasures: Erasures, threads: Iterable[Owned], wait_s: float) -> int:
    """Delete threads, and tell each as erased only once it is: what is printed is kept as proof."""
    deleted: dict[Erased, Owned] = {}
    try:
        for owned in threads:
            await erasures.delete(owned.org, owned.thread)
            deleted[Erased(org=owned.org, thread=owned.thread)] = owned
        try:
            async with asyncio.timeout(wait_s), aclosing(erasures.each_erased(deleted)) as gone:
                async for entry in gone:
                    say(_told(deleted.pop(entry), "erased"))
        except TimeoutError:
            typer.echo("Deleted, but not everything is erased yet: does a reactor run?", err=True)
    finally:
        # Whoever interrupts it learns what is deleted.
        for owned in deleted.values():
            say(_told(owned, "deleted"))
    return NOT_YET if deleted else 0


def _told(owned: Owned, what: str) -> str:
    # A thread of somebody else stays, with what the user wrote in it: whoever asked decides about it by its id.
    return json.dumps({"org": owned.org, "thread": owned.thread, "owner": owned.owner, "is": what})


def print_ledger(where: Where) -> None:
    """Print what was ever erased."""

    async def work(store: Store) -> None:
        async for entry in Erasures(store, Journal(store, Views(store))).ledger():
            say(entry.model_dump_json(exclude_none=True))

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
