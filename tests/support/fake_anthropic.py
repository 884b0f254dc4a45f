"""A fake of Anthropic's Messages API: its events, its errors, and the rules that it holds a conversation to."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from support.fake_provider import Fail, FakeProvider, Json, RefusedError, Turn, pieces

_ERRORS = {
    "rate_limit": (429, "rate_limit_error", "This request would exceed your organization's rate limit (org-secret)."),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "unavailable": (503, "api_error", "Service unavailable"),
    "auth": (401, "authentication_error", "invalid x-api-key sk-ant-secret"),
    "funds": (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    "server": (500, "api_error", "Internal server error at secret-host"),
    "context": (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
}


@dataclass
class FakeAnthropic(FakeProvider):
    """Issues signatures, and takes back only those."""

    _signed: dict[str, str] = field(default_factory=dict)

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/messages", self.answer)]

    def asked(self, body: Json) -> tuple[str, int]:
        messages = body["messages"]
        _check_calls(messages)
        self._check_thinking(body)
        last, steps = "", 0
        for message in messages:
            texts = [block["text"] for block in _blocks(message) if block["type"] == "text"]
            if message["role"] == "assistant":
                steps += 1
            elif texts:
                last, steps = texts[-1], 0
        return last, steps

    def failure(self, fail: Fail) -> tuple[int, Json]:
        status, kind, text = _ERRORS[fail.kind]
        return status, _error(kind, text)

    def refusal(self, text: str) -> Json:
        return _error("invalid_request_error", text)

    def failing_event(self, fail: Fail) -> str:
        _, kind, text = _ERRORS[fail.kind]
        return _event(_error(kind, text))

    def events(self, turn: Turn, body: Json, step: int) -> list[str]:
        took, gave = self.usage(step)
        message = {
            "id": f"msg_{next(self._ids)}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": took, "output_tokens": 1},
        }
        events: list[Json] = [{"type": "message_start", "message": message}, {"type": "ping"}]
        for index, (block, deltas) in enumerate(self._content(turn)):
            events.append({"type": "content_block_start", "index": index, "content_block": block})
            events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
            if turn.then == "ends":
                events.append({"type": "content_block_stop", "index": index})
        if turn.then == "ends":
            stop = {"stop_reason": _stop(turn), "stop_sequence": None}
            events.append({"type": "message_delta", "delta": stop, "usage": {"output_tokens": gave}})
            events.append({"type": "message_stop"})
        return [_event(event) for event in events]

    def _content(self, turn: Turn) -> list[tuple[Json, list[Json]]]:
        content: list[tuple[Json, list[Json]]] = []
        if turn.thinking and turn.redacted:
            content.append(({"type": "redacted_thinking", "data": self._sign(turn.thinking)}, []))
        elif turn.thinking:
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(turn.thinking)]
            deltas.append({"type": "signature_delta", "signature": self._sign(turn.thinking)})
            content.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
        if turn.text:
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(turn.text)]
            content.append(({"type": "text", "text": ""}, deltas))
        for call in turn.calls:
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *pieces(call.arguments)]]
            block = {"type": "tool_use", "id": f"toolu_{next(self._ids)}", "name": call.name, "input": {}}
            content.append((block, deltas))
        return content

    def _sign(self, thinking: str) -> str:
        signature = hashlib.sha256(thinking.encode()).hexdigest()
        self._signed[signature] = thinking
        return signature

    def _check_thinking(self, body: Json) -> None:
        for message in body["messages"]:
            for block in _blocks(message):
                if block["type"] == "thinking" and self._signed.get(block["signature"]) != block["thinking"]:
                    rule = "Invalid `signature` in `thinking` block"
                    raise RefusedError(rule)
                if block["type"] == "redacted_thinking" and block["data"] not in self._signed:
                    rule = "Invalid `data` in `redacted_thinking` block"
                    raise RefusedError(rule)
        if body.get("thinking", {}).get("type") != "enabled":
            return
        if body.get("temperature", 1) != 1:
            rule = "`temperature` may only be set to 1 when thinking is enabled"
            raise RefusedError(rule)
        answers = [message for message in body["messages"] if message["role"] == "assistant"]
        if body["messages"][-1]["role"] != "user" or not answers:
            return
        if any(block["type"] != "tool_result" for block in _blocks(body["messages"][-1])):
            return
        first = _blocks(answers[-1])[0]["type"]
        if first not in {"thinking", "redacted_thinking"}:
            msg = (
                f"Expected `thinking` or `redacted_thinking`, but found `{first}`. When `thinking` is enabled, a final "
            )
            raise RefusedError(msg + "`assistant` message must start with a thinking block")


def _check_calls(messages: list[Json]) -> None:
    for message, following in zip(messages, [*messages[1:], None], strict=True):
        called = [block["id"] for block in _blocks(message) if block["type"] == "tool_use"]
        told = [] if following is None else _blocks(following)
        results = [block["tool_use_id"] for block in told if block["type"] == "tool_result"]
        if sorted(called) != sorted(results):
            msg = f"`tool_use` ids {called} were found without `tool_result` blocks immediately after: {results}"
            raise RefusedError(msg)


def _blocks(message: Json) -> list[Json]:
    content: Any = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _stop(turn: Turn) -> str:
    if turn.stop == "stop":
        return "tool_use" if turn.calls else "end_turn"
    return {"length": "max_tokens", "refusal": "refusal"}[turn.stop]


def _error(kind: str, text: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_secret"}


def _event(event: Json) -> str:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
