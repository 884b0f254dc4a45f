"""`web_search` by a model that searches: OpenAI's, over HTTP, as its Responses API streams."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from openai import AsyncOpenAI
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from decopilot.contracts.messages import RunConfig
from decopilot_runner.default_agent import adapt
from decopilot_runner.default_agent.web_search import WebSearch
from support.driven import Driven, agent_of, call, calls_of, of, says
from support.stack import free_port

PAGE = "https://example.org/cats"
CITED = {"type": "url_citation", "start_index": 0, "end_index": 4, "url": PAGE, "title": "Cats"}
TEXT = {"type": "output_text", "text": "Cats sleep.", "annotations": [CITED], "logprobs": []}
SEARCHED = {
    "id": "ws_1",
    "type": "web_search_call",
    "status": "completed",
    "action": {
        "type": "search",
        "query": "cats",
        "sources": [{"type": "url", "url": PAGE}, {"type": "url", "url": "https://b.org"}],
    },
}
WRITTEN = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [TEXT]}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-5",
    "status": "completed",
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "output": [SEARCHED, WRITTEN],
    "usage": {
        "input_tokens": 70,
        "output_tokens": 7,
        "total_tokens": 77,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    },
}
_CALL = {"output_index": 0, "item_id": "ws_1"}
_PART = {"output_index": 1, "item_id": "msg_1", "content_index": 0}
RESPONSES: list[dict[str, Any]] = [
    {"type": "response.created", "response": RESPONSE | {"status": "in_progress", "output": [], "usage": None}},
    {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": {"id": "ws_1", "type": "web_search_call", "status": "in_progress", "action": SEARCHED["action"]},
    },
    {"type": "response.web_search_call.searching"} | _CALL,
    {"type": "response.web_search_call.completed"} | _CALL,
    {"type": "response.output_item.done", "output_index": 0, "item": SEARCHED},
    {
        "type": "response.output_item.added",
        "output_index": 1,
        "item": WRITTEN | {"status": "in_progress", "content": []},
    },
    {"type": "response.content_part.added", "part": TEXT | {"text": "", "annotations": []}} | _PART,
    {"type": "response.output_text.delta", "delta": "Cats ", "logprobs": []} | _PART,
    {"type": "response.output_text.delta", "delta": "sleep.", "logprobs": []} | _PART,
    {"type": "response.output_text.annotation.added", "annotation_index": 0, "annotation": CITED} | _PART,
    {"type": "response.output_text.done", "text": "Cats sleep.", "logprobs": []} | _PART,
    {"type": "response.content_part.done", "part": TEXT} | _PART,
    {"type": "response.output_item.done", "output_index": 1, "item": WRITTEN},
    {"type": "response.completed", "response": RESPONSE},
]
CHAT: list[dict[str, Any]] = [
    {
        "id": "chat_1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-5",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
    }
]


@asynccontextmanager
async def provider(*events: dict[str, Any]) -> AsyncIterator[tuple[OpenAIProvider, list[dict[str, Any]]]]:
    """Serve these events as the answer to every request; yields a provider there, and the requests."""
    asked: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(await request.json())
        lines = [json.dumps(event | {"sequence_number": number}) for number, event in enumerate(events)]
        body = "".join(f"event: {json.loads(line).get('type', 'message')}\ndata: {line}\n\n" for line in lines)
        return web.Response(text=body, headers={"Content-Type": "text/event-stream"})

    app, port = web.Application(), free_port()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="key") as client:
            yield OpenAIProvider(openai_client=client), asked
    finally:
        await runner.cleanup()


async def test_what_a_model_of_openai_finds_is_told_with_the_pages_that_it_cites() -> None:
    async with provider(*RESPONSES) as (openai, asked):
        search = WebSearch(model=OpenAIResponsesModel("gpt-5", provider=openai))
        model = says([call("web_search", 0, '{"query": "cats"}')], ["done"])
        run = Driven(agent_of(model, *search.tools()), "go")
        outcome = await run.attempt()

    assert "completed" == outcome.status
    assert ["web_search"] == [tool["type"] for tool in asked[0]["tools"]]
    assert "web_search_call.action.sources" in asked[0]["include"]
    assert {"text": "Cats sleep."} == of(run.chunks, "data-web-search")[-1]["data"]
    sources = [(chunk["url"], chunk["title"]) for chunk in of(run.chunks, "source-url")]
    assert [(PAGE, "Cats"), ("https://b.org", "https://b.org")] == sources
    assert "Cats sleep." == calls_of(run.message)[0]["output"]["text"]
    assert outcome.usage.input_tokens >= 70


@pytest.mark.parametrize(("mode", "has_tool"), [("web-search", True), ("web-search", False), ("default", True)])
async def test_in_mode_web_search_a_provider_is_told_to_call_the_tool(mode: str, *, has_tool: bool) -> None:
    async with provider(*CHAT) as (openai, asked):
        tools = WebSearch(model=OpenAIResponsesModel("gpt-5", provider=openai)).tools() if has_tool else []
        agent = PydanticAgent[Any, str](OpenAIChatModel("gpt-4.1", provider=openai), tools=tools)
        run = Driven(adapt(agent), "go", config=RunConfig.model_validate({"mode": mode}))
        assert "completed" == (await run.attempt()).status

    told = [tool["function"]["name"] for tool in asked[0].get("tools", [])], asked[0].get("tool_choice", "auto")
    forced = (["web_search"], "required")
    assert (mode == "web-search" and has_tool) == (told == forced)
