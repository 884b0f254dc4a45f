"""What is purged and what is deleted is gone, and nobody who was there has missed anything."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from decopilot.contracts import subjects
from decopilot.contracts.frames import Frame
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.kit.connection import connected
from decopilot.log.chunklog import ChunkLog
from decopilot.log.store import Store
from support import eventlog
from support.services import until
from support.stack import Stack, running_stack
from support.viewer import Api, Viewer

ORG = OrgId("local")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    limits = {"DECOPILOT_PURGE_GRACE_S": "1", "DECOPILOT_ERASE_AGAIN_S": "2"}
    with running_stack(tmp_path_factory.mktemp("erasing"), env=limits) as running:
        yield running


@pytest.fixture(scope="module")
def token(stack: Stack) -> str:
    return stack.token()


@asynccontextmanager
async def store_of(stack: Stack) -> AsyncIterator[Store]:
    async with connected(stack.operator, "test") as nc, Store(nc) as store:
        yield store


async def frames_of(store: Store, thread: str, run: str) -> list[Frame]:
    chunks = ChunkLog(store)
    last = await chunks.last_of_run(ORG, ThreadId(thread), RunId(run))
    return [] if last is None else await chunks.of_run(ORG, ThreadId(thread), RunId(run), until=last.sequence)


async def test_a_purged_run_leaves_one_frame_and_nobody_who_watched_has_missed_anything(
    stack: Stack, api: Api, thread: str
) -> None:
    throughout = Viewer(stack.url, api.token, thread)
    async with store_of(stack) as store, asyncio.timeout(40), throughout.attached() as chunks:
        _, first = await api.post(thread, "/ask Which colour?")
        async for chunk in chunks:
            if chunk["type"] == "finish":
                break
        middle = throughout.seen[len(throughout.seen) // 2][0]

        async def is_purged() -> bool:
            return len(await frames_of(store, thread, first["runId"])) == 1

        await until(is_purged)
        assert "requires_action" == (await api.get(f"decopilot/threads/{thread}"))[1]["status"]
        _, second = await api.post(thread, "/count 5 0")
        async for chunk in chunks:
            if chunk["type"] == "finish":
                break
    runs = [chunk["data"]["runId"] for chunk in throughout.chunks if chunk["type"] == "data-run"]
    assert [first["runId"], second["runId"]] == runs
    assert throughout.text.endswith("1 2 3 4 5")
    assert "data-thread-reset" not in {chunk["type"] for chunk in throughout.chunks}
    late = Viewer(stack.url, api.token, thread, cursor=middle)
    async with asyncio.timeout(20), late.attached() as chunks:
        async for chunk in chunks:
            assert "data-thread-reset" == chunk["type"]
            break


async def test_a_thread_that_is_deleted_while_its_runner_sleeps_stays_empty_when_that_wakes_up(
    stack: Stack, api: Api, thread: str
) -> None:
    secret = "the-colour-of-my-cat"
    viewer = Viewer(stack.url, api.token, thread)
    _, accepted = await api.post(thread, f"/count 2000 5\n{secret}")
    async with asyncio.timeout(20), viewer.attached() as chunks:
        async for chunk in chunks:
            if chunk["type"] == "text-delta":
                break
    await api.post(thread, f"and {secret} again")
    runner = await asyncio.to_thread(stack.kill, "runner", signal.SIGSTOP)
    try:
        status, receipt = await api.call("DELETE", api.path(f"decopilot/threads/{thread}"))
        assert (202, "deleted") == (status, receipt["status"])
        await viewer.watch_run_through()
        async with store_of(stack) as store:

            async def is_empty() -> bool:
                return [
                    b"data-thread-deleted" in f.body for f in await frames_of(store, thread, accepted["runId"])
                ] == [True]

            await until(is_empty)
            os.kill(runner, signal.SIGCONT)

            async def runner_is_idle() -> bool:
                info = await store.js.consumer_info(subjects.EVENTS_STREAM, subjects.RUNNER_CONSUMER)
                return bool(info.num_ack_pending == 0)

            await until(runner_is_idle)

            async def is_erased_again() -> bool:
                info = await store.js.consumer_info(subjects.EVENTS_STREAM, subjects.JANITOR_CONSUMER)
                return bool(info.num_ack_pending == 0)

            await until(is_erased_again)
            assert await is_empty()
            for stream in (
                subjects.EVENTS_STREAM,
                subjects.CHUNKS_STREAM,
                subjects.WATCH_STREAM,
                f"KV_{subjects.THREADS_BUCKET}",
                f"KV_{subjects.MESSAGES_BUCKET}",
            ):
                async for batch in store.read(stream, ">", 0):
                    assert [] == [stored.subject for stored in batch if secret.encode() in stored.data]
    finally:
        os.kill(runner, signal.SIGCONT)
    assert ["data-run-end", "abort", "finish"] == [
        c["type"] for c in viewer.chunks if c["type"] != "data-thread-deleted"
    ][-3:]
    types = await eventlog.event_types(stack, ORG, ThreadId(thread))
    assert ["thread_deleted", "run_failed"] == types
    assert 404 == (await api.get(f"decopilot/threads/{thread}/messages"))[0]
    assert 404 == (await api.post(thread, "anybody there?"))[0]
    assert thread not in {found["id"] for found in (await api.get("decopilot/threads"))[1]["threads"]}
