"""Blobs: files and large outputs in the broker's object store; they go when their thread goes (ADR 0027)."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import structlog
from nats.aio.msg import Msg
from nats.js.errors import APIError

from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.objects import CHUNK_BYTES, STREAM, ObjectInfo, Place, chunks_of, digest, nuid, undigest
from decopilot.log.store import EXPECTED, UNCERTAIN, Store, Stored, is_conflict, is_passing, patiently

PUT_LIMIT_S = 600.0
"""How long one writing may take. Behind it nobody writes any more, so what is left of it may go."""
CHUNK_LIMIT_S = 30.0
"""How long one chunk may take: less than the stream remembers which ones it has (2 minutes)."""
_READ_AT_ONCE = 4
_PAUSE_S = 0.05
_ROLLUP = {"Nats-Rollup": "sub"}
_MESSAGE_ID = "Nats-Msg-Id"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Blob:
    """What is known of a blob; `digest` is its SHA-256, in hexadecimal digits, `size` its bytes."""

    size: int
    digest: str
    media_type: str
    name: str | None
    written_at: datetime

    @classmethod
    def of(cls, info: ObjectInfo) -> Self:
        """Take it out of what the store says."""
        return cls(
            size=info.size,
            digest=undigest(info.digest).hex(),
            media_type=info.metadata["media_type"],
            name=info.metadata.get("filename"),
            written_at=info.mtime,
        )


class BlobNotFoundError(Exception):
    """There is no such blob, or no more: it went while it was read, or while it was written."""

    def __init__(self, place: Place) -> None:
        self.place = place
        super().__init__(f"there is no blob {place.name}")


class BlobConflictError(Exception):
    """Somebody else wrote the blob, or erased it, at the same time; what could be read once is gone."""

    def __init__(self, place: Place) -> None:
        self.place = place
        super().__init__(f"the blob {place.name} was written or erased by somebody else")


class BlobDamagedError(Exception):
    """What was read is not what was written."""

    def __init__(self, place: Place) -> None:
        self.place = place
        super().__init__(f"the blob {place.name} is damaged")


@dataclass(frozen=True, slots=True)
class Told:
    """What was said of a blob at some time: that it is there, or (announced, or erased) that it is not."""

    place: Place
    sequence: int
    is_there: bool
    at: datetime


def told(message: Msg) -> Told | None:
    """Read what a consumer was handed; None for an object that is none of ours."""
    delivered = message.metadata
    try:
        info = ObjectInfo.model_validate_json(message.data)
        return Told(info.place, delivered.sequence.stream, not info.deleted, delivered.timestamp)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class _Found:
    """What stands on a meta subject, and where; sequence 0 with nothing."""

    sequence: int
    info: ObjectInfo | None

    @property
    def present(self) -> ObjectInfo | None:
        return None if self.info is None or self.info.deleted else self.info


class Blobs:
    """Blobs over one store. Their ids are of the same letters as all others, unique in their thread.

    A blob is there from one moment on, whole: its meta is written last, in the place of what stood there when the
    writing began. Whoever erases a thread leaves markers there, so that a writer who was held up is refused.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(
        self,
        org: OrgId,
        thread: ThreadId,
        blob: str,
        data: bytes | AsyncIterable[bytes],
        *,
        media_type: str = "application/octet-stream",
        name: str | None = None,
    ) -> Blob:
        """Write a blob, in the place of any of this id; of a stream no more than a chunk is held in memory.

        With the same bytes it is the same blob, and only looks younger.

        Raises:
            BlobConflictError: a stream was overtaken; bytes are written again.
            TimeoutError: it took longer than 10 minutes, or a chunk longer than half a minute.
            nats.js.errors.APIError: the broker refused it, for want of room for instance.

        """
        place = Place.of(org, thread, blob)
        about = {"media_type": media_type} | ({} if name is None else {"filename": name})
        async with asyncio.timeout(PUT_LIMIT_S):
            while True:
                there = await self._find(place)
                known = there.present
                if isinstance(data, bytes) and known is not None and known.digest == _digest_of(data):
                    written = await self._renew(place, known, there.sequence)
                else:
                    written = await self._write(place, there, _chunks(data), about)
                if written is not None:
                    return Blob.of(written)
                if not isinstance(data, bytes):
                    raise BlobConflictError(place)

    async def info(self, org: OrgId, thread: ThreadId, blob: str) -> Blob | None:
        """Tell of a blob; None where there is none."""
        present = (await self._find(Place.of(org, thread, blob))).present
        return None if present is None else Blob.of(present)

    async def renew(self, org: OrgId, thread: ThreadId, blob: str) -> Blob | None:
        """Tell of a blob, and make it as young as if it were written now; None where there is none."""
        place = Place.of(org, thread, blob)
        while True:
            there = await self._find(place)
            if there.present is None:
                return None
            renewed = await self._renew(place, there.present, there.sequence)
            if renewed is not None:
                return Blob.of(renewed)

    async def copy(self, org: OrgId, source: ThreadId, target: ThreadId, blob: str) -> Blob | None:
        """Have a blob of one thread in another one, too, under its id; None where the first has none.

        What the other one has under this id is taken for a copy that was made before.

        Raises:
            BlobNotFoundError: it went meanwhile.

        """
        copied = await self.renew(org, target, blob)
        original = None if copied else await self.info(org, source, blob)
        if original is None:
            return copied
        pieces = self.stream(org, source, blob)
        try:
            return await self.put(org, target, blob, pieces, media_type=original.media_type, name=original.name)
        except BlobConflictError:
            # Somebody did the same at the same time, or the thread is being erased.
            return await self.renew(org, target, blob)

    async def read(self, org: OrgId, thread: ThreadId, blob: str) -> bytes:
        """Read a whole blob into memory.

        Raises:
            BlobNotFoundError: there is none.
            BlobDamagedError: it is not what was written.

        """
        return b"".join([chunk async for chunk in self.stream(org, thread, blob)])

    async def stream(self, org: OrgId, thread: ThreadId, blob: str, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield a blob from an offset on, about half a MiB of it being in memory.

        Raises:
            BlobNotFoundError: there is none, or it went meanwhile.
            BlobDamagedError: behind the last of a whole blob: it is not what was written.

        """
        place = Place.of(org, thread, blob)
        info = (await self._find(place)).present
        if info is None:
            raise BlobNotFoundError(place)
        if offset >= info.size > 0:
            return
        sequences = info.sequences
        skipped, within = divmod(offset, CHUNK_BYTES)
        left, read = len(sequences) - skipped, hashlib.sha256()
        batches = self._store.read(
            STREAM,
            place.chunks(info.writing),
            sequences[skipped] - 1,
            until=sequences[-1],
            count=_READ_AT_ONCE,
        )
        async with aclosing(batches):
            async for batch in batches:
                for stored in batch:
                    left -= 1
                    read.update(stored.data)
                    yield stored.data[within:]
                    within = 0
        if left:
            raise BlobNotFoundError(place)
        if not offset and read.digest() != undigest(info.digest):
            raise BlobDamagedError(place)

    async def erase(self, org: OrgId, thread: ThreadId) -> None:
        """Erase every blob of a thread; safe to repeat. One that is being written will be refused."""
        filter_ = chunks_of(org, thread)
        found = (await self._store.js.stream_info(STREAM, subjects_filter=filter_)).state.subjects or {}
        for blob in sorted({subject.split(".")[5] for subject in found}):
            await self._mark(Place(org, thread, blob))
        await self._purge(filter_)

    async def drop(self, blob: Told) -> None:
        """Erase a blob, if nothing newer was said of it."""
        there = await self._find(blob.place)
        if there.sequence == blob.sequence and there.info is not None:
            marker = _absent(blob.place, there.info.writing)
            if await self._replace(blob.place, marker, blob.sequence) is not None:
                await self._purge(blob.place.chunks(there.info.writing))

    async def forget(self, blob: Told) -> None:
        """Remove what is left of a blob that is not there, if nothing newer was said of it.

        Whoever wrote when that was said must have stopped by now, and who begins later is not touched: what is removed
        stood there before it was read that nobody had.
        """
        newest = (await self._store.js.stream_info(STREAM)).state.last_seq
        if (await self._find(blob.place)).sequence == blob.sequence:
            await self._purge(blob.place.chunks(), before=newest + 1)
            await self._purge(blob.place.meta, before=blob.sequence + 1)

    async def _purge(self, subject: str, *, before: int | None = None) -> None:
        await self._store.js.purge_stream(STREAM, subject=subject, seq=before)

    async def _find(self, place: Place) -> _Found:
        stored = await self._store.last(STREAM, place.meta)
        return _Found(0, None) if stored is None else _Found(stored.sequence, ObjectInfo.read(stored))

    async def _mark(self, place: Place) -> None:
        """Put a marker in the place of a blob, or of one that is announced."""
        while True:
            there = await self._find(place)
            named = uuid.uuid4().hex if there.info is None else there.info.writing
            if await self._replace(place, _absent(place, named), there.sequence) is not None:
                return

    async def _renew(self, place: Place, info: ObjectInfo, guard: int) -> ObjectInfo | None:
        renewed = info.model_copy(update={"mtime": datetime.now(UTC)})
        return renewed if await self._replace(place, renewed, guard) is not None else None

    async def _write(
        self, place: Place, there: _Found, chunks: AsyncIterator[bytes], about: dict[str, str]
    ) -> ObjectInfo | None:
        """Write in the place of what was found; None where that is no longer there."""
        writing, guard = uuid.uuid4().hex, there.sequence
        if there.present is None:
            # Whatever becomes of this writer, somebody will look at what it announced.
            announced = await self._replace(place, _absent(place, writing), guard)
            if announced is None:
                return None
            guard = announced
        info: ObjectInfo | None = None
        try:
            written = await self._write_chunks(place, writing, chunks, about)
            if await self._replace(place, written, guard) is not None:
                info = written
        finally:
            old = writing if info is None else there.present and there.present.writing
            if old:
                with suppress(*UNCERTAIN):
                    await self._purge(place.chunks(old))
        return info

    async def _write_chunks(
        self, place: Place, writing: str, chunks: AsyncIterator[bytes], about: dict[str, str]
    ) -> ObjectInfo:
        subject, read, size = place.chunks(writing), hashlib.sha256(), 0
        sequences: list[int] = []
        async for chunk in chunks:
            read.update(chunk)
            size += len(chunk)
            headers = {_MESSAGE_ID: f"{writing}-{len(sequences)}"}

            async def publish(chunk: bytes = chunk, headers: dict[str, str] = headers) -> int:
                return await self._store.publish(STREAM, subject, chunk, headers)

            async with asyncio.timeout(CHUNK_LIMIT_S):
                sequences.append(await patiently(publish))
        return ObjectInfo(
            name=place.name,
            nuid=nuid(place, writing),
            size=size,
            chunks=len(sequences),
            digest=digest(read.digest()),
            mtime=datetime.now(UTC),
            metadata=about | {"sequences": " ".join(map(str, sequences))},
        )

    async def _replace(self, place: Place, info: ObjectInfo, guard: int) -> int | None:
        """Write meta in the place of a sequence; None where something else stands there. Returns its sequence."""
        body = info.model_dump_json().encode()
        headers = {EXPECTED: str(guard)} | _ROLLUP
        while True:
            try:
                return await self._store.publish(STREAM, place.meta, body, headers)
            except APIError as error:
                if is_conflict(error):
                    return await self._sequence_of(place, body)
                if not is_passing(error):
                    raise
                log.warning("blob_delayed", error=repr(error))
            except UNCERTAIN as error:
                log.warning("blob_uncertain", error=repr(error))
            await asyncio.sleep(_PAUSE_S)

    async def _sequence_of(self, place: Place, body: bytes) -> int | None:
        # One's own, if the answer to it was lost.
        there: Stored | None = await patiently(lambda: self._store.last(STREAM, place.meta))
        return there.sequence if there is not None and there.data == body else None


def _absent(place: Place, writing: str) -> ObjectInfo:
    return ObjectInfo(name=place.name, nuid=nuid(place, writing), mtime=datetime.now(UTC), deleted=True)


def _digest_of(data: bytes) -> str:
    return digest(hashlib.sha256(data).digest())


async def _chunks(data: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Cut into chunks; there is always one: by its chunks a thread's blob is found."""
    if isinstance(data, bytes):
        for start in range(0, max(len(data), 1), CHUNK_BYTES):
            yield data[start : start + CHUNK_BYTES]
        return
    gathered, is_first = bytearray(), True
    async for piece in data:
        view = memoryview(piece)
        while view:
            room = CHUNK_BYTES - len(gathered)
            gathered += view[:room]
            view = view[room:]
            if len(gathered) == CHUNK_BYTES:
                yield bytes(gathered)
                gathered.clear()
                is_first = False
    if gathered or is_first:
        yield bytes(gathered)
