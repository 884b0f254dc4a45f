"""Answers of the default agent over several runs and attempts, folded by every AI SDK that knows approvals."""

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Tool
from pydantic_ai.messages import ModelMessage, NativeToolCallPart, NativeToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from decopilot.agent import streamed as streamed_tool
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.ids import MessageId
from decopilot.contracts.interactions import Answer
from decopilot.contracts.messages import RunConfig
from decopilot.domain.fold import fold
from decopilot.domain.interactions import pending_in
from decopilot_runner.default_agent.web_search import WebSearch
from support.aisdk import VERSIONS, Job, fold_with_sdk
from support.demo import demo_agent
from support.driven import ANSWER, READONLY, Driven, Toolbox, agent_of, call, kinds, says, verdicts
from support.versions import as_known_to, shown

pytestmark = [pytest.mark.node, pytest.mark.timeout(300)]

KNOW_APPROVALS = VERSIONS[2:]


def streamed(*runs: Driven) -> list[Chunk]:
    """Make the stream of one message over its runs, as a client sees it that reads none of our own chunks."""
    chunks = [chunk for run in runs for chunk in run.stored()]
    return [chunks[0], *(chunk for chunk in chunks if chunk["type"] != "start"), {"type": "finish"}]


async def asked_and_answered() -> list[Chunk]:
    first = Driven(demo_agent(delay_ms=0), "/ask Which")
    await first.attempt()
    answer = Answer(tool_call_id=pending_in(first.message)[0].tool_call_id, output={"response": "this"})
    second = first.gone_on_with(answer)
    await second.attempt()
    return streamed(first, second)


async def approved_step_by_step(folder: Path) -> list[Chunk]:
    runs = [Driven(demo_agent(delay_ms=0, demo_dir=folder), "/steps 3 /note milk", config=READONLY)]
    await runs[0].attempt()
    for is_approved in (True, False, True):
        runs.append(runs[-1].gone_on_with(*verdicts(runs[-1].message, approved=is_approved)))
        await runs[-1].attempt()
    return streamed(*runs)


async def killed_in_an_approved_call() -> list[Chunk]:
    tools = [Toolbox().tool(name) for name in ("act", "other")]
    model = says([call("act", 0), call("other", 1)], ["done"])
    first = Driven(agent_of(model, *tools), "go", config=READONLY)
    await first.attempt()
    second = first.gone_on_with(*verdicts(first.message))
    await second.killed_at(1, loses=1)
    await second.attempt()
    third = second.gone_on_with(*verdicts(second.message))
    await third.attempt()
    return streamed(first, second, third)


async def planned(folder: Path) -> list[Chunk]:
    first = Driven(demo_agent(delay_ms=0, demo_dir=folder), "/plan milk", config=RunConfig(mode="plan"))
    await first.attempt()
    answer = Answer(tool_call_id=pending_in(first.message)[0].tool_call_id, output={"approved": True})
    second = first.gone_on_with(answer)
    await second.attempt()
    return streamed(first, second)


async def with_a_subtask() -> list[Chunk]:
    run = Driven(demo_agent(delay_ms=0), "/subtask /steps 3")
    await run.attempt()
    assert any(chunk.get("preliminary") for chunk in run.chunks)
    return streamed(run)


async def killed_in_a_subtask() -> list[Chunk]:
    agent, text = demo_agent(delay_ms=0), "/subtask /weather Oslo"
    reference = Driven(agent, text, config=READONLY)
    await reference.attempt()
    run = Driven(agent, text, config=READONLY)
    await run.killed_at(kinds(reference.chunks).index("tool-output-available") + 1)
    await run.attempt()
    return streamed(run)


async def searched() -> list[Chunk]:
    pages = [{"url": "https://a.org", "title": "A"}]
    found = NativeToolReturnPart(tool_name="web_search", content=pages, tool_call_id="n1")

    async def stream(_: list[ModelMessage], __: AgentInfo) -> AsyncIterator[Any]:
        yield {0: NativeToolCallPart(tool_name="web_search", args={"query": "cats"}, tool_call_id="n1")}
        yield {1: found}
        yield "Cats sleep."

    tools = WebSearch(model=FunctionModel(stream_function=stream)).tools()
    run = Driven(agent_of(says([call("web_search", 0, '{"query": "cats"}')], ["done"]), *tools), "go")
    await run.attempt()
    assert {"data-web-search", "source-url"} <= {chunk["type"] for chunk in run.chunks}
    return streamed(run)


async def shown_by_a_generator() -> list[Chunk]:
    async def counting() -> AsyncGenerator[object, None]:
        for number in (1, None, {"counted": 3}):
            yield number

    run = Driven(agent_of(says([call("counting", 0)], ["done"]), Tool(streamed_tool(counting))), "go")
    await run.attempt()
    return streamed(run)


async def test_every_ai_sdk_takes_what_tools_show_and_what_a_plan_becomes_as_our_fold_does(tmp_path: Path) -> None:
    streams = {
        "planned": await planned(tmp_path),
        "subtask": await with_a_subtask(),
        "killed": await killed_in_a_subtask(),
        "searched": await searched(),
        "generator": await shown_by_a_generator(),
    }
    results = fold_with_sdk(Job(name, chunks) for name, chunks in streams.items())

    assert len(streams) * len(VERSIONS) == len(results)
    for folded in results:
        ours = as_known_to(folded.version, fold(MessageId(ANSWER), streams[folded.id]))
        assert [] == folded.errors, (folded.id, folded.version)
        assert shown(ours) == shown(folded.message), (folded.id, folded.version)


async def test_every_ai_sdk_takes_an_answer_that_was_gone_on_with_as_our_fold_does(tmp_path: Path) -> None:
    streams = {
        "asked": await asked_and_answered(),
        "approved": await approved_step_by_step(tmp_path),
        "killed": await killed_in_an_approved_call(),
    }
    results = fold_with_sdk(Job(name, chunks, versions=KNOW_APPROVALS) for name, chunks in streams.items())

    assert len(streams) * len(KNOW_APPROVALS) == len(results)
    for folded in results:
        ours = as_known_to(folded.version, fold(MessageId(ANSWER), streams[folded.id]))
        assert [] == folded.errors, (folded.id, folded.version)
        assert shown(ours) == shown(folded.message), (folded.id, folded.version)
