"""Blobs: written whole or not at all, read from anywhere, and gone with their thread, whoever was still writing."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.blobs import BlobConflictError, BlobDamagedError, BlobNotFoundError, Blobs
from decopilot.log.objects import CHUNK_BYTES, STREAM, Place
from decopilot.log.store import Store

ORG, THREAD, BLOB = OrgId("org"), ThreadId("thread"), "blob"
PLACE = Place(ORG, THREAD, BLOB)
MUCH = random.Random(1).randbytes(3 * CHUNK_BYTES + 17)


@pytest.fixture
def blobs(store: Store) -> Blobs:
    return Blobs(store)


async def pieces(data: bytes, size: int = 50_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def chunks_left(store: Store) -> int:
    found = (await store.js.stream_info(STREAM, subjects_filter=f"$O.{subjects.BLOBS_BUCKET}.C.>")).state.subjects
    return sum((found or {}).values())


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
@pytest.mark.parametrize("is_streamed", [False, True], ids=["bytes", "stream"])
async def test_what_is_put_is_read(blobs: Blobs, size: int, is_streamed: bool) -> None:  # noqa: FBT001
    data = MUCH[:size]
    put = await blobs.put(ORG, THREAD, BLOB, pieces(data) if is_streamed else data, media_type="text/plain", name="a.b")
    assert data == await blobs.read(ORG, THREAD, BLOB)
    assert put == await blobs.info(ORG, THREAD, BLOB)
    assert (size, "text/plain", "a.b") == (put.size, put.media_type, put.name)


@pytest.mark.parametrize("offset", [0, 5, CHUNK_BYTES, 2 * CHUNK_BYTES + 3, len(MUCH) - 1, len(MUCH), len(MUCH) + 9])
async def test_reading_begins_anywhere(blobs: Blobs, offset: int) -> None:
    await blobs.put(ORG, THREAD, "other", MUCH[:CHUNK_BYTES])
    await blobs.put(ORG, THREAD, BLOB, MUCH)
    assert MUCH[offset:] == b"".join([piece async for piece in blobs.stream(ORG, THREAD, BLOB, offset=offset)])


async def test_any_client_of_the_object_store_reads_it(store: Store, blobs: Blobs) -> None:
    await blobs.put(ORG, THREAD, BLOB, MUCH)
    bucket = await store.js.object_store(subjects.BLOBS_BUCKET)
    assert ["org/thread/blob"] == [info.name for info in await bucket.list(ignore_deletes=True)]
    assert MUCH == (await bucket.get("org/thread/blob")).data


async def test_what_is_not_there_is_not_found(blobs: Blobs) -> None:
    await blobs.put(ORG, THREAD, BLOB, MUCH)
    for org, thread, blob in (("else", THREAD, BLOB), (ORG, "else", BLOB), (ORG, THREAD, "else")):
        assert await blobs.info(OrgId(org), ThreadId(thread), blob) is None
        with pytest.raises(BlobNotFoundError):
            await blobs.read(OrgId(org), ThreadId(thread), blob)


async def test_an_id_that_can_be_no_subject_is_refused(blobs: Blobs) -> None:
    for blob in ("", "a.b", "*", ">", "a b", "x" * 65):
        with pytest.raises(ValueError, match="a blob's id"):
            await blobs.put(ORG, THREAD, blob, b"")


async def test_the_same_bytes_again_are_the_same_blob_that_looks_younger(store: Store, blobs: Blobs) -> None:
    first = await blobs.put(ORG, THREAD, BLOB, MUCH)
    again = await blobs.put(ORG, THREAD, BLOB, MUCH)
    renewed = await blobs.renew(ORG, THREAD, BLOB)
    assert renewed is not None
    assert first.written_at < again.written_at < renewed.written_at
    assert first.digest == again.digest == renewed.digest
    assert 4 == await chunks_left(store)


async def test_other_bytes_take_the_place_of_the_first(store: Store, blobs: Blobs) -> None:
    await blobs.put(ORG, THREAD, BLOB, MUCH)
    await blobs.put(ORG, THREAD, BLOB, b"other")
    assert b"other" == await blobs.read(ORG, THREAD, BLOB)
    assert 1 == await chunks_left(store)


async def test_of_those_who_put_the_same_at_once_each_is_told_so(store: Store, blobs: Blobs) -> None:
    put = await asyncio.gather(*(blobs.put(ORG, THREAD, BLOB, MUCH) for _ in range(5)))
    assert 1 == len({blob.digest for blob in put})
    assert MUCH == await blobs.read(ORG, THREAD, BLOB)
    assert 4 == await chunks_left(store)


async def test_a_stream_that_was_overtaken_is_told_so_and_leaves_nothing(store: Store, blobs: Blobs) -> None:
    async def overtaken() -> AsyncIterator[bytes]:
        yield MUCH
        await blobs.put(ORG, THREAD, BLOB, b"other")

    with pytest.raises(BlobConflictError):
        await blobs.put(ORG, THREAD, BLOB, overtaken())
    assert b"other" == await blobs.read(ORG, THREAD, BLOB)
    assert 1 == await chunks_left(store)


async def test_what_breaks_off_leaves_no_blob_and_no_chunks(store: Store, blobs: Blobs) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield MUCH
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await blobs.put(ORG, THREAD, BLOB, broken())
    assert await blobs.info(ORG, THREAD, BLOB) is None
    assert 0 == await chunks_left(store)


async def test_whoever_is_cancelled_as_the_blob_is_there_leaves_it_whole(
    store: Store, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = store.publish

    async def cancelled(stream: str, subject: str, body: bytes, *rest: Any, **more: Any) -> int:  # noqa: ANN401
        sequence = await publish(stream, subject, body, *rest, **more)
        if b'"deleted":false' in body:
            raise asyncio.CancelledError
        return sequence

    monkeypatch.setattr(store, "publish", cancelled)
    with pytest.raises(asyncio.CancelledError):
        await blobs.put(ORG, THREAD, BLOB, MUCH)
    monkeypatch.undo()
    assert MUCH == await blobs.read(ORG, THREAD, BLOB)


async def test_erasing_a_thread_erases_its_blobs_and_no_others(store: Store, blobs: Blobs) -> None:
    other = ThreadId("thread2")
    for blob in ("a", "b", "empty"):
        await blobs.put(ORG, THREAD, blob, b"" if blob == "empty" else MUCH)
    await blobs.put(ORG, other, "a", MUCH)
    for _ in range(2):
        await blobs.erase(ORG, THREAD)
        assert [None] * 3 == [await blobs.info(ORG, THREAD, blob) for blob in ("a", "b", "empty")]
        assert MUCH == await blobs.read(ORG, other, "a")
        assert 4 == await chunks_left(store)


async def test_whoever_writes_while_the_thread_is_erased_is_refused_and_leaves_nothing(
    store: Store, blobs: Blobs
) -> None:
    async def held_up() -> AsyncIterator[bytes]:
        yield MUCH
        await blobs.erase(ORG, THREAD)
        yield MUCH

    with pytest.raises(BlobConflictError):
        await blobs.put(ORG, THREAD, BLOB, held_up())
    assert await blobs.info(ORG, THREAD, BLOB) is None
    assert 0 == await chunks_left(store)


async def test_whoever_reads_what_is_erased_is_told_so(blobs: Blobs) -> None:
    data = MUCH * 4
    await blobs.put(ORG, THREAD, BLOB, data)
    reading = blobs.stream(ORG, THREAD, BLOB)
    await anext(reading)
    await blobs.erase(ORG, THREAD)
    with pytest.raises(BlobNotFoundError):
        assert data == b"".join([piece async for piece in reading])


async def test_what_is_damaged_is_not_taken_for_whole(store: Store, blobs: Blobs) -> None:
    await blobs.put(ORG, THREAD, BLOB, b"as it was")
    there = await store.last(STREAM, PLACE.meta)
    assert there is not None
    await store.publish(STREAM, PLACE.meta, there.data.replace(b'"digest":"SHA-256=', b'"digest":"SHA-256=AAAA'))
    with pytest.raises(BlobDamagedError):
        await blobs.read(ORG, THREAD, BLOB)


async def test_who_copies_a_blob_at_the_same_time_as_others_has_it_too(store: Store, blobs: Blobs) -> None:
    target = ThreadId("target")
    for number in range(5):
        await blobs.put(ORG, THREAD, f"b{number}", MUCH)
        copies = await asyncio.gather(*(Blobs(store).copy(ORG, THREAD, target, f"b{number}") for _ in range(3)))
        assert [len(MUCH)] * 3 == [0 if copy is None else copy.size for copy in copies]
        assert MUCH == await blobs.read(ORG, target, f"b{number}")
