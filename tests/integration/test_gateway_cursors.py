"""Attaching at a cursor: exactly what is behind it, or an explicit reset and then what the reset names."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import astuple

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.chunks import RESET, THREAD_DELETED
from decopilot.contracts.frames import Cursor
from decopilot.contracts.ids import ThreadId
from decopilot.log.chunklog import ChunkLog
from decopilot.log.store import Store
from support.gateways import ORG, Run, read_run, running_gateway, until, whole_run
from support.measuring import measured
from support.viewer import Chunk, Viewer

THREAD = "t1"
FUTURE = "999999999999999999-0"


@pytest.mark.parametrize("cursor", ["0-0", "2-0", "5-0", "99-0"])
async def test_of_an_erased_thread_a_viewer_is_told_once_and_given_nothing_that_is_still_remembered(
    own_broker: EmbeddedBroker, store: Store, cursor: str
) -> None:
    end = await whole_run(store, THREAD, "abc")
    async with running_gateway(own_broker.url) as gateway:
        present = gateway.viewer(THREAD, "0-0")
        async with asyncio.timeout(10), present.attached() as chunks:
            await read_run(chunks)
            await whole_run(store, THREAD, "def", 2, previous=end)
            await read_run(chunks)
            await ChunkLog(store).erase(ORG, ThreadId(THREAD))
            for _ in range(2):
                assert THREAD_DELETED == (await anext(chunks))["type"]
            late = gateway.viewer(THREAD, cursor)
            async with late.attached() as told:
                assert [RESET, THREAD_DELETED] == [(await anext(told))["type"] for _ in range(2)]
            assert present.cursor == late.cursor
            again = gateway.viewer(THREAD, late.cursor)
            async with again.attached() as silence:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(silence), 0.3)


async def test_who_had_all_of_a_thread_is_led_on_to_its_deletion_and_is_reset_once_however_often_cut_off(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with Run(store, THREAD) as run:
        await run.start("a")
        end = await run.seal(*({"type": "text-end", "id": str(number)} for number in range(3)))
    await ChunkLog(store).erase(ORG, ThreadId(THREAD))
    async with running_gateway(own_broker.url) as gateway:
        viewer = gateway.viewer(THREAD, f"{end}-2")
        async with asyncio.timeout(10), viewer.attached() as told:
            assert RESET == (await anext(told))["type"]
            behind_reset = viewer.seen[0][0]
            assert THREAD_DELETED == (await anext(told))["type"]
        assert (end, 2) < _position(behind_reset) < _position(viewer.cursor)
        cut_off = gateway.viewer(THREAD, behind_reset)
        async with asyncio.timeout(10), cut_off.attached() as told:
            assert THREAD_DELETED == (await anext(told))["type"]


async def test_who_was_told_of_a_deletion_in_the_middle_of_erasing_is_told_the_rest_without_a_reset(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    end = await whole_run(store, THREAD, "abc")
    await whole_run(store, THREAD, "def", 2, previous=end)
    chunks = ChunkLog(store)
    async with running_gateway(own_broker.url) as gateway:
        async with Run(store, THREAD) as first:
            assert await chunks._empty(ORG, ThreadId(THREAD), first.run_id)  # noqa: SLF001  no further than the first
        viewer = gateway.viewer(THREAD)
        async with asyncio.timeout(10), viewer.attached() as told:
            assert THREAD_DELETED == (await anext(told))["type"]
        await chunks.erase(ORG, ThreadId(THREAD))
        async with asyncio.timeout(10), viewer.attached() as told:
            assert THREAD_DELETED == (await anext(told))["type"]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(told), 0.3)
    assert [THREAD_DELETED] * 2 == _kinds(viewer)


@pytest.mark.parametrize("cursor", ["0-0", "1-1", "7-1", None])
async def test_of_a_thread_that_is_being_erased_nothing_is_given_though_some_of_it_is_still_there(
    own_broker: EmbeddedBroker, store: Store, cursor: str | None
) -> None:
    end = await whole_run(store, THREAD, "abc def")
    await whole_run(store, THREAD, "secret", 2, previous=end)
    body = b'{"type": "thread_deleted", "at": "2026-01-02T03:04:05Z", "user_id": "ann"}'
    await store.publish(subjects.EVENTS_STREAM, subjects.event(ORG, ThreadId(THREAD), "thread_deleted"), body)
    async with Run(store, THREAD) as first:
        # What erasing a thread does, run by run, and no further than the first.
        assert await ChunkLog(store)._empty(ORG, ThreadId(THREAD), first.run_id)  # noqa: SLF001
    async with running_gateway(own_broker.url) as gateway:
        viewer = gateway.viewer(THREAD, cursor)
        async with asyncio.timeout(10), viewer.attached() as chunks:
            assert THREAD_DELETED == (await _behind_a_reset(chunks))["type"]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(chunks), 0.3)
    assert "" == viewer.text


async def _behind_a_reset(chunks: AsyncIterator[Chunk]) -> Chunk:
    first = await anext(chunks)
    return await anext(chunks) if first["type"] == RESET else first


async def test_who_comes_to_an_erased_thread_without_a_cursor_is_told_that_it_is_deleted(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    await whole_run(store, THREAD, "abc")
    await ChunkLog(store).erase(ORG, ThreadId(THREAD))
    async with running_gateway(own_broker.url) as gateway:
        viewer = gateway.viewer(THREAD)
        async with asyncio.timeout(10), viewer.attached() as chunks:
            assert THREAD_DELETED == (await anext(chunks))["type"]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(chunks), 0.3)


@pytest.mark.parametrize("before", ["nothing", "a run", "an expired run", "an active run"])
@pytest.mark.parametrize("form", ["full", "message"])
async def test_who_is_cut_off_before_its_first_chunk_misses_no_run_either(
    own_broker: EmbeddedBroker, store: Store, before: str, form: str
) -> None:
    end, number = 0, 1
    if before != "nothing":
        end, number = await whole_run(store, THREAD, "abc"), 2
    if before == "an expired run":
        await store.js.purge_stream(subjects.CHUNKS_STREAM)
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD, number, previous=end) as run:
        if before == "an active run":
            await run.start("de")
        viewer = gateway.viewer(THREAD, replay=form)
        async with asyncio.timeout(10), viewer.attached() as chunks:
            reading = asyncio.ensure_future(anext(chunks))
            await until(lambda: viewer.cursor)
            reading.cancel()
            await asyncio.wait([reading])
        if before == "an active run":
            viewer.cursor = viewer.raw.split(b"id: ")[1].split(b"\n")[0].decode()
            viewer.seen.clear()
        assert f"{end}-0" == viewer.cursor
        await (run.start("") if before != "an active run" else run.say("f"))
        await run.say("ghi")
        end = await run.finish()
        async with asyncio.timeout(10), viewer.attached() as chunks:
            await read_run(chunks)
    assert ("defghi" if before == "an active run" else "ghi") == viewer.text
    assert "start" == viewer.chunks[0]["type"]


@pytest.mark.parametrize("cursor", ["0-0", None, "1-0"])
async def test_of_a_deleted_thread_nothing_is_given_though_nobody_has_erased_it_yet(
    own_broker: EmbeddedBroker, store: Store, cursor: str | None
) -> None:
    await whole_run(store, THREAD, "abc")
    body = b'{"type": "thread_deleted", "at": "2026-01-02T03:04:05Z", "user_id": "ann"}'
    subject = subjects.event(ORG, ThreadId(THREAD), "thread_deleted")
    await store.publish(subjects.EVENTS_STREAM, subject, body)
    async with running_gateway(own_broker.url) as gateway:
        late = gateway.viewer(THREAD, cursor)
        async with asyncio.timeout(10), late.attached() as chunks:
            assert RESET == (await anext(chunks))["type"]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(chunks), 0.3)
        async with asyncio.timeout(10), gateway.viewer(THREAD, late.cursor).attached() as silence:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(silence), 0.3)


async def test_every_cursor_of_a_run_continues_exactly_behind_its_chunk(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    await whole_run(store, THREAD, "abc d ef")
    async with running_gateway(own_broker.url) as gateway:
        whole = gateway.viewer(THREAD, "0-0")
        await whole.watch_run_through()
        assert ["start", "text-start", *["text-delta"] * 6, "finish"] == _kinds(whole)
        for place, (cursor, _) in enumerate(whole.seen[:-1]):
            rest = gateway.viewer(THREAD, cursor)
            await rest.watch_run_through()
            assert whole.seen[place + 1 :] == rest.seen


async def test_behind_the_last_chunk_of_a_run_the_stream_waits_for_the_next_run(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    end = await whole_run(store, THREAD, "abc")
    async with running_gateway(own_broker.url) as gateway:
        viewer = gateway.viewer(THREAD, f"{end}-0")
        async with viewer.attached() as chunks:
            await whole_run(store, THREAD, "def", 2, previous=end)
            await read_run(chunks)
    assert "def" == viewer.text
    assert "start" == viewer.chunks[0]["type"]


async def test_without_a_cursor_the_stream_starts_at_the_active_run_and_ignores_the_ones_before(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    end = await whole_run(store, THREAD, "abc")
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD, 2, previous=end) as run:
        await run.start("de")
        viewer = gateway.viewer(THREAD)
        async with viewer.attached() as chunks:
            await run.say("f")
            await run.finish()
            await read_run(chunks)
    assert "def" == viewer.text
    assert "start" == viewer.chunks[0]["type"]


async def test_one_stream_goes_on_across_runs_from_a_cursor_in_the_first(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    end = await whole_run(store, THREAD, "abc")
    await whole_run(store, THREAD, "def", 2, previous=end)
    async with running_gateway(own_broker.url) as gateway:
        viewer = gateway.viewer(THREAD, "2-0")
        async with viewer.attached() as chunks:
            await read_run(chunks)
            await read_run(chunks)
    assert "bcdef" == viewer.text


@pytest.mark.parametrize("cursor", ["x", "1", "1-", "-1", "1-2-3", "1.0-0", "-1-0", "٣-0", "1" * 19 + "-0", "1-%200"])
async def test_a_malformed_cursor_is_refused(own_broker: EmbeddedBroker, store: Store, cursor: str) -> None:
    del store
    async with running_gateway(own_broker.url) as gateway:
        status, problem = await gateway.api.get(f"decopilot/attach/{THREAD}?cursor={cursor}")
    assert (400, "invalid_cursor") == (status, problem["code"])


@pytest.mark.parametrize("cursor", [FUTURE, "4-999", "0-5", "of another thread"])
async def test_a_cursor_that_never_was_is_reset_to_the_history_of_its_own_thread(
    own_broker: EmbeddedBroker, store: Store, cursor: str
) -> None:
    await whole_run(store, "other", "secret")
    before = await whole_run(store, THREAD, "abc")
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD, 2, previous=before) as run:
        await run.record_request()
        await run.start("de")
        viewer = gateway.viewer(THREAD, "2-0" if cursor == "of another thread" else cursor)
        async with viewer.attached() as chunks:
            await run.finish()
            await read_run(chunks)
        _, history = await gateway.api.messages(THREAD)
    assert (f"{before}-0", _reset(f"{before}-0", "cursor")) == viewer.seen[0]
    assert f"{before}-0" == history
    assert "de" == viewer.text


async def test_a_cursor_into_a_purged_run_is_reset_behind_it(own_broker: EmbeddedBroker, store: Store) -> None:
    end = await whole_run(store, THREAD, "abc def")
    await _purge(store, 1)
    async with running_gateway(own_broker.url) as gateway:
        purged, exact = gateway.viewer(THREAD, "2-1"), gateway.viewer(THREAD, f"{end}-0")
        async with purged.attached() as after_reset, exact.attached() as continued:
            await whole_run(store, THREAD, "ghi", 2, previous=end)
            await asyncio.gather(read_run(after_reset), read_run(continued))
    assert _reset(f"{end}-0", "cursor") == purged.chunks[0]
    assert purged.chunks[1:] == exact.chunks
    assert "ghi" == exact.text


async def test_from_the_beginning_of_a_purged_thread_the_stream_is_reset_too(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    end = await whole_run(store, THREAD, "abc def")
    await _purge(store, 1)
    async with running_gateway(own_broker.url) as gateway:
        viewer = gateway.viewer(THREAD, "0-0")
        async with viewer.attached() as chunks:
            assert _reset(f"{end}-0", "hole") == await anext(chunks)


async def test_when_the_chunks_have_expired_the_last_cursor_still_holds_and_earlier_ones_are_reset(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    end = await whole_run(store, THREAD, "abc")
    await store.js.purge_stream(subjects.CHUNKS_STREAM)
    async with running_gateway(own_broker.url) as gateway:
        last, earlier = gateway.viewer(THREAD, f"{end}-0"), gateway.viewer(THREAD, f"{end - 1}-0")
        async with last.attached() as continued, earlier.attached() as after_reset:
            assert _reset(f"{end}-0", "cursor") == await anext(after_reset)
            await whole_run(store, THREAD, "def", 2, previous=end)
            await asyncio.gather(read_run(continued), read_run(after_reset))
    assert "def" == last.text == earlier.text
    assert "start" == last.chunks[0]["type"]


async def test_the_last_event_id_wins_over_the_cursor_of_the_url(own_broker: EmbeddedBroker, store: Store) -> None:
    await whole_run(store, THREAD, "abc def")
    async with running_gateway(own_broker.url) as gateway:
        viewer = gateway.viewer(f"{THREAD}?cursor=0-0", "2-2")
        await viewer.watch_run_through()
    assert "def" == viewer.text


async def test_a_thread_that_nobody_knows_yet_is_attached_and_waits(own_broker: EmbeddedBroker, store: Store) -> None:
    async with running_gateway(own_broker.url) as gateway:
        fresh, from_start = gateway.viewer(THREAD), gateway.viewer(THREAD, "0-0")
        async with fresh.attached() as first, from_start.attached() as second:
            await whole_run(store, THREAD, "abc")
            await asyncio.gather(read_run(first), read_run(second))
    assert "abc" == fresh.text
    assert fresh.seen == from_start.seen


async def test_a_frame_lost_in_mid_run_resets_once_and_the_stream_goes_on(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run:
        await run.record_request()
        await run.start("a")
        await run.say("b")
        await run.say("c")
        await store.js.delete_msg(subjects.CHUNKS_STREAM, 2)
        newcomer, at_hole = gateway.viewer(THREAD), gateway.viewer(THREAD, "1-2")
        with measured() as counted:
            async with newcomer.attached() as first, at_hole.attached() as second:
                await asyncio.gather(_read_until_reset(first), _read_until_reset(second))
                await run.say("d")
                await run.finish()
                await asyncio.gather(read_run(first), read_run(second))
    assert "ad" == newcomer.text
    assert "d" == at_hole.text
    told = 0
    for viewer in (newcomer, at_hole):
        resets = [chunk for chunk in viewer.chunks if chunk["type"] == "data-thread-reset"]
        assert [_reset("0-0", "hole"), _reset("3-0", "hole")][-len(resets) :] == resets
        told += len(resets)
    assert told == counted["decopilot.viewer.resets"]["hole"]


async def test_a_run_that_lost_its_first_frame_is_shown_from_the_newest_on_with_a_reset(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run:
        await run.start("a")
        await run.say("b")
        await store.js.delete_msg(subjects.CHUNKS_STREAM, 1)
        viewer = gateway.viewer(THREAD)
        async with viewer.attached() as chunks:
            assert _reset("2-0", "hole") == await anext(chunks)
            await run.say("c")
            await run.finish()
            await read_run(chunks)
    assert "c" == viewer.text


async def test_two_gateways_serve_one_cursor_alike(own_broker: EmbeddedBroker, store: Store) -> None:
    async with (
        running_gateway(own_broker.url) as one,
        running_gateway(own_broker.url) as two,
        Run(store, THREAD) as run,
    ):
        await run.start("abc")
        viewer = one.viewer(THREAD)
        assert not await viewer.watch_run(at_most=3)
        viewer.url = two.url
        await run.finish()
        assert await viewer.watch_run()
    assert "abc" == viewer.text
    assert ["1-0", "1-1", "1-2", "1-3", "1-4", "2-0"] == [id_ for id_, _ in viewer.seen]


def _position(cursor: str | None) -> tuple[int, ...]:
    return astuple(Cursor.parse(cursor or ""))


def _kinds(viewer: Viewer) -> list[str]:
    return [chunk["type"] for chunk in viewer.chunks]


def _reset(cursor: str, reason: str) -> Chunk:
    return {"type": "data-thread-reset", "data": {"cursor": cursor, "reason": reason}, "transient": True}


async def _purge(store: Store, number: int) -> None:
    async with Run(store, THREAD, number) as run:
        await ChunkLog(store).purge(ORG, ThreadId(THREAD), run.run_id)


async def _read_until_reset(chunks: AsyncIterator[Chunk]) -> None:
    async with asyncio.timeout(10):
        async for chunk in chunks:
            if chunk["type"] == "data-thread-reset" and chunk["data"]["cursor"] == "3-0":
                return
