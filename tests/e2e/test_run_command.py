"""`decopilot run`: one question from a shell, and an exit code that says how it ended, whatever dies meanwhile."""

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from support.services import until
from support.stack import DECOPILOT, Stack
from support.viewer import Api

CLIENT_PAGE = Path(__file__).parents[2] / "docs" / "client.md"
DEADLINE_S = 60
COUNT = 300
COUNTED = " ".join(map(str, range(1, COUNT + 1)))


@dataclass(frozen=True, slots=True)
class Ended:
    """How the command ended, and what it printed."""

    code: int
    out: str
    err: str


async def start(stack: Stack, thread: str, *arguments: str) -> Process:
    command = [*DECOPILOT, "run", "--data-dir", str(stack.data_dir), "--thread", thread, *arguments]
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)


async def end(process: Process, said: str | None = None) -> Ended:
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate(None if said is None else said.encode())
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def run(stack: Stack, thread: str, *arguments: str, said: str | None = None) -> Ended:
    return await end(await start(stack, thread, *arguments), said)


async def answer(stack: Stack, thread: str, *arguments: str) -> Ended:
    command = [*DECOPILOT, "answer", "--data-dir", str(stack.data_dir), "--thread", thread, *arguments]
    return await end(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE))


async def told(ended: Ended, what: str, text: str = "") -> Ended:
    """Run the command that is told for something, with a text in the place of its dots."""
    (line,) = [line for line in ended.err.splitlines() if line.startswith(f"{what}: decopilot ")]
    command = [*DECOPILOT, *shlex.split(line.partition(": decopilot ")[2].replace("…", text))]
    return await end(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE))


async def answered(api: Api, thread: str, letters: int) -> None:
    """Wait until the active run has said so much."""
    url, headers = api.path(f"decopilot/attach/{thread}"), {"Authorization": f"Bearer {api.token}"}
    text = ""
    async with (
        asyncio.timeout(DEADLINE_S),
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers) as response,
    ):
        async for line in response.content:
            text += "".join(re.findall(rb'"delta":"(.*?)"', line)[0].decode() if b"text-delta" in line else "")
            if len(text) >= letters:
                return


async def test_an_answer_is_printed_and_nothing_else_and_0_says_that_it_is_whole(stack: Stack, thread: str) -> None:
    assert Ended(0, "1 2 3 4 5\n", "") == await run(stack, thread, "/count 5 0")


async def test_a_question_comes_from_stdin_too(stack: Stack, thread: str) -> None:
    assert Ended(0, "1 2 3\n", "") == await run(stack, thread, "-", said="/count 3 0\n")


async def test_without_a_thread_a_new_one_is_named(stack: Stack, api: Api) -> None:
    process = await asyncio.create_subprocess_exec(
        *DECOPILOT, "run", "--data-dir", str(stack.data_dir), "/count 2 0", stdout=PIPE, stderr=PIPE
    )
    ended = await end(process)
    assert (0, "1 2\n") == (ended.code, ended.out)
    messages, _ = await api.messages(ended.err.removeprefix("thread ").strip())
    assert ["user", "assistant"] == [message["role"] for message in messages]


async def test_as_json_the_whole_message_is_told_at_the_end(stack: Stack, api: Api, thread: str) -> None:
    ended = await run(stack, thread, "--json", "/weather Oslo")
    told = json.loads(ended.out)
    messages, _ = await api.messages(thread)
    assert (0, "", "completed", None, []) == (
        ended.code,
        ended.err,
        told["status"],
        told["reason"],
        told["pending"],
    )
    assert messages[-1] == told["message"]
    assert told["runId"].startswith("run_")


async def test_a_question_to_the_user_is_2_and_says_how_to_answer(stack: Stack, thread: str) -> None:
    ended = await run(stack, thread, "/ask Which one?")
    assert 2 == ended.code, ended
    assert "Waits for an answer to user_ask" in ended.err
    answered = await told(ended, "Answer with", "the red one")
    assert Ended(0, "You answered: the red one\n", "") == answered


async def test_a_tool_that_needs_approval_is_2_and_the_answer_that_is_told_is_one(stack: Stack, thread: str) -> None:
    ended = await run(stack, thread, "--tool-approval", "readonly", "/delete the list")
    assert 2 == ended.code, ended
    assert "Waits for approval of delete_note" in ended.err
    assert Ended(0, "I have deleted the list.\n", "") == await told(ended, "Answer with")


async def test_what_is_denied_is_not_done_and_the_reason_is_kept(stack: Stack, api: Api, thread: str) -> None:
    assert 2 == (await run(stack, thread, "--tool-approval", "readonly", "/delete the list")).code
    denied = await answer(stack, thread, "--deny", "--reason", "not mine", "--json")
    result = json.loads(denied.out)
    assert (0, "", "completed") == (denied.code, denied.err, result["status"])
    messages, _ = await api.messages(thread)
    (call,) = [part for part in messages[-1]["parts"] if "toolCallId" in part]
    assert ("output-denied", "not mine") == (call["state"], call["approval"]["reason"])


async def test_where_nothing_waits_or_waits_for_something_else_an_answer_is_refused(stack: Stack, thread: str) -> None:
    assert 0 == (await run(stack, thread, "/count 2 0")).code
    nothing = await answer(stack, thread, "--approve")
    assert Ended(1, "", f"Thread {thread} waits for nothing.\n") == nothing
    assert 2 == (await run(stack, thread, "/ask Which one?")).code
    wrong = await answer(stack, thread, "--approve")
    assert Ended(1, "", "It waits for an answer: give --output.\n") == wrong


async def test_as_json_a_refusal_and_a_time_limit_are_told_as_well(stack: Stack, thread: str) -> None:
    process = await start(stack, thread, "--json", "--timeout", "2", "/hang")
    late = await end(process)
    refused = await run(stack, thread, "--json", "--on-conflict", "reject", "/count 3 0")
    assert (1, "timeout", None) == (late.code, json.loads(late.out)["status"], json.loads(late.out)["reason"])
    assert json.loads(late.out)["runId"].startswith("run_")
    assert late.err == json.loads(late.out)["detail"] + "\n"
    assert (1, "error", "run_active") == (
        refused.code,
        json.loads(refused.out)["status"],
        json.loads(refused.out)["reason"],
    )
    assert 1 == refused.err.count("\n")
    assert 0 == (await run(stack, thread, "--on-conflict", "interrupt", "/count 3 0")).code


async def test_a_thread_that_was_never_made_is_not_named(stack: Stack) -> None:
    command = [*DECOPILOT, "run", "--data-dir", str(stack.data_dir), "--token", "wrong", "/count 2 0"]
    ended = await end(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE))
    assert (1, "", 1) == (ended.code, ended.out, ended.err.count("\n"))
    assert "(unauthenticated)" in ended.err


async def test_when_nobody_reads_any_more_the_command_leaves_quietly_and_its_run_goes_on(
    stack: Stack, api: Api, thread: str
) -> None:
    ours, theirs = os.pipe()
    command = [*DECOPILOT, "run", "--data-dir", str(stack.data_dir), "--thread", thread, "/steps 3 /note tea"]
    process = await asyncio.create_subprocess_exec(*command, stdout=theirs, stderr=PIPE)
    os.close(theirs)
    os.close(ours)
    async with asyncio.timeout(DEADLINE_S):
        _, err = await process.communicate()
    assert (141, b"") == (process.returncode, err)
    after = await run(stack, thread, "/count 2 0")
    messages, _ = await api.messages(thread)
    assert Ended(0, "1 2\n", "") == after
    assert messages[1]["parts"][-1]["text"].startswith("Those were 3 steps: 3 calls were done")


async def test_the_program_in_the_page_of_the_client_runs_as_it_stands(stack: Stack, tmp_path: Path) -> None:
    page = CLIENT_PAGE.read_text(encoding="utf-8")
    program, line = (page.partition(f"```{language}\n")[2].partition("```")[0] for language in ("python", "sh"))
    assert ":8080" in program
    # As beside a clone in which `make up` runs; only the port differs.
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    (tmp_path / ".decopilot").symlink_to(stack.data_dir)
    (tmp_path / "tidy.py").write_text(program.replace(":8080", f":{stack.port}"), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        "bash", "-eu", "-c", line, cwd=tmp_path, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    assert Ended(0, "completed None I have deleted the old notes.\n", "") == await end(process)


async def test_a_run_that_failed_is_3_with_what_there_was_of_the_answer(stack: Stack, thread: str) -> None:
    ended = await run(stack, thread, "/fail 3")
    assert (3, "word word word\n") == (ended.code, ended.out)
    assert ended.err.startswith("Error: ")
    assert 1 == ended.err.count("\n")


async def test_ctrl_c_cancels_the_run_and_4_says_so(stack: Stack, api: Api, thread: str) -> None:
    process = await start(stack, thread, "/count 5000 20")
    await answered(api, thread, 20)
    process.send_signal(signal.SIGINT)
    ended = await end(process)
    assert 4 == ended.code, ended
    assert ended.out.startswith("1 2 3 4")
    assert "Cancelled: " in ended.err
    assert "failed" == (await api.settled(thread))["status"]


async def test_a_second_ctrl_c_leaves_a_run_whose_end_does_not_come(stack: Stack, api: Api, thread: str) -> None:
    enders = ("runner", "reactor")
    for service in enders:
        await asyncio.to_thread(stack.kill, service, signal.SIGSTOP)
    try:
        process = await start(stack, thread, "/count 3 0")
        await _is_there(api, thread)
        async with asyncio.timeout(DEADLINE_S):
            while process.returncode is None:
                process.send_signal(signal.SIGINT)
                await asyncio.sleep(0.2)
        ended = await end(process)
    finally:
        for service in enders:
            await asyncio.to_thread(stack.kill, service, signal.SIGCONT)
    assert (130, "") == (ended.code, ended.out)
    assert "Left; a run that was accepted goes on" in ended.err


async def test_a_run_that_another_message_interrupts_is_4(stack: Stack, api: Api, thread: str) -> None:
    process = await start(stack, thread, "/count 5000 20")
    await answered(api, thread, 20)
    newer = await run(stack, thread, "--on-conflict", "interrupt", "/count 3 0")
    ended = await end(process)
    assert (0, "1 2 3\n") == (newer.code, newer.out)
    assert 4 == ended.code, ended
    assert "Superseded: " in ended.err


async def test_a_message_for_a_busy_thread_waits_its_turn_or_is_refused_with_1(
    stack: Stack, api: Api, thread: str
) -> None:
    async def waits() -> bool:
        _, body = await api.get(f"decopilot/threads/{thread}/queue")
        return bool(body["queue"])

    process = await start(stack, thread, "/count 5000 20")
    await answered(api, thread, 20)
    refused = await run(stack, thread, "--on-conflict", "reject", "/count 3 0")
    queued = await start(stack, thread, "/count 3 0")
    await until(waits)
    await api.call("POST", api.path(f"decopilot/cancel/{thread}"))
    ended = await end(queued)
    assert (1, "", 1) == (refused.code, refused.out, refused.err.count("\n"))
    assert "(run_active)" in refused.err
    assert (0, "1 2 3\n") == (ended.code, ended.out)
    assert 4 == (await end(process)).code


@pytest.mark.parametrize("service", ["gateway", "runner", "command", "nats"])
async def test_whoever_is_killed_meanwhile_the_whole_answer_is_printed_once(
    stack: Stack, api: Api, service: str
) -> None:
    thread = f"run-kill-{service}"
    process = await start(stack, thread, f"/count {COUNT} 10")
    await answered(api, thread, 100)
    pid = await asyncio.to_thread(stack.kill, service)
    ended = await end(process)
    assert (0, COUNTED + "\n") == (ended.code, ended.out), ended.err
    await asyncio.to_thread(stack.wait_ready, service, not_pid=pid)


async def test_a_terminal_shows_the_answer_as_it_comes_and_says_what_a_takeover_made_void(
    stack: Stack, api: Api, thread: str
) -> None:
    mine, theirs = os.openpty()
    # Looked up before: the answer takes three seconds, however long that takes.
    runner = await asyncio.to_thread(stack.pid, "runner")
    process = await asyncio.create_subprocess_exec(
        *DECOPILOT,
        "run",
        "--data-dir",
        str(stack.data_dir),
        "--thread",
        thread,
        f"/count {COUNT} 10",
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    reading = asyncio.create_task(asyncio.to_thread(_read_all, mine))
    await answered(api, thread, 100)
    os.kill(runner, signal.SIGKILL)
    async with asyncio.timeout(DEADLINE_S):
        assert 0 == await process.wait()
        shown = (await reading).replace("\r\n", "\n")
    os.close(mine)
    before, said, after = shown.partition("is void.")
    assert said, shown
    assert before.startswith("1 2 3 4 5")
    assert COUNTED in after


def _read_all(descriptor: int) -> str:
    data = b""
    while True:
        try:
            piece = os.read(descriptor, 1 << 16)
        except OSError:  # what a terminal says when nobody writes to it any more
            return data.decode()
        if not piece:
            return data.decode()
        data += piece


async def _is_there(api: Api, thread: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while (await api.get(f"decopilot/threads/{thread}"))[0] != 200:
            await asyncio.sleep(0.05)
