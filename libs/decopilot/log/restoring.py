"""Restoring: a broker brought to what a backup holds, so that no cursor from before leads astray (ADR 0049)."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import DeliverPolicy, StorageType, StreamConfig, StreamSource
from nats.js.errors import NotFoundError

from decopilot.contracts import subjects
from decopilot.contracts.frames import Frame
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.domain.thread import ThreadState
from decopilot.log.backups import AUTOMATIONS_STREAM, ERASED, Manifest, Told, read_manifest
from decopilot.log.blobs import BlobDamagedError, BlobNotFoundError, Blobs
from decopilot.log.chunklog import ChunkLog, frame_of, is_erased
from decopilot.log.erasures import Erased, Erasures
from decopilot.log.journal import Journal
from decopilot.log.objects import ObjectInfo, Place
from decopilot.log.permissions import STREAMS
from decopilot.log.rebuilding import Rebuilder
from decopilot.log.running import running_services
from decopilot.log.snapshots import unpack
from decopilot.log.store import Store
from decopilot.log.topology import Sizes, consumers, make, streams, sweeper
from decopilot.log.unfinished import RESTORE, Mark, find_mark, is_written_to, remove_mark
from decopilot.log.views import Views

SKIPPED = 10_000_000
"""Sequences that are left out behind what is restored: more than were given away between the backup and its restore.

A cursor of a frame that was lost is refused by that, where it would lead into another frame else.
"""
_ASIDE = "DECOPILOT_RESTORED_CHUNKS"
_TRUTH = (subjects.EVENTS_STREAM, subjects.CHUNKS_STREAM, AUTOMATIONS_STREAM, subjects.BLOBS_STREAM)
_MIRROR_S = 600.0
_LOOK_S = 0.1


class OccupiedError(Exception):
    """The broker holds data, which a restore would take the place of."""

    def __init__(self, found: Iterable[str]) -> None:
        self.found = tuple(found)
        super().__init__(f"the broker holds data: {', '.join(self.found)}")


class InUseError(Exception):
    """Services run, which would write to what is restored."""

    def __init__(self, services: Iterable[str]) -> None:
        self.services = tuple(services)
        super().__init__(f"services use the broker: {', '.join(self.services)}; end all of them first, gateways too")


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of a restore: threads that are there, those erased (again), files that are not what was written."""

    threads: int
    erased: tuple[Erased, ...]
    damaged: tuple[Place, ...]


class Restorer:
    """Restores one backup to one broker, which nobody else may use meanwhile. `told` hears how much has gone there."""

    def __init__(
        self, store: Store, folder: Path, *, sizes: Sizes, skipped: int = SKIPPED, told: Told = lambda _, __: None
    ) -> None:
        self._store = store
        self._js = store.nc.jetstream(timeout=30)
        self._folder = folder
        self._sizes = sizes
        self._skipped = skipped
        self._told = told

    async def restore(self, *, erased: Iterable[Erased] = (), forces: bool = False) -> Restored:
        """Bring an empty broker to what the backup holds; with `forces`, in the place of all that is there.

        Threads that are `erased`, or were while the backup was made, are deleted at once. Where this fails the broker
        is left empty; where it is killed, the next one begins anew, unless runs were asked for since.

        Raises:
            BackupError: the folder is no backup, or damaged; nothing was changed.
            InUseError: services run; nothing was changed, whoever forces it.
            OccupiedError: the broker holds data, and nobody forced it; nothing was changed.
            SnapshotError: the broker refused a stream.
            nats.errors.Error, TimeoutError, OSError: it does not answer.

        """
        manifest = await asyncio.to_thread(read_manifest, self._folder)
        ledger = [*_read_ledger(self._folder / ERASED), *erased]
        if services := await running_services(self._store.nc):
            raise InUseError(services)
        found = await _found(self._js)
        if found and not forces:
            mark = await find_mark(self._js)
            if mark is None or await is_written_to(self._store, mark):
                raise OccupiedError(found)
        await Mark(str(self._folder)).put(self._js)
        try:
            await _remove(self._js)
            await self._streams(manifest)
            again = await _agree(self._store, manifest, ledger)
            threads = await _rebuild(self._store, lambda count: self._told("views", count))
            await _entomb(self._store, ledger)
            damaged = tuple([place async for place in _damaged(self._store)])
        except BaseException:
            await _clear(self._js)
            raise
        await self._be_ready()
        await remove_mark(self._js)
        return Restored(threads, tuple(again), damaged)

    async def _streams(self, manifest: Manifest) -> None:
        for name in (subjects.BLOBS_STREAM, AUTOMATIONS_STREAM):
            await self._unpack(name, name, num_replicas=self._sizes.replicas)
        name, metadata = subjects.EVENTS_STREAM, {subjects.RESTORING: "true"}
        state = await self._unpack(name, name, num_replicas=self._sizes.replicas, metadata=metadata)
        await Mark(str(self._folder), state["last_seq"]).put(self._js)
        configs = {config.name: config for config in streams(self._sizes)}
        await self._chunks(configs[subjects.CHUNKS_STREAM])
        # What was told its watchers is lost; their cursors must not be taken for those of what comes.
        watch = configs[subjects.WATCH_STREAM]
        await self._js.add_stream(watch.evolve(first_seq=manifest.watch_before + max(self._skipped, 1)))
        for stream, durables in ((subjects.EVENTS_STREAM, consumers()), (subjects.BLOBS_STREAM, [sweeper()])):
            for durable in durables:
                begins = manifest.done.get(str(durable.name), 0) + 1
                await self._js.add_consumer(
                    stream, durable.evolve(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=begins)
                )
        await make(self._store.nc, self._sizes)
        events = (await self._js.stream_info(subjects.EVENTS_STREAM)).config
        await self._js.update_stream(events.evolve(metadata=(events.metadata or {}) | metadata))

    async def _be_ready(self) -> None:
        """Let services be ready again."""
        events = (await self._js.stream_info(subjects.EVENTS_STREAM)).config
        kept = {name: told for name, told in (events.metadata or {}).items() if name != subjects.RESTORING}
        await self._js.update_stream(events.evolve(metadata=kept))

    async def _chunks(self, config: StreamConfig) -> None:
        """Restore the chunk log with a gap in its sequences behind it.

        Only a mirror takes its sequences from elsewhere, gaps and all. What was restored (under its own name, as the
        broker asks) is mirrored aside, then back, then one message far behind; an update makes the mirror a stream.
        """
        js, name, its_own = self._js, str(config.name), f"{_ASIDE}.skipped"
        state = await self._unpack(name, name, num_replicas=config.num_replicas)
        if not self._skipped:
            return
        first = int(state["last_seq"]) + self._skipped
        if not state["messages"]:
            await js.delete_stream(name)
            await js.add_stream(config.evolve(first_seq=first))
            return
        await self._mirror(name, _ASIDE, 1)
        await js.update_stream(StreamConfig(name=_ASIDE, subjects=[its_own], storage=StorageType.FILE))
        await js.delete_stream(name)
        await self._mirror(_ASIDE, name, config.num_replicas or 1)
        await js.delete_stream(_ASIDE)
        await js.add_stream(StreamConfig(name=_ASIDE, subjects=[its_own], first_seq=first))
        await js.publish(its_own, b"")
        await _until(js, name, lambda _, last: last >= first)
        await js.update_stream(config)
        await js.delete_stream(_ASIDE)
        await js.purge_stream(name, subject=its_own)

    async def _mirror(self, origin: str, name: str, replicas: int) -> None:
        """Make a mirror, and wait until it has everything."""
        messages = (await self._js.stream_info(origin)).state.messages
        source, kind = StreamSource(name=origin), StorageType.FILE
        await self._js.add_stream(StreamConfig(name=name, mirror=source, storage=kind, num_replicas=replicas))
        await _until(self._js, name, lambda found, _: found >= messages)

    async def _unpack(self, part: str, stream: str, **config: Any) -> dict[str, Any]:  # noqa: ANN401  the broker's
        told = partial(self._told, part)
        return await unpack(self._store.nc, self._folder / part, stream, told=told, **config)


def _read_ledger(path: Path) -> list[Erased]:
    return [Erased.model_validate_json(line) for line in path.read_text().splitlines() if line]


async def _exists(js: JetStreamContext, stream: str) -> bool:
    try:
        await js.stream_info(stream)
    except NotFoundError:
        return False
    return True


async def _found(js: JetStreamContext) -> list[str]:
    """Tell which streams hold, or held, what was the truth."""
    there = [name for name in _TRUTH if await _exists(js, name)]
    return [name for name in there if (await js.stream_info(name)).state.last_seq]


async def _remove(js: JetStreamContext) -> None:
    for name in (*STREAMS, _ASIDE):
        if await _exists(js, name):
            await js.delete_stream(name)


async def _clear(js: JetStreamContext) -> None:
    """Leave nothing behind."""
    await _remove(js)
    await remove_mark(js)


async def _until(js: JetStreamContext, stream: str, is_reached: Callable[[int, int], bool]) -> None:
    async with asyncio.timeout(_MIRROR_S):
        while True:
            state = (await js.stream_info(stream)).state
            if is_reached(state.messages, state.last_seq):
                return
            await asyncio.sleep(_LOOK_S)


async def _agree(store: Store, manifest: Manifest, ledger: Iterable[Erased]) -> list[Erased]:
    """Have chunks and events agree, and delete what was deleted since; return those threads.

    The chunks were packed behind the events. What attempts wrote that the log does not know, or runs, goes: it is what
    came last of its thread. The rest is as if everybody had died then: the next attempt takes over, reactors end.
    """
    journal, chunks = Journal(store, Views(store)), ChunkLog(store)
    deleted = {(entry.org, entry.thread) for entry in ledger}
    states: dict[tuple[OrgId, ThreadId], ThreadState] = {}
    async for batch in store.read(subjects.CHUNKS_STREAM, f"{subjects.CHUNK_PREFIX}.>", manifest.chunks_before):
        for frame in map(frame_of, batch):
            key = frame.org, frame.thread
            if key not in states:
                states[key] = (await journal.load(*key)).state
                last = await chunks.last_of_thread(*key)
                if last is not None and is_erased(last):
                    # It was being erased when its chunks were packed.
                    deleted.add(key)
            if key not in deleted and not _is_known(states[key], frame):
                await store.js.delete_msg(subjects.CHUNKS_STREAM, frame.sequence)
    erasures = Erasures(store, journal)
    return [
        Erased(org=org, thread=thread)
        for org, thread in sorted(deleted)
        if await erasures.delete(org, thread, cause=RESTORE)
    ]


async def _entomb(store: Store, ledger: Iterable[Erased]) -> None:
    """Give those erased since that the backup knows nothing of their tombstones back: they are proof, and a guard."""
    journal = Journal(store, Views(store))
    for entry in ledger:
        if not await journal.newest(entry.org, entry.thread):
            await journal.entomb(entry.org, entry.thread, entry.tombstone, cause=RESTORE)


def _is_known(state: ThreadState, frame: Frame) -> bool:
    if state.active is not None and state.active.run_id == frame.run:
        return frame.attempt <= state.active.attempt
    record = state.runs.get(frame.run)
    return record is not None and record.status not in {"queued", "withdrawn", "in_progress"}


async def _rebuild(store: Store, told: Callable[[int], None]) -> int:
    views, threads = Views(store), 0

    def note(threads_: int) -> None:
        nonlocal threads
        threads = threads_
        told(threads)

    rebuilder = Rebuilder(store, Journal(store, views), views)
    async for _ in rebuilder.rebuild(progress=lambda progress: note(progress.threads)):
        pass
    return threads


async def _damaged(store: Store) -> AsyncGenerator[Place, None]:
    """Read every file, and tell those that are not what was written."""
    blobs = Blobs(store)
    async for batch in store.read(subjects.BLOBS_STREAM, subjects.BLOBS_FILTER, 0):
        for stored in batch:
            try:
                info = ObjectInfo.read(stored)
                place = info.place
            except ValueError:
                continue
            if info.deleted:
                continue
            try:
                async for _ in blobs.stream(*place):
                    pass
            except (BlobNotFoundError, BlobDamagedError):
                yield place
