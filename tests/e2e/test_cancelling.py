"""Cancel works wherever the run is, and every viewer sees its end."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from decopilot.contracts.events import Event, ThreadTitled
from decopilot.contracts.ids import OrgId, ThreadId
from support import eventlog
from support.stack import Stack, running_stack
from support.viewer import Api, Viewer

CANCEL_DEADLINE_S = 3.0
Measure = Callable[[str, object], None]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("cancelling")) as running:
        yield running


@pytest.fixture(scope="module")
def token(stack: Stack) -> str:
    return stack.token()


async def cancel(api: Api, thread: str, run: str | None = None) -> dict[str, Any]:
    body = None if run is None else {"runId": run}
    status, receipt = await api.call("POST", api.path(f"decopilot/cancel/{thread}"), body=body)
    assert 202 == status, receipt
    found: dict[str, Any] = receipt
    return found


async def events(stack: Stack, thread: str) -> list[Event]:
    """List what the log tells of the thread's runs; a title may come beside at any moment."""
    found = [recorded.event for recorded in await eventlog.events(stack, OrgId("local"), ThreadId(thread))]
    return [event for event in found if not isinstance(event, ThreadTitled)]


@asynccontextmanager
async def stopped(stack: Stack, service: str) -> AsyncIterator[None]:
    """Have no process of a service at work while the context is open."""
    pid = await asyncio.to_thread(stack.kill, service, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def sees_the_end(viewer: Viewer, run: str, since: float, record: Measure, situation: str) -> None:
    """Watch to the end: everything closed, `abort`, `finish`; what was said is kept."""
    await viewer.watch_run_through(deadline_s=20)
    record(f"cancel_{situation}_s", round(time.monotonic() - since, 2))
    assert ["data-run-end", "abort", "finish"] == [chunk["type"] for chunk in viewer.chunks[-3:]]
    assert {"runId": run, "status": "failed", "reason": "cancelled"} == viewer.chunks[-3]["data"]
    (message,) = viewer.messages.values()
    assert all(part.get("state") not in {"streaming", "input-streaming", "input-available"} for part in message.parts)


async def reaches(viewer: Viewer, kind: str) -> None:
    """Watch until a chunk of this type was seen; the viewer comes back later."""
    async with asyncio.timeout(20), viewer.attached() as chunks:
        async for chunk in chunks:
            if chunk["type"] == kind:
                return


async def is_cancelled(stack: Stack, thread: str, run: str) -> None:
    ends = [e for e in await events(stack, thread) if e.type.startswith("run_") and getattr(e, "run_id", "") == run]
    assert ("run_failed", "cancelled") == (ends[-1].type, getattr(ends[-1], "reason", None))


async def test_before_the_run_has_started(stack: Stack, api: Api, thread: str, record_property: Measure) -> None:
    async with stopped(stack, "runner"):
        _, accepted = await api.post(thread, "/count 100 20")
        at = time.monotonic()
        assert {"taskId": thread, "runId": accepted["runId"], "status": "cancelling"} == await cancel(api, thread)
        viewer = Viewer(stack.url, api.token, thread, cursor=accepted["cursor"])
        await sees_the_end(viewer, accepted["runId"], at, record_property, "before_the_start")
    await is_cancelled(stack, thread, accepted["runId"])
    assert "text-delta" not in {chunk["type"] for chunk in viewer.chunks}


async def test_while_it_runs_and_what_it_said_is_kept(
    stack: Stack, api: Api, thread: str, record_property: Measure
) -> None:
    _, accepted = await api.post(thread, "/count 2000 10")
    viewer = Viewer(stack.url, api.token, thread, cursor=accepted["cursor"])
    await reaches(viewer, "text-delta")
    at = time.monotonic()
    await cancel(api, thread, accepted["runId"])
    await sees_the_end(viewer, accepted["runId"], at, record_property, "running")
    await is_cancelled(stack, thread, accepted["runId"])
    messages, _ = await api.messages(thread)
    assert messages[-1]["parts"][-1]["text"].startswith("1")
    assert "cancelled" == messages[-1]["metadata"]["failureReason"]


async def test_while_its_runner_is_dead(stack: Stack, api: Api, thread: str, record_property: Measure) -> None:
    _, accepted = await api.post(thread, "/count 2000 10")
    viewer = Viewer(stack.url, api.token, thread, cursor=accepted["cursor"])
    await reaches(viewer, "text-delta")
    async with stopped(stack, "runner"):
        at = time.monotonic()
        await cancel(api, thread, accepted["runId"])
        await sees_the_end(viewer, accepted["runId"], at, record_property, "runner_dead")
    await is_cancelled(stack, thread, accepted["runId"])


async def test_while_a_tool_hangs(stack: Stack, api: Api, thread: str, record_property: Measure) -> None:
    _, accepted = await api.post(thread, "/slowtool 600")
    viewer = Viewer(stack.url, api.token, thread, cursor=accepted["cursor"])
    await reaches(viewer, "tool-input-available")
    at = time.monotonic()
    await cancel(api, thread, accepted["runId"])
    await sees_the_end(viewer, accepted["runId"], at, record_property, "tool_hangs")
    (message,) = viewer.messages.values()
    assert ["output-error"] == [part["state"] for part in message.parts if "toolCallId" in part]


async def test_though_whoever_heard_it_died_at_once(
    stack: Stack, api: Api, thread: str, record_property: Measure
) -> None:
    _, accepted = await api.post(thread, "/hang")
    viewer = Viewer(stack.url, api.token, thread, cursor=accepted["cursor"])
    await reaches(viewer, "text-delta")
    async with stopped(stack, "runner"):
        at = time.monotonic()
        await cancel(api, thread, accepted["runId"])
        for service in ("command", "gateway", "reactor"):
            await asyncio.to_thread(stack.kill, service)
    await sees_the_end(viewer, accepted["runId"], at, record_property, "all_hearers_dead")
    await is_cancelled(stack, thread, accepted["runId"])


async def test_of_an_idle_thread_or_a_run_that_has_ended_it_changes_nothing(
    stack: Stack, api: Api, thread: str
) -> None:
    _, accepted = await api.post(thread, "/count 3 0")
    viewer = Viewer(stack.url, api.token, thread, cursor=accepted["cursor"])
    await viewer.watch_run_through()
    before = await _settled(stack, thread)
    assert {"taskId": thread, "runId": None, "status": "idle"} == await cancel(api, thread)
    receipt = await cancel(api, thread, accepted["runId"])
    assert {"taskId": thread, "runId": accepted["runId"], "status": "completed"} == receipt
    assert before == await events(stack, thread)


async def _settled(stack: Stack, thread: str) -> list[Event]:
    async with asyncio.timeout(10):
        while (found := await events(stack, thread))[-1].type != "run_completed":
            await asyncio.sleep(0.05)
    return found
