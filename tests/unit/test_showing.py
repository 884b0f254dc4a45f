"""What tools show while they run: in order, the latest always, and nothing of it ahead of the log."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import RunContext, Tool
from pydantic_ai.usage import RunUsage

from decopilot.agent import show, streamed
from decopilot.contracts.chunks import Chunk
from decopilot_runner.default_agent import showing
from decopilot_runner.default_agent.encoder import Encoder
from decopilot_runner.default_agent.executing import FAILED
from decopilot_runner.default_agent.showing import Latest, Shown
from support.driven import READONLY, Driven, agent_of, call, calls_of, of, says, verdicts

DOCUMENT = Path(__file__).parents[2] / "docs" / "modes.md"
BATCH = [call("slow", 0), call("fast", 1)]


async def counting(count: int) -> AsyncGenerator[dict[str, int], None]:
    """Count."""
    for number in range(1, count + 1):
        yield {"counted": number}


class Context:
    """A run whose events are taken by hand."""

    tool_call_id = "c0"

    def __init__(self) -> None:
        self.events: list[Shown] = []

    async def emit(self, event: Shown) -> None:
        self.events.append(event)


def number(value: int) -> Chunk:
    return {"type": "data-number", "id": "c0", "data": value}


def latest(context: Context, **options: float) -> Latest:
    return Latest(context, **options)  # type: ignore[arg-type]  # a run's context needs a run


async def test_a_generator_is_a_tool_that_shows_what_it_yields_and_returns_what_it_yields_last() -> None:
    run = Driven(agent_of(says([call("counting", 0, '{"count": 3}')], ["done"]), Tool(streamed(counting))), "go")

    assert "completed" == (await run.attempt()).status
    outputs = of(run.chunks, "tool-output-available")
    assert ({"counted": 1}, True) == (outputs[0]["output"], outputs[0]["preliminary"])
    assert ({"counted": 3}, False) == (outputs[-1]["output"], outputs[-1].get("preliminary", False))
    assert {"counted": 3} == calls_of(run.message)[0]["output"]


def test_a_generator_as_a_tool_keeps_its_name_its_description_and_its_parameters() -> None:
    tool = Tool(streamed(counting))

    assert ("counting", "Count.") == (tool.name, tool.description)
    assert {"count": {"type": "integer"}} == tool.function_schema.json_schema["properties"]


async def test_the_examples_of_the_document_show_what_they_have(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    folder = str(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    tools: dict[str, Any] = {}
    exec(compile(code, str(DOCUMENT), "exec"), tools)
    calls = [call("count_files", 0, json.dumps({"folders": [folder]})), call("count_down", 1, '{"start": 2}')]
    run = Driven(agent_of(says(calls, ["done"]), Tool(tools["count_files"]), Tool(tools["count_down"])), "go")

    assert "completed" == (await run.attempt()).status
    assert [{folder: 1}, {"left": 0}] == [part["output"] for part in calls_of(run.message)]
    shown = [chunk["output"] for chunk in of(run.chunks, "tool-output-available") if chunk.get("preliminary")]
    assert {"counting": folder, "counted": {}} in shown
    assert {"left": 2} in shown


async def test_a_generator_that_yields_nothing_returns_nothing_and_one_that_raises_fails() -> None:
    async def broken() -> AsyncGenerator[int, None]:
        yield 1
        raise RuntimeError

    nothing = Driven(agent_of(says([call("counting", 0, '{"count": 0}')], ["done"]), Tool(streamed(counting))), "go")
    await nothing.attempt()
    assert None is calls_of(nothing.message)[0]["output"]

    fails = Driven(agent_of(says([call("broken", 0)], ["done"]), Tool(streamed(broken))), "go")
    assert "completed" == (await fails.attempt()).status
    assert ("output-error", FAILED) == (calls_of(fails.message)[0]["state"], calls_of(fails.message)[0]["errorText"])


async def test_beside_a_tool_call_showing_does_nothing() -> None:
    await show({"any": "thing"})


async def test_what_has_no_json_form_is_shown_as_text() -> None:
    async def odd() -> str:
        await show({object: b"x", "values": {1}})
        return "done"

    run = Driven(agent_of(says([call("odd", 0)], ["done"]), Tool(odd)), "go")

    assert "completed" == (await run.attempt()).status
    assert [1] == of(run.chunks, "tool-output-available")[0]["output"]["values"]


async def test_the_latest_is_shown_when_it_is_time_and_what_came_between_is_left_out() -> None:
    context = Context()
    async with latest(context, pause_s=0.02) as shown:
        for value in range(5):
            await shown.show(number(value))
        assert [number(0)] == [event.take() for event in context.events]
        async with asyncio.timeout(5):
            while len(context.events) < 2:
                await asyncio.sleep(0.005)
        assert number(4) == context.events[1].take()


async def test_what_waits_is_shown_by_a_flush_and_dropped_by_the_end() -> None:
    context = Context()
    async with latest(context, pause_s=600) as shown:
        await shown.show(number(1))
        await shown.show(number(2))
        context.events[0].take()
        await shown.flush()
        await shown.flush()
        assert [number(1), number(2)] == [event.chunk for event in context.events]
        await shown.show(number(3))
    assert 2 == len(context.events)


async def test_while_nobody_takes_what_is_shown_no_more_than_one_waits() -> None:
    context = Context()
    async with latest(context, pause_s=0) as shown:
        for value in range(1_000):
            await shown.show(number(value))
            await shown.flush()

    assert [number(999)] == [event.take() for event in context.events]


async def test_the_more_is_shown_at_a_time_the_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    context = Context()
    async with latest(context, pause_s=0) as shown:
        await shown.show({"type": "data-text", "data": "x" * 100})
        assert shown._free_at < 0.01  # noqa: SLF001
        await shown.flush()
    async with latest(context, pause_s=0) as shown:
        await shown.show({"type": "data-text", "data": "x" * 10 * showing.RATE_PER_S})
        assert shown._free_at > 10  # noqa: SLF001


async def test_a_tool_that_is_killed_while_it_shows_something_leaves_nothing_behind() -> None:
    async def restless() -> str:
        while True:
            await show("more")
            await asyncio.sleep(0)

    run = Driven(agent_of(says([call("restless", 0)], ["done"]), Tool(restless)), "go")
    await run.killed_at(4)
    await asyncio.sleep(0)

    assert {asyncio.current_task()} == asyncio.all_tasks()


async def test_a_call_that_was_approved_and_showed_something_is_not_asked_about_again() -> None:
    tries: list[str] = []
    has_shown = asyncio.Event()

    async def slow(ctx: RunContext[Any]) -> str:
        tries.append(str(ctx.tool_call_id))
        await show("half")
        has_shown.set()
        if len(tries) == 1:
            await asyncio.Event().wait()
        return "whole"

    async def fast() -> str:
        await has_shown.wait()
        return "done"

    tools = [Tool(slow, metadata={"annotations": {"idempotentHint": True}}), Tool(fast)]
    first = Driven(agent_of(says(BATCH, ["done"]), *tools), "go", config=READONLY)
    await first.attempt()
    run = first.gone_on_with(*verdicts(first.message))
    await run.killed_at(2)
    assert ["half", "done"] == [chunk["output"] for chunk in run.chunks]

    assert "completed" == (await run.attempt()).status
    assert ["c0", "c0"] == tries
    assert ["whole", "done"] == [part["output"] for part in calls_of(run.message)]


def test_what_a_call_shows_that_has_ended_or_never_was_is_not_told() -> None:
    assert [] == Encoder(RunUsage()).event(Shown(chunk=number(1), tool_call_id="c0"))
