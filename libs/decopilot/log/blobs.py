"""Blobs: files and large outputs in the broker's object store; they go when their thread goes (ADR 0027)."""

import asyncio
import hashlib
import random
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.metas import Found, Metas, absent
from decopilot.log.objects import CHUNK_BYTES, STREAM, ObjectInfo, Place, chunks_of, digest, nuid, undigest
from decopilot.log.store import UNCERTAIN, Store, patiently

PUT_LIMIT_S = 600.0
"""How long one writing may take. Behind it nobody writes any more, so what is left of it may go."""
CHUNK_LIMIT_S = 30.0
"""How long one chunk may take: less than the stream remembers which ones it has (2 minutes)."""
_READ_AT_ONCE = 4
_PAUSE_S = 0.1
_MESSAGE_ID = "Nats-Msg-Id"


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


class Blobs:
    """Blobs over one store. Their ids are of the same letters as all others, unique in their thread.

    A blob is there from one moment on, whole: its meta is written last, in the place of what stood there when the
    writing began. Whoever erases a thread leaves markers there, so that a writer who was held up is refused.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._metas = Metas(store)

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
                there = await self._metas.find(place)
                known = there.present
                if isinstance(data, bytes) and known is not None and known.digest == _digest_of(data):
                    written = await self._metas.renew(place, there)
                else:
                    written = await self._write(place, there, _chunks(data), about)
                if written is not None:
                    return Blob.of(written)
                if not isinstance(data, bytes):
                    raise BlobConflictError(place)

    async def info(self, org: OrgId, thread: ThreadId, blob: str) -> Blob | None:
        """Tell of a blob; None where there is none."""
        present = (await self._metas.find(Place.of(org, thread, blob))).present
        return None if present is None else Blob.of(present)

    async def renew(self, org: OrgId, thread: ThreadId, blob: str) -> Blob | None:
        """Tell of a blob, and make it as young as if it were written now; None where there is none."""
        place = Place.of(org, thread, blob)
        while True:
            there = await self._metas.find(place)
            if there.present is None:
                return None
            renewed = await self._metas.renew(place, there)
            if renewed is not None:
                return Blob.of(renewed)

    async def copy(self, org: OrgId, source: ThreadId, target: ThreadId, blob: str) -> Blob | None:
        """Have a blob of one thread in another one, too, under its id; None where the first has none.

        What the other one has under this id is taken for a copy that was made before.

        Raises:
            BlobNotFoundError: it went meanwhile.
            TimeoutError: it took longer than 10 minutes.

        """
        pause_s = _PAUSE_S
        async with asyncio.timeout(PUT_LIMIT_S):
            while True:
                copied = await self.renew(org, target, blob)
                original = None if copied else await self.info(org, source, blob)
                if original is None:
                    return copied
                kind, name = original.media_type, original.name
                try:
                    async with aclosing(self.stream(org, source, blob)) as pieces:
                        return await self.put(org, target, blob, pieces, media_type=kind, name=name)
                except BlobConflictError:
                    # Somebody does the same at the same time, and is not done yet: one lets the other, by chance.
                    await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311  no secret
                    pause_s *= 2

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
        info = (await self._metas.find(place)).present
        if info is None:
            raise BlobNotFoundError(place)
        if offset >= info.size > 0:
            return
        sequences = info.sequences
        skipped, within = divmod(offset, CHUNK_BYTES)
        read = hashlib.sha256()
        subject = place.chunks(info.writing)
        for some in range(skipped, len(sequences), _READ_AT_ONCE):
            # Not by direct get: what one wrote oneself is not to be sent anywhere as it is (ADR 0039).
            reads = (self._store.get(STREAM, sequence) for sequence in sequences[some : some + _READ_AT_ONCE])
            for stored in await asyncio.gather(*reads):
                if stored is None or stored.subject != subject:
                    raise BlobNotFoundError(place)
                read.update(stored.data)
                yield stored.data[within:]
                within = 0
        if not offset and read.digest() != undigest(info.digest):
            raise BlobDamagedError(place)

    async def erase(self, org: OrgId, thread: ThreadId) -> None:
        """Erase every blob of a thread; safe to repeat. One that is being written will be refused."""
        filter_ = chunks_of(org, thread)
        found = (await self._store.js.stream_info(STREAM, subjects_filter=filter_)).state.subjects or {}
        for blob in sorted({subject.split(".")[5] for subject in found}):
            await self._metas.mark(Place(org, thread, blob))
        await self._metas.purge(filter_)

    async def _write(
        self, place: Place, there: Found, chunks: AsyncIterator[bytes], about: dict[str, str]
    ) -> ObjectInfo | None:
        """Write in the place of what was found; None where that is no longer there."""
        writing, guard = uuid.uuid4().hex, there.sequence
        if there.present is None:
            # Whatever becomes of this writer, somebody will look at what it announced.
            announced = await self._metas.replace(place, absent(place, writing), guard)
            if announced is None:
                return None
            guard = announced
        try:
            written = await self._write_chunks(place, writing, chunks, about)
        except BaseException:
            await self._abandon(place.chunks(writing))
            raise
        # Who is cancelled in here, or has no answer, may have written it: its chunks stay, or are swept.
        if await self._metas.replace(place, written, guard) is None:
            await self._abandon(place.chunks(writing))
            return None
        if there.present is not None:
            await self._abandon(place.chunks(there.present.writing))
        return written

    async def _abandon(self, chunks: str) -> None:
        # What stays goes with the thread, or is swept.
        with suppress(*UNCERTAIN):
            await self._metas.purge(chunks)

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
