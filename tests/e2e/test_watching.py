"""Watchers of an org are told what its threads do: in order, once, and never before it can be read."""

import asyncio
import signal
from contextlib import aclosing

from decopilot.client import Client, Connected, WatchEvent
from support.stack import Stack
from support.viewer import Api
from support.watcher import Told, watching

RUN_TYPES = "decopilot.thread.status,decopilot.step,decopilot.finish"
"""A thread may be titled at any time beside."""
RUN_TOLD = [
    ("decopilot.thread.status", {"status": "in_progress"}),
    ("decopilot.step", {"stepCount": 1}),
    ("decopilot.thread.status", {"status": "completed"}),
    ("decopilot.finish", {"status": "completed"}),
]


async def test_a_run_is_told_in_order_and_its_finish_when_all_of_it_can_be_read(api: Api, thread: str) -> None:
    told: list[Told] = []
    async with asyncio.timeout(30), watching(api, RUN_TYPES) as watcher:
        await watcher.next()
        await api.post(thread, "/count 3 0")
        while len(told) < len(RUN_TOLD):
            event = await watcher.next()
            if event.data["subject"] == thread:
                told.append(event)
        _, view = await api.get(f"decopilot/threads/{thread}")
        _, listed = await api.get("decopilot/threads")
        messages, _ = await api.messages(thread)
    assert RUN_TOLD == [(event.name, event.data["data"]) for event in told]
    assert all({"id", "type", "source", "subject", "data", "time"} == event.data.keys() for event in told)
    assert "completed" == view["status"]
    assert "completed" == next(entry["status"] for entry in listed["threads"] if entry["id"] == thread)
    assert "1 2 3" == messages[-1]["parts"][-1]["text"]


async def test_a_watcher_whose_gateway_is_killed_misses_nothing_and_hears_nothing_twice(
    stack: Stack, api: Api, token: str, thread: str
) -> None:
    told: list[WatchEvent] = []
    connections: list[bool] = []
    async with (
        asyncio.timeout(60),
        Client(stack.url, token, "local") as client,
        aclosing(client.watch(RUN_TYPES.split(","))) as events,
    ):
        async for event in events:
            if isinstance(event, Connected):
                connections.append(event.resumed)
                if not told:
                    for number in range(4):
                        await api.post(f"{thread}-{number}", "/count 100 20")
            elif event.subject.startswith(thread):
                told.append(event)
                if len(told) == 3:
                    killed = await asyncio.to_thread(stack.kill, "gateway", signal.SIGKILL)
                    await asyncio.to_thread(stack.wait_ready, "gateway", not_pid=killed)
                    # However slowly all this goes, something is yet to be told.
                    await api.post(f"{thread}-4", "/count 100 20")
            if len(told) == 5 * len(RUN_TOLD):
                break
    assert connections[:2] == [False, True]
    for number in range(5):
        of_one = [event for event in told if event.subject == f"{thread}-{number}"]
        assert RUN_TOLD == [(event.type, event.data) for event in of_one]
    cursors = [int(event.cursor) for event in told]
    assert sorted(set(cursors)) == cursors
