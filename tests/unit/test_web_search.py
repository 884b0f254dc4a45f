import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.messages import ModelMessage, NativeToolCallPart, NativeToolReturnPart
from pydantic_ai.models import Model
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.native_tools import WebSearchTool
from pydantic_ai.profiles import ModelProfile

from decopilot.agent import Agent, ToolCall
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.messages import RunConfig
from decopilot_runner.default_agent import adapt
from decopilot_runner.default_agent.search_endpoint import RESULTS, TEXT_LENGTH, Result, results
from decopilot_runner.default_agent.web_search import CUT, QUERY_LENGTH, WebSearch
from decopilot_runner.default_agent.web_search import TEXT_LENGTH as OUTPUT_LENGTH
from support.demo import demo_agent
from support.driven import READONLY, Driven, call, calls_of, kinds, of, says

HAS_SEARCH = Configuration.model_validate({"tiers": {"web_research": "demo"}})
FOUND = Result("https://a.org", "A", "about a")


def searching(search: WebSearch, query: str = "cats") -> Agent:
    model = says([call("web_search", 0, json.dumps({"query": query}))], ["done"])
    return adapt(PydanticAgent[Any, str](model, tools=search.tools()))


def researcher(*said: object, profile: ModelProfile | None = None, heard: list[AgentInfo] | None = None) -> Model:
    async def stream(_: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        if heard is not None:
            heard.append(info)
        for delta in said:
            yield delta

    return FunctionModel(stream_function=stream, profile=profile)


@pytest.mark.parametrize(
    "answer",
    [
        {"results": [{"url": "https://a.org", "title": "A", "content": "about a"}], "query": "cats"},
        {"web": {"results": [{"url": "https://a.org", "title": "A", "description": "about a"}]}, "type": "search"},
        {"items": [{"link": "https://a.org", "title": "A", "snippet": "about a"}]},
        [{"url": "https://a.org", "title": "A", "text": "about a"}],
    ],
    ids=["searxng", "brave", "google", "list"],
)
def test_results_are_read_in_all_common_shapes(answer: object) -> None:
    assert [FOUND] == results(answer)


def test_results_without_a_web_address_are_left_out_and_each_address_comes_once() -> None:
    odd: list[Any] = [None, "x", {}, {"url": None}, {"url": "javascript:alert(1)"}, {"url": "file:///etc/passwd"}]
    many = [{"url": f"https://{number}.org", "content": "x" * 10_000} for number in range(20)]
    found = results([*odd, *many, *many])

    assert RESULTS == len(found)
    assert Result("https://0.org", "https://0.org", "x" * TEXT_LENGTH) == found[0]


@pytest.mark.parametrize("answer", [None, "x", 1, {}, {"results": {}}, {"web": []}])
def test_an_answer_without_a_list_of_results_is_none(answer: object) -> None:
    with pytest.raises(ValueError, match="no list of results"):
        results(answer)


def test_without_an_endpoint_and_a_model_there_is_no_tool() -> None:
    assert [] == WebSearch().tools()


async def test_a_model_that_searches_is_told_as_it_writes_and_its_sources_follow() -> None:
    pages = {"status": "completed", "sources": [{"type": "url", "url": "https://a.org", "title": "A"}, {"url": "x:y"}]}
    said: list[object] = [
        {0: NativeToolCallPart(tool_name="web_search", args={"query": "cats"}, tool_call_id="n1")},
        {1: NativeToolReturnPart(tool_name="web_search", content=pages, tool_call_id="n1")},
        "Cats ",
        "sleep.",
    ]
    heard: list[AgentInfo] = []
    run = Driven(searching(WebSearch(model=researcher(*said, heard=heard))), "go", config=READONLY)

    assert "completed" == (await run.attempt()).status
    assert [WebSearchTool] == [type(tool) for tool in heard[0].model_request_parameters.native_tools]
    progress = of(run.chunks, "data-web-search")
    assert {"type": "data-web-search", "id": "c0", "data": {"text": "Cats sleep."}} == progress[-1]
    source = {"type": "source-url", "sourceId": "c0-1", "url": "https://a.org", "title": "A"}
    assert [source] == of(run.chunks, "source-url")
    assert {"text": "Cats sleep.", "sources": [{"url": "https://a.org", "title": "A"}]} == calls_of(run.message)[0][
        "output"
    ]
    order = [kind for kind in kinds(run.chunks) if kind in {"data-web-search", "source-url", "tool-output-available"}]
    assert ["data-web-search", "source-url", "tool-output-available"] == order[-3:]


async def test_a_model_without_a_search_tool_of_its_own_is_asked_all_the_same() -> None:
    heard: list[AgentInfo] = []
    profile = ModelProfile(supported_native_tools=frozenset())
    run = Driven(searching(WebSearch(model=researcher("Cats sleep.", profile=profile, heard=heard))), "go")

    assert "completed" == (await run.attempt()).status
    assert [] == heard[0].model_request_parameters.native_tools
    assert "Cats sleep." == calls_of(run.message)[0]["output"]["text"]


async def test_what_the_searching_model_used_counts_into_the_message() -> None:
    run = Driven(demo_agent(delay_ms=0, configuration=HAS_SEARCH), "/search cats")
    outcome = await run.attempt()

    first, *_ = of(run.chunks, "message-metadata")
    text = calls_of(run.message)[0]["output"]["text"]
    assert text.startswith("You wrote:")
    assert outcome.usage.output_tokens > first["messageMetadata"]["usage"]["outputTokens"] + len(text.split())


async def test_a_searching_model_that_fails_fails_the_call_only() -> None:
    run = Driven(demo_agent(delay_ms=0, configuration=HAS_SEARCH), "/search /fail 3")

    assert "completed" == (await run.attempt()).status
    assert "The model is not available at the moment. Try again." == calls_of(run.message)[0]["errorText"]
    assert "The web could not be searched." == run.message.text


async def test_a_role_that_may_not_use_the_searching_model_is_refused() -> None:
    search = WebSearch(model=researcher("Cats sleep."), may_use=lambda role: role == "admin")
    for role, state in (("admin", "output-available"), ("user", "output-error"), (None, "output-error")):
        run = Driven(searching(search), "go", config=RunConfig(role=role))
        assert "completed" == (await run.attempt()).status
        assert state == calls_of(run.message)[0]["state"]


async def test_a_subtask_may_search_too() -> None:
    run = Driven(demo_agent(delay_ms=0, configuration=HAS_SEARCH), "/subtask /search cats")

    assert "completed" == (await run.attempt()).status
    assert "I found 0: nothing." == calls_of(run.message)[0]["output"]
    assert [] == of(run.chunks, "data-web-search")


async def test_a_long_text_is_cut_or_kept_where_it_can_be() -> None:
    text = "x" * (OUTPUT_LENGTH + 1)
    run = Driven(searching(WebSearch(model=researcher(text))), "go")
    await run.attempt()
    assert text[:OUTPUT_LENGTH] + CUT == calls_of(run.message)[0]["output"]["text"]

    kept: list[tuple[str, str]] = []

    async def keep(call: ToolCall, whole: str) -> Mapping[str, Any]:
        kept.append((call.thread, whole))
        return {"uri": f"kept:{call.call_id}"}

    run = Driven(searching(WebSearch(model=researcher(text), keep=keep)), "go")
    await run.attempt()
    assert {"uri": "kept:c0", "sources": []} == calls_of(run.message)[0]["output"]
    assert [("thread", text)] == kept


@pytest.mark.parametrize("query", ["", "x" * (QUERY_LENGTH + 1)])
async def test_a_query_has_a_length(query: str) -> None:
    run = Driven(searching(WebSearch(model=researcher("never")), query), "go")

    assert "completed" == (await run.attempt()).status
    assert "output-error" == calls_of(run.message)[0]["state"]


async def test_a_search_that_was_interrupted_is_repeated() -> None:
    agent = demo_agent(delay_ms=0, configuration=HAS_SEARCH)
    reference = Driven(agent, "/search cats")
    await reference.attempt()
    run = Driven(agent, "/search cats")
    await run.killed_at(kinds(reference.chunks).index("data-web-search") + 1)

    assert "completed" == (await run.attempt()).status
    assert [reference.message.text] == [run.message.text]
    assert 1 == [part["type"] for part in run.message.parts].count("data-web-search")


async def test_a_search_that_is_cancelled_leaves_nothing_behind() -> None:
    run = Driven(demo_agent(delay_ms=0, configuration=HAS_SEARCH), "/search /hang")
    task = asyncio.create_task(run.attempt())
    async with asyncio.timeout(5):
        while "data-web-search" not in kinds(run.chunks):
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert {asyncio.current_task()} == asyncio.all_tasks()
