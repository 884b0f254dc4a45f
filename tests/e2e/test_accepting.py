"""Posting is a command: accepted, refused or unavailable, and never half of it."""

import asyncio
import os
import signal
import time

import pytest

from decopilot.contracts.ids import OrgId, ThreadId
from support.eventlog import event_types
from support.freezing import freeze
from support.stack import Stack
from support.viewer import Api, Viewer

TEXT = {"type": "text", "text": "hello"}
GOOD = {"id": "m1", "role": "user", "parts": [TEXT]}
BAD_BODIES = {
    "not JSON": (b"{", "invalid_json"),
    "NaN": (b'{"messages": [{"role": "user", "parts": [{"type": "text", "text": NaN}]}]}', "invalid_json"),
    "half a character": (
        b'{"messages": [{"role": "user", "parts": [{"type": "text", "text": "\\ud800"}]}]}',
        "invalid_json",
    ),
    "a list": ([], "invalid_body"),
    "no messages": ({}, "invalid_body"),
    "empty messages": ({"messages": []}, "invalid_body"),
    "two user messages": ({"messages": [GOOD, GOOD]}, "invalid_body"),
    "system messages only": ({"messages": [{"role": "system", "parts": [TEXT]}]}, "invalid_body"),
    "no parts": ({"messages": [{"role": "user", "parts": []}]}, "invalid_body"),
    "a part without type": ({"messages": [{"role": "user", "parts": [{}]}]}, "invalid_body"),
    "a role of its own": ({"messages": [{"role": "root", "parts": [TEXT]}]}, "invalid_body"),
    "an id that is no subject token": ({"messages": [GOOD | {"id": "a.b"}]}, "invalid_body"),
    "an unknown tier": ({"messages": [GOOD], "tier": "godlike"}, "invalid_body"),
    "another thread": ({"messages": [GOOD], "thread_id": "other"}, "thread_mismatch"),
    "another thread in memory": ({"messages": [GOOD], "memory": {"thread_id": "other"}}, "thread_mismatch"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_gets_a_problem_with_a_stable_code_and_appends_nothing(
    stack: Stack, api: Api, thread: str, name: str
) -> None:
    body, code = BAD_BODIES[name]
    thread = f"bad-{list(BAD_BODIES).index(name)}"
    url = api.path(f"decopilot/threads/{thread}/messages")
    given = {"data": body} if isinstance(body, bytes) else {"body": body}
    status, problem = await api.call("POST", url, **given)
    assert (400, code) == (status, problem["code"])
    assert {"type", "title", "status", "code", "detail"} == problem.keys()
    assert [] == await event_types(stack, OrgId("local"), ThreadId(thread))


async def test_the_same_message_twice_is_one_run(stack: Stack, api: Api, thread: str) -> None:
    answers = await asyncio.gather(*(api.post(thread, "/count 3 0", message_id="m1") for _ in range(20)))
    assert {202} == {status for status, _ in answers}
    assert 1 == len({body["runId"] for _, body in answers})
    await Viewer(stack.url, api.token, thread, cursor="0-0").watch_run_through(deadline_s=20)
    status, again = await api.post(thread, "/count 3 0", message_id="m1")
    assert (202, answers[0][1]["runId"]) == (status, again["runId"])
    status, other = await api.post(thread, "something else", message_id="m1")
    assert (409, "message_conflict") == (status, other["code"])
    types = await event_types(stack, OrgId("local"), ThreadId(thread))
    assert ["run_requested", "run_started", "step_completed", "run_completed"] == types


async def test_a_second_message_while_a_run_goes_on_waits_its_turn_or_is_refused_as_it_wants(
    stack: Stack, api: Api, thread: str
) -> None:
    _, first = await api.post(thread, "/count 50 20")
    status, problem = await api.post(thread, "and now?", onConflict="reject")
    assert (409, "run_active") == (status, problem["code"])
    status, queued = await api.post(thread, "/count 3 0")
    assert (202, "queued") == (status, queued["status"])
    viewer = Viewer(stack.url, api.token, thread, cursor=first["cursor"])
    await viewer.watch_run_through(deadline_s=20)
    await viewer.watch_run_through(deadline_s=20)
    assert [first["runId"], queued["runId"]] == [
        chunk["data"]["runId"] for chunk in viewer.chunks if chunk["type"] == "data-run"
    ]


async def test_a_message_is_accepted_before_any_runner_has_begun(stack: Stack, api: Api, thread: str) -> None:
    await asyncio.to_thread(stack.kill, "runner", signal.SIGSTOP)
    try:
        status, _ = await api.post(thread, "/count 3 0")
        assert 202 == status
        assert ["run_requested"] == await event_types(stack, OrgId("local"), ThreadId(thread))
    finally:
        await asyncio.to_thread(stack.kill, "runner", signal.SIGCONT)
    viewer = Viewer(stack.url, api.token, thread, cursor="0-0")
    await viewer.watch_run_through(deadline_s=30)
    assert "1 2 3" == viewer.text


async def test_of_another_org_nothing_can_be_read_written_or_learned(stack: Stack, api: Api, thread: str) -> None:
    await api.post(thread, "/count 3 0")
    stranger = Api(stack.url, await asyncio.to_thread(stack.token, "elsewhere", "eve"))
    for method, rest in (
        ("GET", f"decopilot/threads/{thread}"),
        ("GET", "decopilot/threads/does-not-exist"),
        ("GET", f"decopilot/threads/{thread}/messages"),
        ("GET", f"decopilot/attach/{thread}"),
        ("GET", "watch"),
        ("GET", "decopilot/threads"),
        ("POST", f"decopilot/threads/{thread}/messages"),
    ):
        status, problem = await stranger.call(
            method, api.path(rest), body={"messages": [GOOD]} if method == "POST" else None
        )
        assert (403, "forbidden") == (status, problem["code"]), rest
    status, problem = await Api(stack.url, "nonsense").get("decopilot/threads")
    assert (401, "unauthenticated") == (status, problem["code"])


async def test_with_the_broker_gone_posting_is_unavailable_and_attached_viewers_go_on_after_its_return(
    stack: Stack, api: Api, thread: str
) -> None:
    viewer = Viewer(stack.url, api.token, thread)
    async with asyncio.timeout(90), viewer.attached() as chunks:
        await api.post(thread, "/count 400 20")
        async for chunk in chunks:
            if chunk.get("delta") == " 20":
                break
        supervisor = await asyncio.to_thread(stack.supervisor_pid)
        freeze(supervisor)
        try:
            await asyncio.to_thread(stack.kill, "nats", signal.SIGKILL)
            began = time.monotonic()
            status, problem = await api.post(f"{thread}-2", "hello")
            assert (503, "broker_unavailable") == (status, problem["code"])
            assert time.monotonic() - began < 5
            assert (503, 200) == (await _status(api, "readyz"), await _status(api, "livez"))
        finally:
            os.kill(supervisor, signal.SIGCONT)
        async for chunk in chunks:
            if chunk["type"] == "finish":
                break
    assert " ".join(map(str, range(1, 401))) == viewer.text
    ids = [id_ for id_, _ in viewer.seen]
    assert len(set(ids)) == len(ids)
    assert "stop" == viewer.chunks[-1]["finishReason"]


async def test_with_the_broker_hung_posting_is_unavailable_within_five_seconds(
    stack: Stack, api: Api, thread: str
) -> None:
    pid = await asyncio.to_thread(stack.kill, "nats", signal.SIGSTOP)
    try:
        began = time.monotonic()
        status, problem = await api.post(thread, "hello")
        assert (503, "broker_unavailable") == (status, problem["code"])
        assert time.monotonic() - began < 5
        assert (503, 200) == (await _status(api, "readyz"), await _status(api, "livez"))
    finally:
        os.kill(pid, signal.SIGCONT)


async def _status(api: Api, path: str) -> int:
    status, _ = await api.call("GET", f"{api.url}/{path}")
    return status
