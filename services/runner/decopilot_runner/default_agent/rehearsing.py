"""A model call that goes nowhere, so that no run pays for what an SDK does in its first one.

OpenAI's builds the schemas of all its events then: 3 s in which the event loop stands still, and heartbeats stop.
"""

import asyncio
import json
from typing import Any

import httpx2
import structlog
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

_TOOL = ToolDefinition(name="rehearsed", parameters_json_schema={"type": "object", "properties": {}})
_RESPONSE: dict[str, Any] = {
    "id": "r",
    "object": "response",
    "created_at": 0,
    "model": "m",
    "status": "in_progress",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}
_USAGE = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
_MESSAGE = {"id": "m", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
_AT = {"item_id": "m", "output_index": 0, "content_index": 0}
_CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
_SAID: dict[str, list[dict[str, Any]]] = {
    "/responses": [
        {"type": "response.created", "response": _RESPONSE, "sequence_number": 0},
        {"type": "response.output_item.added", "item": _MESSAGE, "output_index": 0, "sequence_number": 1},
        {"type": "response.output_text.delta", "delta": "x", "logprobs": [], "sequence_number": 2, **_AT},
        # Without its details, as of a server that is behind the SDK: such an event takes another, slower way at first.
        {"type": "response.completed", "response": {**_RESPONSE, "status": "completed", "usage": _USAGE}},
    ],
    "/chat/completions": [{**_CHUNK, "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}],
    "/messages": [
        {
            "type": "message_start",
            "message": {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 0, "output_tokens": 0},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "x"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 0},
        },
        {"type": "message_stop"},
    ],
}

log = structlog.get_logger()


def stage() -> httpx2.AsyncBaseTransport:
    """Make a transport that answers every request itself."""
    return httpx2.MockTransport(_answer)


def rehearse(model: Model) -> None:
    """Make one call of a model whose provider is on `stage`; blocks, for seconds if it is the first of its kind."""
    try:
        asyncio.run(_call(model))
    except Exception as error:  # noqa: BLE001  whatever it is, the first run will tell it better
        log.debug("rehearsal_failed", model=model.model_name, error=repr(error))


async def _call(model: Model) -> None:
    parameters = ModelRequestParameters(function_tools=[_TOOL])
    prompt = ModelRequest.user_text_prompt("x")
    async with model_request_stream(model, [prompt], model_request_parameters=parameters) as stream:
        async for _ in stream:
            pass


def _answer(request: httpx2.Request) -> httpx2.Response:
    events = next((events for path, events in _SAID.items() if request.url.path.endswith(path)), None)
    if events is None:
        return httpx2.Response(503)
    lines = [f"event: {event.get('type', 'message')}\ndata: {json.dumps(event)}\n\n" for event in events]
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content="".join(lines))
