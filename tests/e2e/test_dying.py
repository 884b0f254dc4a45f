"""No run is lost: what a person sees when runners, and all else, are killed in the middle of an answer."""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from decopilot.contracts.events import Event, RunStarted, ThreadTitled
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.topology import ACK_WAIT_S
from support import eventlog
from support.stack import Stack, running_stack
from support.viewer import Api, Viewer

ORG = OrgId("local")
IDLE_LIMIT_S = 2.0


@pytest.fixture(scope="module")
def demo_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, demo_dir: Path) -> Iterator[Stack]:
    """Two runners, and notes that can be counted."""
    told = {"DECOPILOT_DEMO_DIR": str(demo_dir)}
    with running_stack(tmp_path_factory.mktemp("dying"), "--scale", "runner=2", env=told) as running:
        yield running


@pytest.fixture(scope="module")
def token(stack: Stack) -> str:
    return stack.token()


async def until_seen(viewer: Viewer, kind: str, count: int, deadline_s: float = 20) -> None:
    """Wait until the viewer has seen so many chunks of a type."""
    async with asyncio.timeout(deadline_s):
        while sum(chunk["type"] == kind for chunk in viewer.chunks) < count:
            await asyncio.sleep(0.005)


async def events(stack: Stack, thread: str) -> list[Event]:
    """List what the log tells of the thread's runs; a title may come beside at any moment."""
    found = [recorded.event for recorded in await eventlog.events(stack, ORG, ThreadId(thread))]
    return [event for event in found if not isinstance(event, ThreadTitled)]


async def kill_driver(stack: Stack, thread: str) -> None:
    """Kill the runner that drives the thread's run."""
    started = [event for event in await events(stack, thread) if isinstance(event, RunStarted)]
    pid = int(started[-1].runner_id.rpartition("-")[2])
    os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def watched(*viewers: Viewer) -> AsyncIterator[None]:
    """Let viewers watch a run through, and wait for them."""
    async with asyncio.timeout(60):
        tasks = [asyncio.create_task(viewer.watch_run_through()) for viewer in viewers]
        yield
        await asyncio.gather(*tasks)


async def test_every_viewer_of_a_killed_runners_count_ends_with_one_message_that_counts_to_its_end(
    stack: Stack, api: Api, thread: str, record_property: Callable[[str, object], None]
) -> None:
    counted = " ".join(map(str, range(1, 2001)))
    taking_back = Viewer(stack.url, api.token, thread, rewind=True)
    plain = Viewer(stack.url, api.token, thread)
    async with watched(taking_back, plain):
        await api.post(thread, "/count 2000 5")
        await until_seen(taking_back, "text-delta", 300)
        await kill_driver(stack, thread)
        killed_at, seen = time.monotonic(), len(taking_back.seen)
        async with asyncio.timeout(30):
            while len(taking_back.seen) <= seen + 5:
                await asyncio.sleep(0.005)
        took_s = time.monotonic() - killed_at
        await until_seen(taking_back, "data-run-rewind", 1)
    record_property("kill_to_next_chunk_s", round(took_s, 2))
    assert took_s < ACK_WAIT_S + 2
    late = Viewer(stack.url, api.token, thread, cursor="0-0")
    await late.watch_run_through()
    for viewer in (taking_back, plain, late):
        texts = [message.text for message in viewer.messages.values()]
        assert [counted] == texts
        assert "finish" == viewer.chunks[-1]["type"]
    await api.settled(thread)
    messages, _ = await api.messages(thread)
    assert counted == messages[-1]["parts"][-1]["text"]
    assert 1 == sum(event.type == "run_completed" for event in await events(stack, thread))


async def test_each_note_of_a_killed_runners_steps_is_taken_once(
    stack: Stack, api: Api, thread: str, demo_dir: Path
) -> None:
    viewer = Viewer(stack.url, api.token, thread, rewind=True)
    async with watched(viewer):
        await api.post(thread, "/steps 10 /note milk")
        await until_seen(viewer, "tool-output-available", 4)
        await kill_driver(stack, thread)
    noted = await asyncio.to_thread(notes, demo_dir, "milk")
    while (thread_now := await api.settled(thread))["status"] == "requires_action":
        # The one that was in flight is in doubt, and the user is asked; he looks.
        (pending,) = thread_now["pending"]
        is_there = pending["toolCallId"] in {note["call"] for note in noted}
        _, cursor = await api.messages(thread)
        following = Viewer(stack.url, api.token, thread, cursor=cursor, rewind=True)
        fact = {"approvalId": pending["id"], "approved": not is_there}
        url = api.path(f"decopilot/threads/{thread}/interactions")
        status, body = await api.call("POST", url, body={"resolutions": [fact]})
        assert 202 == status, body
        await following.watch_run_through()
        noted = await asyncio.to_thread(notes, demo_dir, "milk")
    assert "completed" == thread_now["status"]
    assert [f"milk {number}" for number in range(1, 11)] == sorted(
        (note["text"] for note in noted), key=lambda text: int(re.findall(r"\d+", text)[0])
    )


def notes(demo_dir: Path, word: str) -> list[dict[str, Any]]:
    lines = (demo_dir / "notes.jsonl").read_text().splitlines()
    return [note for line in lines if word in (note := json.loads(line)).get("text", "")]


async def test_a_run_that_hangs_is_timed_out_though_every_runner_and_reactor_was_killed_meanwhile(
    tmp_path: Path, thread: str, record_property: Callable[[str, object], None]
) -> None:
    limits = {"DECOPILOT_IDLE_LIMIT_S": str(IDLE_LIMIT_S)}
    with running_stack(tmp_path, "--scale", "runner=2,reactor=2", env=limits) as stack:
        api = Api(stack.url, stack.token())
        viewer = Viewer(stack.url, api.token, thread, rewind=True)
        async with watched(viewer):
            await api.post(thread, "/hang")
            await until_seen(viewer, "text-delta", 1)
            await asyncio.sleep(1)  # not to wait for something: the run hangs for half its limit
            before = {row["pid"] for row in stack.ps()}
            for service in ("runner", "reactor"):
                for index in (1, 2):
                    await asyncio.to_thread(stack.kill, service, signal.SIGKILL, index)
            for service in ("runner", "reactor"):
                await asyncio.to_thread(stack.wait_ready, service, not_pid=min(before))
            back_at = time.monotonic()
            await until_seen(viewer, "finish", 1, 30)
            took_s = time.monotonic() - back_at
        await api.settled(thread)
        end = (await events(stack, thread))[-1]
    record_property("return_to_end_s", round(took_s, 2))
    assert took_s < IDLE_LIMIT_S + 5
    assert ("run_failed", "timed_out") == (end.type, getattr(end, "reason", None))
    assert ["data-run-end", "error", "finish"] == [chunk["type"] for chunk in viewer.chunks[-3:]]
