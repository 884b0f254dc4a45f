"""`useChat` of every line of the AI SDK over our transport shows what history holds, whatever happens in mid-turn."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from decopilot.contracts.events import RunStarted
from decopilot.contracts.ids import OrgId, ThreadId
from support import eventlog
from support.stack import Stack, running_stack
from support.use_chat import LINES, Shown, UseChat, use_chat
from support.viewer import Api

pytestmark = [pytest.mark.node, pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

ORG = OrgId("local")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two runners, one of which may die."""
    with running_stack(tmp_path_factory.mktemp("use-chat"), "--scale", "runner=2") as running:
        yield running


@pytest.fixture(scope="module")
def token(stack: Stack) -> str:
    return stack.token()


@pytest.fixture
def thread(request: pytest.FixtureRequest) -> str:
    """A thread of the test's own, for each line."""
    return f"{str(request.node.name)[:40].partition('[')[0]}-{secrets.token_hex(4)}"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=LINES, ids=lambda line: f"ai{line}")
async def ai(stack: Stack, token: str, request: pytest.FixtureRequest) -> AsyncIterator[UseChat]:
    async with use_chat(request.param, stack.url, token) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everyone(stack: Stack, token: str) -> AsyncIterator[list[UseChat]]:
    async with AsyncExitStack() as opened:
        yield [await opened.enter_async_context(use_chat(line, stack.url, token)) for line in LINES]


def said(messages: list[dict[str, Any]], line: int) -> list[tuple[object, ...]]:
    """What a person sees of messages, as far as a line can know it."""
    return [
        (message["id"], message["role"], message.get("metadata"), [seen(part, line) for part in message["parts"]])
        for message in messages
    ]


def seen(part: dict[str, Any], line: int) -> dict[str, Any]:
    names = ("type", "text", "state", "toolCallId", "input", "output", "errorText", "data")
    shown = {name: part[name] for name in names if part.get(name) is not None}
    if line > 5 and "approval" in part:
        shown["approved"] = part["approval"].get("approved")
    return shown


async def in_history(api: Api, thread: str, line: int) -> list[tuple[object, ...]]:
    await api.settled(thread)
    messages, _ = await api.messages(thread)
    return said(messages, line)


async def assert_as_in_history(ai: UseChat, api: Api, thread: str, shown: Shown) -> None:
    assert "error" not in shown
    assert await in_history(api, thread, ai.line) == said(shown["messages"], ai.line)


async def test_a_whole_turn_and_the_next(ai: UseChat, api: Api, thread: str) -> None:
    await ai.do("mount", thread, thread=thread)
    await ai.do("send", thread, text="/weather Lisbon")
    shown = await ai.shows(thread, status="ready", finishes=1)
    assert ["ready", "submitted", "streaming", "ready"] == shown["statuses"]
    await ai.do("send", thread, text="/think about it")
    shown = await ai.shows(thread, status="ready", finishes=2)
    assert [{"isAbort": False, "isDisconnect": False, "isError": False}] * 2 == shown["finishes"]
    assert 4 == len(shown["messages"])
    await assert_as_in_history(ai, api, thread, shown)


async def test_an_answer_to_a_question_goes_on_in_the_same_message(ai: UseChat, api: Api, thread: str) -> None:
    await ai.do("mount", thread, thread=thread, automatic="tools")
    await ai.do("send", thread, text="/ask What is your name?")
    shown = await ai.shows(thread, status="ready", state="input-available")
    call = shown["messages"][-1]["parts"][-1]
    output = {"response": "Ada"}
    await ai.do("answer", thread, tool="user_ask", toolCallId=call["toolCallId"], output=output)
    shown = await ai.shows(thread, status="ready", finishes=2)
    assert "You answered: Ada" == shown["messages"][-1]["parts"][-1]["text"]
    assert 2 == len(shown["messages"])
    await assert_as_in_history(ai, api, thread, shown)


@pytest.mark.parametrize("approved", [True, False])
async def test_what_is_approved_is_done_and_what_is_denied_is_not(
    ai: UseChat, api: Api, thread: str, *, approved: bool
) -> None:
    if ai.line == 5:
        pytest.skip("`ai` 5 knows no approvals")
    readonly = {"body": {"toolApprovalLevel": "readonly"}}
    await ai.do("mount", thread, thread=thread, automatic="approvals", options=readonly)
    await ai.do("send", thread, text="/delete old.txt")
    shown = await ai.shows(thread, status="ready", state="approval-requested")
    approval = shown["messages"][-1]["parts"][-1]["approval"]
    await ai.do("approve", thread, id=approval["id"], approved=approved, reason="I say so")
    shown = await ai.shows(thread, status="ready", finishes=2)
    states = [part["state"] for part in shown["messages"][-1]["parts"] if "toolCallId" in part]
    assert ["output-available" if approved else "output-denied"] == states
    await assert_as_in_history(ai, api, thread, shown)


async def test_a_cancelled_run_ends_through_the_stream(ai: UseChat, api: Api, thread: str) -> None:
    await ai.do("mount", thread, thread=thread)
    await ai.do("send", thread, text="/count 2000 20")
    await ai.shows(thread, text=40)
    assert "cancelling" == await ai.do("cancel", thread)
    shown = await ai.shows(thread, status="ready", finishes=1)
    assert "cancelled" == shown["messages"][-1]["metadata"]["failureReason"]
    await assert_as_in_history(ai, api, thread, shown)


async def test_a_stop_cancels_only_where_it_is_said_to(ai: UseChat, api: Api, thread: str) -> None:
    await ai.do("mount", thread, thread=thread, options={"cancelOnAbort": True})
    await ai.do("mount", f"{thread}-on", thread=f"{thread}-on")
    for chat, text in ((thread, "/count 2000 20"), (f"{thread}-on", "/count 100 20")):
        await ai.do("send", chat, text=text)
        await ai.shows(chat, text=40)
        await ai.do("stop", chat)
        shown = await ai.shows(chat, status="ready", finishes=1)
        assert [{"isAbort": True, "isDisconnect": False, "isError": False}] == shown["finishes"]
    assert "failed" == (await api.settled(thread))["status"]
    assert "completed" == (await api.settled(f"{thread}-on"))["status"]


async def test_a_run_outlives_the_component_and_is_resumed_by_another(ai: UseChat, api: Api, thread: str) -> None:
    await ai.do("mount", thread, thread=thread)
    await ai.do("send", thread, text="/count 150 20")
    await ai.shows(thread, text=40)
    await ai.do("unmount", thread)
    await ai.do("mount", thread, thread=thread, load=True, resume=True)
    shown = await ai.shows(thread, status="ready", finishes=1)
    await assert_as_in_history(ai, api, thread, shown)
    assert "completed" == (await api.settled(thread))["status"]


async def test_a_run_that_ends_between_loading_and_resuming_is_not_missed(
    ai: UseChat, api: Api, stack: Stack, thread: str
) -> None:
    runners = [await asyncio.to_thread(stack.kill, "runner", signal.SIGSTOP, index) for index in (1, 2)]
    try:
        await api.post(thread, "/count 20 20")
        await ai.do("mount", thread, thread=thread, load=True)
    finally:
        for pid in runners:
            os.kill(pid, signal.SIGCONT)
    await api.settled(thread)
    await ai.do("resume", thread)
    shown = await ai.shows(thread, status="ready", finishes=1)
    await assert_as_in_history(ai, api, thread, shown)


async def test_a_second_tab_ends_with_the_same_messages(ai: UseChat, api: Api, thread: str) -> None:
    other = f"{thread}-tab"
    await ai.do("mount", thread, thread=thread)
    await ai.do("send", thread, text="/count 100 20")
    await ai.shows(thread, text=40)
    await ai.do("mount", other, thread=thread, load=True, resume=True)
    for tab in (thread, other):
        shown = await ai.shows(tab, status="ready", finishes=1)
        await assert_as_in_history(ai, api, thread, shown)


async def test_a_run_that_goes_on_with_an_answer_is_resumed_whole(
    ai: UseChat, api: Api, stack: Stack, thread: str
) -> None:
    await api.post(thread, "/delete old.txt", toolApprovalLevel="readonly")
    (pending,) = (await api.settled(thread))["pending"]
    await ai.do("mount", thread, thread=thread, load=True)
    resolution = {"approvalId": pending["id"], "approved": True}
    url = api.path(f"decopilot/threads/{thread}/interactions")
    runners = [await asyncio.to_thread(stack.kill, "runner", signal.SIGSTOP, index) for index in (1, 2)]
    try:
        status, body = await api.call("POST", url, body={"resolutions": [resolution]})
        assert (202, "in_progress") == (status, body["status"])
        await ai.do("resume", thread)
        await ai.shows(thread, reading=True)
    finally:
        for pid in runners:
            os.kill(pid, signal.SIGCONT)
    shown = await ai.shows(thread, status="ready", finishes=1)
    # Before `ai` 7 no chunk tells that a call was approved.
    line = ai.line if ai.line == 7 else 5
    assert await in_history(api, thread, line) == said(shown["messages"], line)


async def test_nothing_to_resume_leaves_a_chat_as_it_is(ai: UseChat, api: Api, thread: str) -> None:
    await ai.do("mount", thread, thread=thread, load=True, resume=True)
    await ai.do("send", thread, text="/count 3")
    await ai.shows(thread, data="data-run-end")
    shown = await ai.shows(thread, status="ready")
    await assert_as_in_history(ai, api, thread, shown)


async def test_a_message_waits_in_line_for_its_own_run(ai: UseChat, api: Api, thread: str) -> None:
    await api.post(thread, "/count 60 20")
    await ai.do("mount", thread, thread=thread, load=True)
    await ai.do("send", thread, text="/count 3")
    shown = await ai.shows(thread, status="ready", finishes=1)
    await api.settled(thread)
    messages, _ = await api.messages(thread)
    assert "1 2 3" == shown["messages"][-1]["parts"][-1]["text"]
    assert said(messages[2:], ai.line) == said(shown["messages"][1:], ai.line)


async def test_an_answer_is_made_anew_in_the_place_of_the_last(ai: UseChat, api: Api, thread: str) -> None:
    await ai.do("mount", thread, thread=thread)
    await ai.do("send", thread, text="/count 5")
    shown = await ai.shows(thread, status="ready", finishes=1)
    before = shown["messages"][-1]["id"]
    await ai.do("regenerate", thread)
    shown = await ai.shows(thread, status="ready", finishes=2)
    assert before != shown["messages"][-1]["id"]
    assert "data-messages-dropped" in shown["data"]
    await assert_as_in_history(ai, api, thread, shown)


async def test_a_message_whose_answer_gets_lost_is_one_run(ai: UseChat, api: Api, thread: str) -> None:
    await ai.do("mount", thread, thread=thread, lose=1)
    await ai.do("send", thread, text="/count 5")
    shown = await ai.shows(thread, status="ready", finishes=1)
    assert 2 == len(shown["messages"])
    await assert_as_in_history(ai, api, thread, shown)


async def test_a_message_of_which_nobody_knows_is_sent_again_by_regenerating(
    ai: UseChat, api: Api, thread: str
) -> None:
    await ai.do("mount", thread, thread=thread, lose=1, options={"patience_ms": 0})
    await ai.do("send", thread, text="/count 5")
    shown = await ai.shows(thread, status="error")
    assert "The answer was lost." == shown["error"]
    await ai.do("regenerate", thread)
    shown = await ai.shows(thread, status="ready", finishes=2)
    assert 2 == len(shown["messages"])
    await assert_as_in_history(ai, api, thread, shown)


async def test_a_run_that_fails_says_so_and_is_asked_for_anew_at_once(ai: UseChat, api: Api, thread: str) -> None:
    await ai.do("mount", thread, thread=thread)
    await ai.do("send", thread, text="/fail 5")
    for turn in (1, 2):
        shown = await ai.shows(thread, status="error", finishes=turn)
        messages = (await ai.shows(thread))["messages"]
        assert "word word word word word" == messages[-1]["parts"][-1]["text"]
        if turn == 1:
            await ai.do("regenerate", thread)
    history = await in_history(api, thread, ai.line)
    assert [entry[:2] for entry in history] == [entry[:2] for entry in said(shown["messages"], ai.line)]


async def test_a_refusal_says_why(ai: UseChat, thread: str) -> None:
    await ai.do("mount", thread, thread=thread, options={"body": {"agent": {"id": "nobody"}}})
    await ai.do("send", thread, text="hello")
    shown = await ai.shows(thread, status="error")
    assert "nobody" in shown["error"]


async def test_a_gateway_that_is_killed_in_mid_turn_ends_no_turn(
    everyone: list[UseChat], api: Api, stack: Stack, thread: str
) -> None:
    chats = {f"{thread}-{ai.line}": ai for ai in everyone}
    for chat, ai in chats.items():
        await ai.do("mount", chat, thread=chat)
        await ai.do("send", chat, text="/count 300 10")
    await asyncio.gather(*(ai.shows(chat, text=40) for chat, ai in chats.items()))
    pid = await asyncio.to_thread(stack.kill, "gateway")
    shown = {chat: await ai.shows(chat, status="ready", finished=True) for chat, ai in chats.items()}
    await asyncio.to_thread(stack.wait_ready, "gateway", not_pid=pid)
    for chat, ai in chats.items():
        assert ["ready", "submitted", "streaming", "ready"] == shown[chat]["statuses"]
        await assert_as_in_history(ai, api, chat, shown[chat])


async def test_runners_that_are_killed_in_mid_turn_double_nothing(
    everyone: list[UseChat], api: Api, stack: Stack, thread: str
) -> None:
    # Who is alone has nobody who resumes it; `ai` 7 does not need to.
    texts = {"count": "/count 500 20", "alone": "/count 500 20", "steps": "/steps 100"}
    lacking = {5: "steps", 6: "steps", 7: "alone"}
    chats = {
        f"{thread[:48]}-{ai.line}-{name}": (ai, text)
        for ai in everyone
        for name, text in texts.items()
        if lacking[ai.line] != name
    }
    runners = [await asyncio.to_thread(stack.pid, "runner", index) for index in (1, 2)]
    for chat, (ai, text) in chats.items():
        await ai.do("mount", chat, thread=chat, rewinds=chat.endswith("count"))
        await ai.do("send", chat, text=text)
    await asyncio.gather(*(ai.shows(chat, text=20) for chat, (ai, _) in chats.items()))
    for pid in runners:
        os.kill(pid, signal.SIGKILL)
    for chat, (ai, _) in chats.items():
        if chat.endswith("alone"):
            shown = await ai.shows(chat, status="error")
            assert "network connection" in shown["error"]
            await ai.do("resume", chat)
        shown = await ai.shows(chat, status="ready", finished=True, deadline_ms=80_000)
        await assert_as_in_history(ai, api, chat, shown)
        # How far the steps had come is left to chance.
        assert chat.endswith("steps") or await attempts(stack, chat) >= 2
        # `ai` 7 takes back what counts no more in the stream; the others end the turn and are told the answer anew.
        if ai.line == 7:
            assert ["ready", "submitted", "streaming", "ready"] == shown["statuses"]


async def attempts(stack: Stack, thread: str) -> int:
    """Tell how often runners began the thread's run."""
    found = await eventlog.events(stack, ORG, ThreadId(thread))
    return sum(isinstance(recorded.event, RunStarted) for recorded in found)
