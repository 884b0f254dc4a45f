"""Fakes of OpenAI's two APIs, Responses and chat completions: events, errors, and what they refuse."""

import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from support.fake_provider import Call, Fail, FakeProvider, Json, RefusedError, Turn, pieces

_ERRORS = {
    "rate_limit": (429, "requests", "rate_limit_exceeded", "Rate limit reached for m in organization org-secret."),
    "overloaded": (503, "server_error", "server_is_overloaded", "The engine is currently overloaded."),
    "unavailable": (503, "server_error", None, "Service unavailable"),
    "auth": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided: sk-secret."),
    "funds": (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota, org-secret."),
    "server": (500, "server_error", None, "The server had an error at secret-host, req_secret."),
    "context": (
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 128000 tokens.",
    ),
}


class _FakeOpenAI(FakeProvider):
    def _id(self, prefix: str) -> str:
        return f"{prefix}_{next(self._ids)}"

    def failure(self, fail: Fail) -> tuple[int, Json]:
        status, kind, code, text = _ERRORS[fail.kind]
        return status, {"error": {"message": text, "type": kind, "param": None, "code": code}}

    def refusal(self, text: str) -> Json:
        error = {"message": text, "type": "invalid_request_error", "param": "input", "code": None}
        return {"error": error}


@dataclass
class FakeOpenAI(_FakeOpenAI):
    """The Responses API: what reasoning goes with which call is remembered, and wanted back."""

    _reasoned: dict[str, str] = field(default_factory=dict)
    _encrypted: dict[str, str] = field(default_factory=dict)

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/responses", self.answer)]

    def asked(self, body: Json) -> tuple[str, int]:
        items: list[Json] = body["input"]
        self._check(items)
        last, steps, answering = "", 0, False
        for item in items:
            if item.get("role") == "user":
                last, steps, answering = _text(item["content"]), 0, False
            elif item.get("role") == "assistant" or item.get("type") in {"function_call", "reasoning"}:
                steps, answering = steps + (not answering), True
            else:
                answering = False
        return last, steps

    def failing_event(self, fail: Fail) -> str:
        _, _, code, text = _ERRORS[fail.kind]
        return _event({"type": "error", "code": code, "message": text, "param": None, "sequence_number": 99})

    def events(self, turn: Turn, body: Json, step: int) -> list[str]:
        response = {
            "id": self._id("resp"),
            "object": "response",
            "created_at": 1_760_000_000,
            "model": body["model"],
            "status": "in_progress",
            "output": [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
        events: list[Json] = [
            {"type": kind, "response": response} for kind in ("response.created", "response.in_progress")
        ]
        ends = turn.then == "ends"
        output: list[Json] = []
        for index, (begun, between, item) in enumerate(self._items(turn)):
            at = {"output_index": index}
            events.append({"type": "response.output_item.added", "item": begun, **at})
            events += [{**event, **at, "item_id": item["id"]} for event in between if ends or not _is_end(event)]
            if ends:
                events.append({"type": "response.output_item.done", "item": item, **at})
            output.append(item)
        if ends:
            took, gave = self.usage(step)
            details = {
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            }
            usage = {"input_tokens": took, "output_tokens": gave, "total_tokens": took + gave, **details}
            status = "incomplete" if turn.stop == "length" else "completed"
            why = {"incomplete_details": {"reason": "max_output_tokens"}} if turn.stop == "length" else {}
            told = {**response, "status": status, "output": output, "usage": usage, **why}
            events.append({"type": f"response.{status}", "response": told})
        return [_event({**event, "sequence_number": number}) for number, event in enumerate(events)]

    def _items(self, turn: Turn) -> list[tuple[Json, list[Json], Json]]:
        items: list[tuple[Json, list[Json], Json]] = []
        reasoning = None
        if turn.thinking:
            reasoning = self._id("rs")
            self._encrypted[reasoning] = f"encrypted-{reasoning}"
            items.append(self._reasoning(reasoning, "" if turn.redacted else turn.thinking))
        if turn.text:
            items.append(self._message(turn))
        for call in turn.calls:
            item = self._call(call)
            if reasoning is not None:
                self._reasoned[item[2]["id"]] = reasoning
            items.append(item)
        return items

    def _reasoning(self, reasoning: str, text: str) -> tuple[Json, list[Json], Json]:
        base = {"type": "reasoning", "id": reasoning, "encrypted_content": self._encrypted[reasoning]}
        if not text:
            return {**base, "summary": []}, [], {**base, "summary": []}
        part = {"type": "summary_text", "text": ""}
        whole = {"type": "summary_text", "text": text}
        kind, at = "response.reasoning_summary", {"summary_index": 0}
        between: list[Json] = [{"type": f"{kind}_part.added", "part": part, **at}]
        between += [{"type": f"{kind}_text.delta", "delta": piece, **at} for piece in pieces(text)]
        between += [
            {"type": f"{kind}_text.done", "text": text, **at},
            {"type": f"{kind}_part.done", "part": whole, **at},
        ]
        return {**base, "summary": []}, between, {**base, "summary": [whole]}

    def _message(self, turn: Turn) -> tuple[Json, list[Json], Json]:
        refuses = turn.stop == "refusal"
        name, kind = ("refusal", "refusal") if refuses else ("text", "output_text")
        message = {"type": "message", "id": self._id("msg"), "role": "assistant", "content": []}
        more: Json = {} if refuses else {"annotations": []}
        at, part, whole = (
            {"content_index": 0},
            {"type": kind, name: "", **more},
            {"type": kind, name: turn.text, **more},
        )
        logs: Json = {} if refuses else {"logprobs": []}
        between: list[Json] = [{"type": "response.content_part.added", "part": part, **at}]
        between += [{"type": f"response.{kind}.delta", "delta": piece, **at, **logs} for piece in pieces(turn.text)]
        between.append({"type": f"response.{kind}.done", name: turn.text, **at, **logs})
        between.append({"type": "response.content_part.done", "part": whole, **at})
        return {**message, "status": "in_progress"}, between, {**message, "status": "completed", "content": [whole]}

    def _call(self, call: Call) -> tuple[Json, list[Json], Json]:
        base = {"type": "function_call", "id": self._id("fc"), "call_id": self._id("call"), "name": call.name}
        kind = "response.function_call_arguments"
        between: list[Json] = [{"type": f"{kind}.delta", "delta": piece} for piece in pieces(call.arguments)]
        between.append({"type": f"{kind}.done", "arguments": call.arguments, "name": call.name})
        begun = {**base, "arguments": "", "status": "in_progress"}
        return begun, between, {**base, "arguments": call.arguments, "status": "completed"}

    def _check(self, items: list[Json]) -> None:
        called = [item["call_id"] for item in items if item.get("type") == "function_call"]
        results = [item["call_id"] for item in items if item.get("type") == "function_call_output"]
        if sorted(called) != sorted(results):
            msg = f"No tool output found for function call: {called} {results}"
            raise RefusedError(msg)
        reasonings = {item["id"]: item for item in items if item.get("type") == "reasoning"}
        for item in items:
            wanted = self._reasoned.get(item.get("id", ""))
            if item.get("type") == "function_call" and wanted is not None and wanted not in reasonings:
                msg = f"Item '{item['id']}' of type 'function_call' was provided without its required 'reasoning' item"
                raise RefusedError(msg)
        for name, item in reasonings.items():
            if item.get("encrypted_content", self._encrypted.get(name)) != self._encrypted.get(name, object()):
                msg = f"The encrypted content of {name} could not be verified"
                raise RefusedError(msg)


class FakeChat(_FakeOpenAI):
    """Chat completions, with thoughts as `reasoning_content`, as open models have them."""

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/chat/completions", self.answer)]

    def asked(self, body: Json) -> tuple[str, int]:
        last, steps = "", 0
        waiting: set[str] = set()
        for message in body["messages"]:
            if message["role"] == "tool":
                if message["tool_call_id"] not in waiting:
                    rule = "messages with role 'tool' must be a response to a preceding message"
                    raise RefusedError(rule)
                waiting.discard(message["tool_call_id"])
                continue
            if waiting:
                msg = f"An assistant message with 'tool_calls' must be followed by tool messages: {sorted(waiting)}"
                raise RefusedError(msg)
            if message["role"] == "assistant":
                steps += 1
                waiting = {call["id"] for call in message.get("tool_calls") or ()}
            elif message["role"] == "user":
                last, steps = _text(message["content"]), 0
        return last, steps

    def failing_event(self, fail: Fail) -> str:
        return f"data: {json.dumps(self.failure(fail)[1])}\n\n"

    def events(self, turn: Turn, body: Json, step: int) -> list[str]:
        base = {"id": self._id("chatcmpl"), "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        deltas: list[Json] = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning_content": piece} for piece in pieces(turn.thinking)]
        name = "refusal" if turn.stop == "refusal" else "content"
        deltas += [{name: piece} for piece in pieces(turn.text)]
        for index, call in enumerate(turn.calls):
            begun = {"id": self._id("call"), "type": "function", "function": {"name": call.name, "arguments": ""}}
            deltas.append({"tool_calls": [{"index": index, **begun}]})
            arguments = pieces(call.arguments)
            deltas += [{"tool_calls": [{"index": index, "function": {"arguments": part}}]} for part in arguments]
        chunks: list[Json] = [_choice(base, delta, None) for delta in deltas]
        if turn.then == "ends":
            chunks.append(_choice(base, {}, _finish(turn)))
            took, gave = self.usage(step)
            usage = {"prompt_tokens": took, "completion_tokens": gave, "total_tokens": took + gave}
            chunks.append({**base, "choices": [], "usage": usage})
        events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        return [*events, "data: [DONE]\n\n"] if turn.then == "ends" else events


def _choice(base: Json, delta: Json, finish: str | None) -> Json:
    return {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]}


def _finish(turn: Turn) -> str:
    if turn.stop == "length":
        return "length"
    return "tool_calls" if turn.calls else "stop"


def _is_end(event: Json) -> bool:
    return str(event["type"]).endswith(".done")


def _text(content: Any) -> str:  # noqa: ANN401  a text, or a list of parts
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content)


def _event(event: Json) -> str:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
