"""Backups: the streams that are truth in a folder, taken while everything runs (ADR 0049)."""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, ValidationError

from decopilot.contracts import subjects
from decopilot.contracts.messages import Frozen
from decopilot.log.erasures import Erasures
from decopilot.log.journal import Journal
from decopilot.log.readers import ANNOUNCE_S, Readers
from decopilot.log.snapshots import ABOUT, DATA, pack, sha256_of
from decopilot.log.store import UNCERTAIN, Store
from decopilot.log.topology import consumers, sweeper
from decopilot.log.unfinished import ensure_restored
from decopilot.log.views import Views

AUTOMATIONS_STREAM = f"KV_{subjects.AUTOMATIONS_BUCKET}"
KEPT = (subjects.EVENTS_STREAM, subjects.CHUNKS_STREAM, AUTOMATIONS_STREAM, subjects.BLOBS_STREAM)
"""What is backed up, in this order: chunks are never older than the events that speak of them, nor are files."""
MANIFEST, ERASED = "manifest.json", "erased.ndjson"


class Part(Frozen):
    """One stream in a backup: its files' SHA-256, its size, its messages and last sequence when it was begun."""

    bytes: int
    sha256: str
    about_sha256: str
    messages: int
    last_sequence: int


class Manifest(Frozen):
    """What a backup is. Written last: a folder without it is none."""

    format: Literal[1] = 1
    made_at: AwareDatetime
    parts: dict[str, Part]
    chunks_before: int
    """Frames up to here were stored before the event log was packed: every attempt that wrote them is in it."""
    watch_before: int
    done: dict[str, int]
    """Of each consumer, the sequence up to which all was done before the event log was packed."""
    erased_sha256: str


class BackupError(Exception):
    """A folder is no backup that can be used, or can't become one."""


Told = Callable[[str, int], None]
"""Hears of which stream how many bytes have come or gone."""


async def back_up(store: Store, folder: Path, *, told: Told = lambda _, __: None) -> Manifest:
    """Back up everything into a folder that is not there yet; it is there at the end, whole, or not at all.

    Raises:
        BackupError: the folder is there, or can't be made.
        UnfinishedRestoreError: what the broker holds is half a backup.
        SnapshotError: the broker handed out a stream not at all, or not whole.
        nats.errors.Error, TimeoutError, OSError: the broker does not answer, or a file can't be written.

    """
    await ensure_restored(store.js)
    with _new(folder) as unfinished:
        return await _write(store, unfinished, told)


@contextmanager
def _new(folder: Path) -> Iterator[Path]:
    """Fill a folder beside it, mode 0700, that takes its place at once."""
    if folder.exists():
        msg = f"{folder} is there already: a backup needs a folder of its own"
        raise BackupError(msg)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield unfinished
        for path in [*unfinished.rglob("*"), unfinished]:
            _sync(path)
        unfinished.rename(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _write(store: Store, folder: Path, told: Told) -> Manifest:
    made_at = datetime.now(UTC)
    # All three are read before the events: what they say of is in the log.
    done = {**await _done(store, subjects.EVENTS_STREAM), **await _done(store, subjects.BLOBS_STREAM)}
    watch_before, chunks_before = [await _last_of(store, name) for name in (subjects.WATCH_STREAM, KEPT[1])]
    parts: dict[str, Part] = {}
    async with _held(store):
        for stream in KEPT[:2]:
            parts[stream] = await _pack(store, stream, folder, told)
    for stream in KEPT[2:]:
        parts[stream] = await _pack(store, stream, folder, told)
    # Whoever was deleted meanwhile is in the events of this backup perhaps, and must not come back by it.
    erasures = Erasures(store, Journal(store, Views(store)))
    packed = parts[subjects.EVENTS_STREAM].last_sequence
    lines = [f"{entry.model_dump_json(exclude_none=True)}\n" async for entry in erasures.ledger(after=packed)]
    (folder / ERASED).write_text("".join(lines))
    manifest = Manifest(
        made_at=made_at,
        parts=parts,
        chunks_before=chunks_before,
        watch_before=watch_before,
        done=done,
        erased_sha256=sha256_of(folder / ERASED),
    )
    (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n")
    return manifest


async def _pack(store: Store, stream: str, folder: Path, told: Told) -> Part:
    (folder / stream).mkdir()
    packed = await pack(store.nc, stream, folder / stream, told=lambda size: told(stream, size))
    state = packed.state
    return Part(
        bytes=packed.size,
        sha256=packed.sha256,
        about_sha256=sha256_of(folder / stream / ABOUT),
        messages=state["messages"],
        last_sequence=state.get("last_seq", 0),
    )


async def _last_of(store: Store, stream: str) -> int:
    return int((await store.js.stream_info(stream)).state.last_seq)


async def _done(store: Store, stream: str) -> dict[str, int]:
    durables = consumers() if stream == subjects.EVENTS_STREAM else [sweeper()]
    infos = [await store.js.consumer_info(stream, str(durable.name)) for durable in durables]
    return {info.name: info.ack_floor.stream_seq if info.ack_floor else 0 for info in infos}


@asynccontextmanager
async def _held(store: Store) -> AsyncIterator[None]:
    """Keep runs from being purged that end between the packing of the events and that of their chunks."""
    readers = Readers(store)

    announced = asyncio.Event()

    async def announce() -> None:
        while True:
            # Those with more than one frame have not been purged; the rest has nothing to lose.
            with suppress(*UNCERTAIN):
                info = await store.js.stream_info(subjects.CHUNKS_STREAM, subjects_filter=f"{subjects.CHUNK_PREFIX}.>")
                held = {subjects.owner_of(name)[:2] for name, count in (info.state.subjects or {}).items() if count > 1}
                for org, thread in held:
                    await readers.announce(org, thread)
                announced.set()
            await asyncio.sleep(ANNOUNCE_S)

    announcing = asyncio.create_task(announce())
    announcing.add_done_callback(lambda _: announced.set())
    try:
        await announced.wait()
        if announcing.done():
            await announcing
        yield
    finally:
        announcing.cancel()
        await asyncio.wait([announcing])


def read_manifest(folder: Path) -> Manifest:
    """Read what a backup is, and compare each of its files with what was written.

    Raises:
        BackupError: it is none, of a newer format, or damaged.

    """
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        msg = f"{folder} is no backup: it has no {MANIFEST}"
        raise BackupError(msg) from error
    except ValidationError as error:
        msg = f"{folder / MANIFEST} is damaged, or of a newer version"
        raise BackupError(msg) from error
    expected = {folder / ERASED: manifest.erased_sha256}
    for name, part in manifest.parts.items():
        expected |= {folder / name / DATA: part.sha256, folder / name / ABOUT: part.about_sha256}
    for path, sha256 in expected.items():
        if not path.is_file() or sha256_of(path) != sha256:
            msg = f"{path} is damaged: its SHA-256 is not that of the manifest"
            raise BackupError(msg)
    for name in KEPT:
        if name not in manifest.parts:
            msg = f"{folder} lacks {name}"
            raise BackupError(msg)
    return manifest
