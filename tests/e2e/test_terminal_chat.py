"""`decopilot chat`: a conversation in the terminal, whatever dies meanwhile and whoever else talks in it."""

import asyncio
import os
import pty
import re
import signal
import sys
from pathlib import Path

import pytest
from textual.widgets import OptionList

from decopilot.cli.chat.session import Choice
from decopilot.cli.chat.views import Prompt
from decopilot.client import Client
from support.chatting import DEADLINE_S, chatting
from support.stack import DECOPILOT, Stack
from support.viewer import Api

COUNT = 300
COUNTED = " ".join(map(str, range(1, COUNT + 1)))
ASKS_FIRST = Choice(asks_first=True)


async def test_a_message_is_answered_as_it_comes_and_a_tool_is_shown_with_what_it_gave(
    stack: Stack, api: Api, thread: str
) -> None:
    async with chatting(stack, thread) as talker:
        await talker.say("/weather Oslo")
        await talker.sees("> /weather Oslo", "✓ get_weather", "In **Oslo** it is", "ready")
        await api.settled(thread)
        messages, _ = await api.messages(thread)
        assert [messages[-1]["parts"][-1]["text"]] == talker.answers


async def test_what_is_approved_is_done(stack: Stack, thread: str) -> None:
    async with chatting(stack, thread, ASKS_FIRST) as talker:
        await talker.sees("/help shows the commands")
        await talker.say("/delete the list")
        await talker.sees("Let it use delete_note?", '"name": "the list"', "it waits for you")
        await talker.say("perhaps")
        await talker.sees("Answer with y, n, or n and a reason")
        await talker.pilot.press("ctrl+c")
        await talker.say("y")
        await talker.sees("✓ delete_note", "I have deleted the list.", "ready")


async def test_what_is_denied_is_not_done_and_the_reason_is_kept(stack: Stack, thread: str) -> None:
    async with chatting(stack, thread, ASKS_FIRST) as talker:
        await talker.say("/delete the list")
        await talker.sees("Let it use delete_note?")
        await talker.say("n not mine")
        await talker.sees("✗ delete_note", "denied: not mine", "ready")
        assert "Let it use" not in talker.screen


async def test_a_question_is_answered_by_number_and_a_message_being_typed_is_no_answer(
    stack: Stack, thread: str
) -> None:
    ask = '/tool user_ask {"prompt": "Which one?", "type": "choice", "options": ["red", "blue"]}'
    async with chatting(stack, thread) as talker:
        await talker.say("/count 5000 20")
        await talker.sees("1 2 3 4")
        await talker.say(ask)
        await talker.sees("queued: /tool user_ask")
        talker.app.query_one(Prompt).insert("half a thought")
        await talker.pilot.press("escape")
        await talker.sees("It asks you", "Which one?", "1. red", "2. blue")
        await talker.say("2")
        await talker.sees("blue", "ready")
        await talker.until(lambda: talker.app.query_one(Prompt).text == "half a thought")


async def test_a_plan_is_shown_and_carried_out_once_approved(stack: Stack, thread: str) -> None:
    async with chatting(stack, thread, Choice(mode="plan")) as talker:
        await talker.say("/plan tidy up")
        await talker.sees("Carry this plan out?", "tidy up")
        await talker.say("y")
        await talker.until(lambda: talker.status.endswith("ready (/help)"), "the end")
        assert "✓ propose_plan" in talker.screen


@pytest.mark.parametrize("key", ["escape", "ctrl+c"])
async def test_an_answer_is_cancelled_by_a_key_and_what_it_said_is_kept(stack: Stack, thread: str, key: str) -> None:
    async with chatting(stack, f"{thread[:40]}-{key[:3]}") as talker:
        await talker.say("/count 5000 20")
        await talker.sees("1 2 3 4")
        await talker.pilot.press(key)
        await talker.sees("Cancelled: ", "ready")
        assert talker.answers[0].startswith("1 2 3 4")


async def test_messages_wait_in_line_can_be_taken_back_and_one_can_interrupt(stack: Stack, thread: str) -> None:
    async with chatting(stack, thread) as talker:
        await talker.say("/count 5000 20")
        await talker.sees("1 2 3 4")
        await talker.say("/count 3 0")
        await talker.sees("queued: /count 3 0")
        await talker.say("/count 7 0")
        await talker.sees("queued: /count 7 0")
        await talker.say("/back")
        await talker.until(
            lambda: talker.app.query_one(Prompt).text == "/count 7 0" and "queued: /count 7 0" not in talker.screen
        )
        await talker.pilot.press("ctrl+o")
        await talker.until(lambda: talker.answers[1:] == ["1 2 3 4 5 6 7", "1 2 3"], "both answers in their order")
        await talker.sees("Superseded: ", "ready")


async def test_who_comes_in_mid_answer_sees_the_same_and_so_does_whoever_comes_later(stack: Stack, thread: str) -> None:
    async with chatting(stack, thread) as one:
        await one.say("/count 3 0")
        await one.sees("1 2 3", "ready")
        await one.say(f"/count {COUNT} 50")
        await one.sees("1 2 3 4 5")
        async with chatting(stack, thread) as other:
            await other.sees("1 2 3 4 5", "answering")
            await one.until(lambda: one.answers == ["1 2 3", COUNTED], "the whole answer")
            await other.until(lambda: other.answers == ["1 2 3", COUNTED], "the whole answer")
            await one.sees("ready")
            await other.sees("ready")
            wanted = one.talk
            assert wanted == other.talk
    async with chatting(stack, thread) as later:
        await later.until(lambda: later.talk == wanted, "the same")


async def test_a_gateway_that_is_killed_in_mid_answer_costs_nothing_and_is_told(stack: Stack, thread: str) -> None:
    async with chatting(stack, thread) as talker:
        await talker.say(f"/count {COUNT} 20")
        await talker.sees("1 2 3 4 5")
        pid = await asyncio.to_thread(stack.kill, "gateway", signal.SIGKILL)
        await talker.sees("reconnecting in ")
        await talker.until(lambda: talker.answers == [COUNTED], "the whole answer")
        await talker.sees("ready")
        await asyncio.to_thread(stack.wait_ready, "gateway", not_pid=pid)


async def test_a_runner_that_is_killed_in_mid_answer_leaves_nothing_void_on_the_screen(
    stack: Stack, thread: str
) -> None:
    async with chatting(stack, thread) as talker:
        await talker.say(f"/count {COUNT} 20")
        await talker.sees("1 2 3 4 5")
        pid = await asyncio.to_thread(stack.kill, "runner", signal.SIGKILL)
        await talker.until(lambda: talker.answers == [COUNTED], "the whole answer")
        await talker.sees("ready")
        await asyncio.to_thread(stack.wait_ready, "runner", not_pid=pid)


async def test_a_message_that_got_no_answer_is_given_back_and_taken_once_when_it_is_sent_again(
    stack: Stack, api: Api, thread: str
) -> None:
    async with chatting(stack, thread, deadline_s=1) as talker:
        await asyncio.to_thread(stack.kill, "gateway", signal.SIGSTOP)
        try:
            await talker.say("/count 3 0")
            await talker.sees("it will not be taken twice")
            prompt = talker.app.query_one(Prompt)
            await talker.until(lambda: prompt.text == "/count 3 0", "given back")
        finally:
            await asyncio.to_thread(stack.kill, "gateway", signal.SIGCONT)
        # It answers again: the next try has a second, too.
        await api.get("decopilot/threads")
        await talker.pilot.press("enter")
        await talker.sees("1 2 3", "ready")
        await api.settled(thread)
        messages, _ = await api.messages(thread)
    assert ["user", "assistant"] == [message["role"] for message in messages]


async def test_what_models_tools_and_people_say_is_never_obeyed_by_the_terminal(
    stack: Stack, token: str, thread: str
) -> None:
    hostile = "a\x1b[2J\x1b]0;owned\x07\x9b31m \u202etxt.exe\u202c [bold red]x[/bold red] [@click=app.quit]y[/]"
    async with Client(stack.url, token, "local") as client:
        await client.run_and_wait(thread, hostile)
        await client.retitle(thread, f"{hostile[:60]}")
    async with chatting(stack, thread, ASKS_FIRST) as talker:
        await talker.sees("[bold red]x[/bold red]")
        await talker.say(f"/delete {hostile}")
        await talker.sees("Let it use delete_note?", "[@click=app.quit]y[/]")
        drawn = talker.drawn
        assert "[@click=app.quit]y[/]" in talker.screen
    assert not re.findall(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", drawn)
    # What the terminal is told is how to look, and nothing else.
    assert not [found for found in re.findall(r"\x1b(?!\[[0-9;]*m)", drawn) if found]


async def test_conversations_are_listed_opened_and_begun(stack: Stack, thread: str) -> None:
    async with chatting(stack, f"{thread[:40]}-a") as talker:
        await talker.say("/count 4 0")
        await talker.sees("1 2 3 4", "ready")
        await talker.say("/new")
        await talker.until(lambda: not talker.talk and talker.app.session.lost is None, "an empty conversation")
        await talker.say("/count 2 0")
        await talker.sees("1 2", "ready")
        await talker.say(f"/open {thread[:40]}-a")
        await talker.sees("1 2 3 4")
        first = talker.app.session.thread
        await talker.say("/threads")
        # It is there a moment before it takes keys.
        await talker.until(
            lambda: isinstance(talker.app.focused, OptionList) and talker.app.focused.highlighted is not None,
            "the list",
        )
        await talker.pilot.press("enter")
        await talker.until(lambda: len(talker.app.screen_stack) == 1 and talker.app.session.thread != first, "another")


async def test_the_picture_in_the_docs_shows_an_answer_and_a_call_that_waits(
    stack: Stack, thread: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    async with chatting(stack, thread, ASKS_FIRST) as talker:
        await talker.say("/weather Oslo")
        await talker.sees("In **Oslo** it is", "ready")
        await talker.say("/delete the old notes")
        await talker.sees("Let it use delete_note?", "it waits for you")
        talker.app.query_one(Prompt).insert("n they are not mine")
        await talker.pilot.resize_terminal(100, 26)
        await talker.pilot.pause()
        picture = talker.app.export_screenshot(title="decopilot chat")
    wanted = pytestconfig.getoption("--screenshot")
    path = Path(wanted) if wanted and wanted.endswith(".svg") else tmp_path / "chat.svg"
    # The font is the reader's: no page of the docs asks another host for one.
    await asyncio.to_thread(path.write_text, re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL), "utf-8")
    assert "delete_note" in picture


async def test_a_deleted_conversation_says_so(stack: Stack, token: str, thread: str) -> None:
    async with chatting(stack, thread) as talker, Client(stack.url, token, "local") as client:
        await talker.say("/count 2 0")
        await talker.sees("1 2", "ready")
        await client.delete(thread)
        await talker.sees("The conversation was deleted.")


def at_a_terminal(stack: Stack, *arguments: str) -> tuple[int, int]:
    """Start the command at a terminal of its own; returns its process id and our end."""
    pid, ours = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="100", LINES="30")
        os.execv(sys.executable, [*DECOPILOT, "chat", "--data-dir", str(stack.data_dir), *arguments])
    return pid, ours


async def read_until(ours: int, text: bytes, seen: bytearray) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while text not in re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", bytes(seen)):
            try:
                seen += await asyncio.to_thread(os.read, ours, 1 << 16)
            except OSError:  # what a terminal says when nobody writes to it any more
                raise AssertionError(seen.decode(errors="replace")) from None


async def test_the_command_itself_talks_at_a_real_terminal_and_is_left_with_its_run_going_on(
    stack: Stack, api: Api, thread: str
) -> None:
    pid, ours = await asyncio.to_thread(at_a_terminal, stack, "--thread", thread)
    seen = bytearray()
    await read_until(ours, b"ready (/help)", seen)
    os.write(ours, b"/count 5000 20\r")
    await read_until(ours, b"1 2 3 4", seen)
    os.write(ours, b"\x03")
    os.write(ours, b"\x03")
    await read_until(ours, f"Come back with: decopilot chat --thread {thread}".encode(), seen)
    assert 0 == os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1])
    os.close(ours)
    assert "failed" == (await api.settled(thread))["status"]


async def test_without_a_terminal_the_way_to_ask_is_told(stack: Stack, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *DECOPILOT, "chat", "--data-dir", str(stack.data_dir), stdin=-3, stdout=-1, stderr=-1, cwd=tmp_path
    )
    out, err = await process.communicate()
    assert (1, b"") == (process.returncode, out)
    assert b"decopilot run" in err
