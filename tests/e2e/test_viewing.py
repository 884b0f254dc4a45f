"""Viewers see exactly the chunks of a run, each once, in order, whatever happens to their connections."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable

import aiohttp

from support.stack import Stack
from support.viewer import Api, Viewer

COUNT = 5000
COUNTED = " ".join(map(str, range(1, COUNT + 1)))


async def test_viewers_that_drop_and_come_back_see_every_chunk_once_even_across_a_killed_gateway(
    stack: Stack, api: Api, thread: str
) -> None:
    chance = random.Random(5000)
    steady, dropping, killed = (Viewer(stack.url, api.token, thread) for _ in range(3))
    counting = asyncio.create_task(_post(api, thread, f"/count {COUNT} 0"))

    async def drop_often() -> None:
        while not await dropping.watch_run(at_most=chance.randint(1, 400)):
            pass

    async def outlive_the_gateway() -> None:
        assert not await killed.watch_run(at_most=chance.randint(500, 1500))
        pid = await asyncio.to_thread(stack.kill, "gateway", signal.SIGKILL)
        await asyncio.to_thread(stack.wait_ready, "gateway", not_pid=pid)
        await killed.watch_run_through()

    await asyncio.gather(counting, steady.watch_run_through(), _retrying(drop_often), outlive_the_gateway())

    for viewer in (steady, dropping, killed):
        ids = [id_ for id_, _ in viewer.seen]
        assert len(set(ids)) == len(ids)
        assert COUNTED == viewer.text
        assert viewer.seen == steady.seen
    messages, _ = await api.messages(thread)
    assert COUNTED == messages[-1]["parts"][-1]["text"]


async def test_attaching_first_shows_the_first_run_of_a_new_thread_from_its_start(
    stack: Stack, api: Api, thread: str
) -> None:
    viewer = Viewer(stack.url, api.token, thread)
    async with asyncio.timeout(20), viewer.attached() as chunks:
        status, _ = await api.post(thread, "/count 3 0")
        assert 202 == status
        async for chunk in chunks:
            if chunk["type"] == "finish":
                break
    assert "start" == viewer.chunks[0]["type"]
    assert "1 2 3" == viewer.text


async def test_one_connection_sees_run_after_run(stack: Stack, api: Api, thread: str) -> None:
    viewer = Viewer(stack.url, api.token, thread)
    async with asyncio.timeout(30), viewer.attached() as chunks:
        for number in (1, 2, 3):
            await _post(api, thread, f"/count {number} 0")
            async for chunk in chunks:
                if chunk["type"] == "finish":
                    break
    kinds = [chunk["type"] for chunk in viewer.chunks if chunk["type"] in {"start", "finish"}]
    assert ["start", "finish"] * 3 == kinds
    assert "11 21 2 3" == viewer.text


async def test_the_cursor_of_the_answer_to_a_post_shows_its_run_from_the_start(
    stack: Stack, api: Api, thread: str
) -> None:
    for number in (2, 3):
        _, accepted = await _post(api, thread, f"/count {number} 0")
        viewer = Viewer(stack.url, api.token, thread, cursor=accepted["cursor"])
        shown = ""
        while shown != accepted["runId"]:
            # Where the run before has its last chunk but no end yet, this one waits for it, and is shown behind it.
            viewer.seen.clear()
            await viewer.watch_run_through(deadline_s=20)
            shown = next(chunk["data"]["runId"] for chunk in viewer.chunks if chunk["type"] == "data-run")
        assert "start" == viewer.chunks[0]["type"]
        assert " ".join(map(str, range(1, number + 1))) == viewer.text


async def test_history_and_its_cursor_join_without_a_seam_while_a_run_goes_on(
    stack: Stack, api: Api, thread: str
) -> None:
    first = Viewer(stack.url, api.token, thread)
    await _post(api, thread, "/count 3 0")
    await first.watch_run_through(deadline_s=20)
    await api.settled(thread)
    await _post(api, thread, "/count 100 10")
    messages, cursor = await api.messages(thread)
    assert ["user", "assistant", "user"] == [message["role"] for message in messages]
    viewer = Viewer(stack.url, api.token, thread, cursor=cursor)
    await viewer.watch_run_through(deadline_s=20)
    assert " ".join(map(str, range(1, 101))) == viewer.text


async def _post(api: Api, thread: str, text: str) -> tuple[int, dict[str, str]]:
    # The run before may not have ended in the log yet, although its viewers saw its finish: then it waits its turn.
    status, body = await api.post(thread, text)
    assert 202 == status, body
    return status, body


async def _retrying(attempt: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                return await attempt()
            except (aiohttp.ClientError, ConnectionError):
                await asyncio.sleep(0.05)
