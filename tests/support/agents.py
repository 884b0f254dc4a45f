"""Agents for tests: `obey` does what the user's message names."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decopilot.agent import AgentError, AgentRequest
from decopilot.contracts.chunks import Chunk
from support import faults

faults.arm()

SECRET = "hunter2"


@dataclass(slots=True)
class Stage:
    """What a test and an agent in the same process share."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[str] = field(default_factory=list)


stage = Stage()


def text(words: str, block: str = "t") -> list[Chunk]:
    """Make the chunks of a text."""
    deltas: list[Chunk] = [{"type": "text-delta", "id": block, "delta": word} for word in words.split(" ")]
    return [{"type": "text-start", "id": block}, *deltas, {"type": "text-end", "id": block}]


async def obey(request: AgentRequest) -> AsyncGenerator[Chunk, None]:
    """Do what the last message says: the name of an act, and its arguments."""
    name, *arguments = request.history[-1].text.split(" ")
    async for chunk in ACTS[name](request, *arguments):
        yield chunk


Act = Callable[..., AsyncGenerator[Any, None]]


async def say(_: AgentRequest, *words: str) -> AsyncGenerator[Chunk, None]:
    yield {"type": "start-step"}
    for chunk in text(" ".join(words)):
        yield chunk
    yield {"type": "message-metadata", "messageMetadata": {"usage": {"inputTokens": 2, "outputTokens": len(words)}}}
    yield {"type": "finish-step"}


async def count(_: AgentRequest, upto: str, delay_ms: str) -> AsyncGenerator[Chunk, None]:
    """Count aloud, slowly, with a tool call open all the while."""
    yield {"type": "start-step"}
    yield {"type": "tool-input-available", "toolCallId": "c1", "toolName": "counter", "input": {}}
    yield {"type": "text-start", "id": "t"}
    for number in range(int(upto)):
        yield {"type": "text-delta", "id": "t", "delta": f"{number} "}
        await asyncio.sleep(int(delay_ms) / 1000)
    yield {"type": "text-end", "id": "t"}
    yield {"type": "tool-output-available", "toolCallId": "c1", "output": "done"}
    yield {"type": "finish-step"}


async def wait_then_yield(_: AgentRequest, kind: str) -> AsyncGenerator[Chunk, None]:
    """Wait for the gate, yield a chunk that has an effect behind it, and have the effect."""
    yield {"type": "start-step"}
    if kind.startswith("tool-output"):
        yield {"type": "tool-input-available", "toolCallId": "c1", "toolName": "x", "input": {}}
    stage.seen.append("started")
    await stage.gate.wait()
    yield EFFECTS[kind]
    stage.seen.append("effect")


async def steps(request: AgentRequest, upto: str, delay_ms: str) -> AsyncGenerator[Chunk, None]:
    """Say a number and note it, one a step; what is done already is not done again, and what is in doubt is said so."""
    parts = request.partial.parts if request.partial else []
    states = {part["toolCallId"]: part["state"] for part in parts if "toolCallId" in part}
    in_step = request.in_step
    for number in range(int(upto)):
        call = f"c{number}"
        state = states.get(call)
        if state is None:
            yield {"type": "start-step"}
            in_step = True
            for chunk in text(f"number {number}", f"t{number}"):
                yield chunk
                await asyncio.sleep(int(delay_ms) / 1000)
            yield {"type": "tool-input-available", "toolCallId": call, "toolName": "note", "input": {"n": number}}
        if state in {None, "input-available"}:
            if state is None:
                _note(call)
            await asyncio.sleep(int(delay_ms) / 1000)
            yield {"type": "tool-output-available", "toolCallId": call, "output": "noted" if state is None else "maybe"}
        if in_step:
            yield {"type": "finish-step"}
            in_step = False


def _note(call: str) -> None:
    stage.seen.append(call)
    if (path := os.environ.get("NOTES")) is not None:
        with Path(path).open("a") as notes:
            notes.write(f"{call}\n")


async def ask(request: AgentRequest, *kinds: str) -> AsyncGenerator[Chunk, None]:
    """Call something for each kind that a person has to approve or to answer; then tell what came of it."""
    if request.partial is None:
        yield {"type": "start-step"}
        for number, kind in enumerate(kinds):
            call = {"toolCallId": f"c{number}"}
            yield {"type": "tool-input-available", **call, "toolName": kind, "input": {}}
            if kind == "approve":
                yield {"type": "tool-approval-request", **call, "approvalId": f"a{number}"}
        yield {"type": "finish-step"}
        yield {"type": "finish", "finishReason": "tool-calls"}
        return
    told = []
    for part in request.partial.parts:
        if part.get("state") == "approval-responded":
            _note(part["toolCallId"])
            yield {"type": "tool-output-available", "toolCallId": part["toolCallId"], "output": "done"}
        if "toolCallId" in part:
            told.append(f"{part['toolCallId']} {part['state']} {part.get('output')}")
    yield {"type": "start-step"}
    for chunk in text("; ".join(told)):
        yield chunk
    yield {"type": "finish-step"}


async def call_by_an_answered_id(request: AgentRequest) -> AsyncGenerator[Chunk, None]:
    """Ask, and go on with a call of its own that goes by the same id; it hangs when it is made."""
    call = {"toolCallId": "c0"}
    if request.partial is None:
        yield {"type": "start-step"}
        yield {"type": "tool-input-available", **call, "toolName": "ask", "input": {}}
        yield {"type": "finish-step"}
        yield {"type": "finish", "finishReason": "tool-calls"}
        return
    if not request.resumed:
        yield {"type": "start-step"}
        yield {"type": "tool-input-available", **call, "toolName": "pay", "input": {}}
        stage.seen.append("paying")
        await asyncio.Event().wait()
    open_calls = [part for part in request.partial.parts if part.get("state") == "input-available"]
    yield {"type": "tool-output-available", **call, "output": f"in doubt: {len(open_calls)}"}
    yield {"type": "finish-step"}


async def leave_texts_open(request: AgentRequest, upto: str) -> AsyncGenerator[Chunk, None]:
    """Take steps that each begin a text and a call, and end neither."""
    done = [] if request.partial is None else [p for p in request.partial.parts if p["type"] == "step-start"]
    for number in range(len(done), int(upto)):
        yield {"type": "start-step"}
        _note(f"s{number}")
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": f"{number} "}
        yield {"type": "tool-input-start", "toolCallId": f"c{number}", "toolName": "x"}
        yield {"type": "finish-step"}
    stage.seen.append("waiting")
    await asyncio.Event().wait()


async def nest_deeply(_: AgentRequest, depth: str) -> AsyncGenerator[Chunk, None]:
    nested: list[Any] = []
    for _number in range(int(depth)):
        nested = [nested]
    yield {"type": "start-step"}
    yield {"type": "tool-input-available", "toolCallId": "c1", "toolName": "x", "input": {}}
    yield {"type": "tool-output-available", "toolCallId": "c1", "output": nested}


def be_no_generator(_: AgentRequest) -> Any:  # noqa: ANN401  that is the mistake
    return None


async def question(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "start-step"}
    for chunk in text("Which one do you want?"):
        yield chunk
    yield {"type": "finish-step"}


async def hang(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "start-step"}
    for chunk in text("so far"):
        yield chunk
    yield {"type": "tool-input-available", "toolCallId": "c1", "toolName": "x", "input": {}}
    stage.seen.append("started")
    await asyncio.Event().wait()


async def leave_open_and_wait(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    async for chunk in leave_open(_):
        yield chunk
    await asyncio.Event().wait()


async def block(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    """Hold up the whole process."""
    yield {"type": "start-step"}
    time.sleep(30)  # noqa: ASYNC251  that is the point


EFFECTS: dict[str, Chunk] = {
    "tool-input-available": {"type": "tool-input-available", "toolCallId": "c1", "toolName": "x", "input": {}},
    "tool-input-error": {
        "type": "tool-input-error",
        "toolCallId": "c1",
        "toolName": "x",
        "input": None,
        "errorText": "no",
    },
    "tool-output-available": {"type": "tool-output-available", "toolCallId": "c1", "output": 1},
    "tool-output-error": {"type": "tool-output-error", "toolCallId": "c1", "errorText": "it broke"},
    "finish-step": {"type": "finish-step"},
}


async def raise_error(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "start-step"}
    yield {"type": "text-start", "id": "t"}
    raise RuntimeError(SECRET)


async def raise_agent_error(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "start-step"}
    raise AgentError("quota", "There is no quota left. \ud83d")


async def say_too_much_of_an_error(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "start-step"}
    raise AgentError("c" * 200_000, "t" * 200_000)


async def leave(_: AgentRequest, how: str) -> AsyncGenerator[Chunk, None]:
    yield {"type": "start-step"}
    raise {"the_process": SystemExit, "by_interrupt": KeyboardInterrupt, "the_generator": GeneratorExit}[how]


async def yield_nothing(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    nothing: list[Chunk] = []
    for chunk in nothing:
        yield chunk


async def be_no_json(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "start-step"}
    yield {"type": "tool-input-available", "toolCallId": "c1", "toolName": "x", "input": object()}


async def be_no_dict(_: AgentRequest) -> AsyncGenerator[Any, None]:
    yield "hello"


async def know_no_type(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "text-begin", "id": "t"}


async def add_a_field(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "text-start", "id": "t", "secret": SECRET}


async def delta_of_no_text(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "text-start", "id": "t"}
    yield {"type": "text-delta", "id": "t", "delta": 5}


async def delta_of_nothing(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "text-delta", "id": "t", "delta": "x"}


async def reset_viewers(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "data-thread-reset", "data": {"cursor": "0-0"}, "transient": True}


async def be_too_large(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    for chunk in text("before"):
        yield chunk
    yield {"type": "file", "url": "data:text/plain," + "x" * (9 << 20), "mediaType": "text/plain"}


async def grow_too_large(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "text-start", "id": "t"}
    while True:
        yield {"type": "text-delta", "id": "t", "delta": "x" * (1 << 20)}


async def write_without_end(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    while True:
        yield {"type": "data-progress", "data": "x" * (1 << 20), "transient": True}


async def open_more_than_fits(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    for number in range(270_000):
        yield {"type": "text-start", "id": str(number)}
    raise ValueError(SECRET)


async def half_an_input_that_grows(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "tool-input-start", "toolCallId": "c1", "toolName": "x"}
    yield {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": "["}
    for _number in range(100):
        yield {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": "1e9," * 16_000}
    raise ValueError(SECRET)


async def leave_open(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "start-step"}
    yield {"type": "reasoning-start", "id": "r"}
    yield {"type": "text-start", "id": "t"}
    yield {"type": "text-delta", "id": "t", "delta": "half"}
    yield {"type": "tool-input-start", "toolCallId": "c1", "toolName": "x"}


async def reach_the_limit(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    for chunk in text("cut off"):
        yield chunk
    yield {"type": "finish", "finishReason": "length", "messageMetadata": {"model": "m"}}


async def frame_itself(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "start", "messageId": "mine"}
    for chunk in text("framed"):
        yield chunk
    yield {"type": "finish", "finishReason": "stop"}
    yield {"type": "abort"}


async def yield_error(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "start-step"}
    yield {"type": "error", "errorText": "I can't."}


async def change_what_was_yielded(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    called: Chunk = {"type": "tool-input-available", "toolCallId": "c1", "toolName": "x", "input": {"n": 1}}
    yield called
    called["input"]["n"] = 2
    yield {"type": "tool-output-available", "toolCallId": "c1", "output": (1, float("nan"))}


async def ignore_cancellation(_: AgentRequest) -> AsyncGenerator[Chunk, None]:
    yield {"type": "start-step"}
    stage.seen.append("started")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        stage.seen.append("cancelled")
    yield {"type": "text-start", "id": "t"}
    await asyncio.Event().wait()


ACTS: dict[str, Act] = {
    act.__name__: act
    for act in (
        say,
        count,
        wait_then_yield,
        raise_error,
        raise_agent_error,
        say_too_much_of_an_error,
        leave,
        yield_nothing,
        be_no_json,
        be_no_dict,
        know_no_type,
        add_a_field,
        delta_of_no_text,
        delta_of_nothing,
        reset_viewers,
        be_too_large,
        grow_too_large,
        write_without_end,
        leave_open,
        reach_the_limit,
        frame_itself,
        yield_error,
        change_what_was_yielded,
        ignore_cancellation,
        steps,
        ask,
        question,
        hang,
        leave_open_and_wait,
        call_by_an_answered_id,
        leave_texts_open,
        nest_deeply,
        block,
    )
}
