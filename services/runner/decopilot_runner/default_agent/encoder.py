"""pydantic-ai's events as chunks: the AI SDK set that every client since 5.0.100 takes unchanged."""

from typing import Any, Literal

from pydantic_ai import CallToolsNode, ModelRequestNode
from pydantic_ai.messages import (
    AgentStreamEvent,
    DeferredToolRequestsEvent,
    FilePart,
    ModelResponse,
    NativeToolCallPart,
    NativeToolReturnPart,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
    ToolResultEvent,
    ToolReturnPart,
)
from pydantic_ai.messages import FinishReason as ModelFinishReason
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.usage import RunUsage
from pydantic_core import from_json, to_jsonable_python

from decopilot.contracts.chunks import Chunk, FinishReason
from decopilot_runner.default_agent.asking import ASKED, INTERRUPTED, Asked, next_approval_id
from decopilot_runner.default_agent.continuing import REASON_KEY, Begun
from decopilot_runner.default_agent.history import INTERRUPTED_CALL
from decopilot_runner.default_agent.progress import ToolProgress
from decopilot_runner.default_agent.provider_metadata import provider_metadata
from decopilot_runner.default_agent.showing import Shown

AnyNode = ModelRequestNode[Any, Any] | CallToolsNode[Any, Any]
Prose = Literal["text", "reasoning"]

UNFINISHED = "The call did not finish."

_FINISH_REASONS: dict[ModelFinishReason, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_call": "tool-calls",
    "error": "error",
}
_GOING_ON: frozenset[FinishReason] = frozenset({"stop", "tool-calls"})


class Encoder:
    """Encodes one run: whatever is opened is closed within its step.

    `usage` is read when a model has answered and when a step ends, and belongs to the run that is encoded. Part ids
    count up over the message: what of it has `begun` is not said again.
    """

    def __init__(self, usage: RunUsage, begun: Begun | None = None) -> None:
        begun = begun or Begun()
        self.finish_reason: FinishReason = "stop"
        self.usage = usage
        self._in_step = begun.in_step
        self._is_reason_told = REASON_KEY in begun.metadata
        self._ids: dict[Prose, int] = {"text": begun.texts, "reasoning": begun.reasonings}
        self._open: tuple[Prose, str] | None = None
        self._open_index = -1
        self._calls: dict[int, str] = {}  # ids, by the part's index in the response
        self._typed: dict[str, tuple[str, list[str]]] = {}  # calls whose input is streaming: name, input so far
        self._called = {str(part["toolCallId"]) for part in begun.open_calls}  # calls whose output is missing
        self._is_response_told = bool(self._called)
        self._tokens_told = usage.total_tokens

    def enter(self, node: AnyNode) -> list[Chunk]:
        """Open a step before its model call; before its tools, give each call with its whole input."""
        if isinstance(node, CallToolsNode):
            is_told, self._is_response_told = self._is_response_told, False
            return [] if is_told else self._response(node.model_response)
        chunks = self._finish_step() if self._in_step else []
        self._in_step = True
        return [*chunks, {"type": "start-step"}]

    def event(self, event: AgentStreamEvent) -> list[Chunk]:  # noqa: PLR0911  one case per event
        """Encode what the model streamed, or what came of a tool call; events of other kinds are not shown."""
        if isinstance(event, PartDeltaEvent):
            return self._delta(event)
        if isinstance(event, PartStartEvent):
            return self._start(event)
        if isinstance(event, PartEndEvent):
            return self._end(event)
        if isinstance(event, ToolResultEvent):
            return self._output(event.part)
        if isinstance(event, DeferredToolRequestsEvent):
            return self._ask(event.requests)
        if isinstance(event, Shown):
            return self._shown(event)
        return [event.chunk()] if isinstance(event, ToolProgress) else []

    def leave(self, node: AnyNode) -> list[Chunk]:
        """Close the step after its tools."""
        return self._finish_step() if isinstance(node, CallToolsNode) and self._in_step else []

    def abandon(self) -> list[Chunk]:
        """Close whatever is open after an exception: clients keep an open part spinning for ever."""
        chunks = self._close_prose() + self._close_typed()
        chunks += [
            {"type": "tool-output-error", "toolCallId": call, "errorText": UNFINISHED} for call in sorted(self._called)
        ]
        return chunks + (self._finish_step() if self._in_step else [])

    def _response(self, response: ModelResponse) -> list[Chunk]:
        if response.finish_reason is not None:
            self.finish_reason = _FINISH_REASONS.get(response.finish_reason, "other")
        else:
            # A provider that names no reason is believed when its stream ended well.
            self.finish_reason = "stop" if response.state == "complete" else "other"
        chunks = self._close_prose() + self._refusal(response)
        if any(isinstance(part, ToolCallPart) for part in response.parts):
            # Behind a call another attempt may go on: what the model has used must stand ahead of it.
            chunks.append(self._metadata())
        for part in response.parts:
            if isinstance(part, ToolCallPart):
                if part.tool_call_id not in self._typed:
                    chunks.append(_call_chunk("tool-input-start", part))
                chunks.append(self._available(part))
        return chunks + self._close_typed()

    def _refusal(self, response: ModelResponse) -> list[Chunk]:
        """Say what OpenAI has beside the answer, where others say it in the answer."""
        text = (response.provider_details or {}).get("refusal")
        if response.finish_reason != "content_filter" or not isinstance(text, str):
            return []
        return [*self._prose("text", -1, text), *self._close_prose()]

    def _finish_step(self) -> list[Chunk]:
        self._in_step = False
        self._called.clear()
        told: dict[str, Any] = {}
        if self._is_reason_told or self.finish_reason not in _GOING_ON:
            # Whoever takes over between this step and the end of the run has no other way to know.
            self._is_reason_told = True
            told[REASON_KEY] = self.finish_reason
        return [self._metadata(**told), {"type": "finish-step"}]

    def _metadata(self, **told: object) -> Chunk:
        self._tokens_told = self.usage.total_tokens
        tokens = {
            "inputTokens": self.usage.input_tokens,
            "outputTokens": self.usage.output_tokens,
            "totalTokens": self.usage.total_tokens,
        }
        return {"type": "message-metadata", "messageMetadata": {"usage": tokens, **told}}

    def _ask(self, requests: DeferredToolRequests) -> list[Chunk]:
        """Ask for the approvals that a run ends without; it ends without the outputs of external calls too."""
        self.finish_reason = "tool-calls"
        self._called -= {call.tool_call_id for call in [*requests.calls, *requests.approvals]}
        chunks: list[Chunk] = []
        for call in (call.tool_call_id for call in requests.approvals):
            asked = requests.metadata.get(call, {}).get(ASKED, Asked(next_approval_id(call, None)))
            if asked is None:
                continue
            if asked.is_interrupted:
                told = {"toolCallId": call, "text": INTERRUPTED}
                chunks.append({"type": INTERRUPTED_CALL, "id": call, "data": told})
            chunks.append({"type": "tool-approval-request", "toolCallId": call, "approvalId": asked.approval_id})
        return chunks

    def _shown(self, event: Shown) -> list[Chunk]:
        # Of a call that has ended nothing more is shown.
        return [event.take()] if event.tool_call_id in self._called else []

    def _delta(self, event: PartDeltaEvent) -> list[Chunk]:
        delta = event.delta
        if isinstance(delta, TextPartDelta):
            return self._prose("text", event.index, delta.content_delta)
        if isinstance(delta, ThinkingPartDelta):
            return self._prose("reasoning", event.index, delta.content_delta or "")
        if isinstance(delta, ToolCallPartDelta):
            return self._typing(self._calls.get(event.index), delta.args_delta)
        return []

    def _end(self, event: PartEndEvent) -> list[Chunk]:
        if isinstance(event.part, NativeToolCallPart):
            return [self._available(event.part, providerExecuted=True)]
        kept = provider_metadata(event.part) if isinstance(event.part, TextPart | ThinkingPart) else {}
        if event.index == self._open_index:
            return self._close_prose(**kept)
        if not kept or isinstance(event.part, TextPart):
            return []
        # Thoughts that the provider hides, and wants back nevertheless.
        part = self._next_id("reasoning")
        return [{"type": "reasoning-start", "id": part}, {"type": "reasoning-end", "id": part, **kept}]

    def _prose(self, kind: Prose, index: int, text: str) -> list[Chunk]:
        # Some models send empty parts ahead of tool calls; those are never opened.
        if not text:
            return []
        if self._open is not None and index == self._open_index and self._open[0] == kind:
            return [{"type": f"{kind}-delta", "id": self._open[1], "delta": text}]
        chunks = self._close_prose()
        part = self._next_id(kind)
        self._open, self._open_index = (kind, part), index
        chunks += [{"type": f"{kind}-start", "id": part}, {"type": f"{kind}-delta", "id": part, "delta": text}]
        return chunks

    def _next_id(self, kind: Prose) -> str:
        part = f"{kind}-{self._ids[kind]}"
        self._ids[kind] += 1
        return part

    def _close_prose(self, **kept: object) -> list[Chunk]:
        if self._open is None:
            return []
        kind, part = self._open
        self._open, self._open_index = None, -1
        return [{"type": f"{kind}-end", "id": part, **kept}]

    def _start(self, event: PartStartEvent) -> list[Chunk]:
        part = event.part
        if isinstance(part, TextPart):
            return self._prose("text", event.index, part.content)
        if isinstance(part, ThinkingPart):
            return self._prose("reasoning", event.index, part.content)
        chunks = self._close_prose()
        if isinstance(part, ToolCallPart | NativeToolCallPart):
            self._calls[event.index] = part.tool_call_id
            self._typed[part.tool_call_id] = (part.tool_name, [])
            native = {"providerExecuted": True} if isinstance(part, NativeToolCallPart) else {}
            chunks.append(_call_chunk("tool-input-start", part, **native))
            chunks += self._typing(part.tool_call_id, part.args)
        elif isinstance(part, NativeToolReturnPart):
            chunks += self._output(part, providerExecuted=True)
        elif isinstance(part, FilePart):
            chunks.append({"type": "file", "url": part.content.data_uri, "mediaType": part.content.media_type})
        return chunks

    def _typing(self, call: str | None, args: object) -> list[Chunk]:
        # Input that comes in one piece needs no delta: `tool-input-available` follows with all of it.
        if not isinstance(args, str) or not args or call is None or call not in self._typed:
            return []
        self._typed[call][1].append(args)
        return [{"type": "tool-input-delta", "toolCallId": call, "inputTextDelta": args}]

    def _available(self, part: ToolCallPart | NativeToolCallPart, **options: bool) -> Chunk:
        self._typed.pop(part.tool_call_id, None)
        self._called.add(part.tool_call_id)
        kept = provider_metadata(part) if isinstance(part, ToolCallPart) else {}
        return _call_chunk("tool-input-available", part, input=_input(part.args), **options, **kept)

    def _close_typed(self) -> list[Chunk]:
        typed = self._typed
        self._typed = {}
        return [
            {
                "type": "tool-input-error",
                "toolCallId": call,
                "toolName": name,
                "input": "".join(text),
                "errorText": UNFINISHED,
            }
            for call, (name, text) in typed.items()
        ]

    def _output(self, part: ToolReturnPart | NativeToolReturnPart, **options: bool) -> list[Chunk]:
        # A client's fold ends with an error at an output whose call it has never seen.
        if part.tool_call_id not in self._called:
            return []
        self._called.discard(part.tool_call_id)
        # A tool may have called models itself, and behind its output another attempt may go on.
        used = [self._metadata()] if self.usage.total_tokens != self._tokens_told and not options else []
        return [*used, _output_chunk(part, **options)]


def _output_chunk(part: ToolReturnPart | NativeToolReturnPart, **options: bool) -> Chunk:
    if part.outcome == "success":
        # What a tool returned may be anything; whatever has no JSON form is told by its `str`.
        output = to_jsonable_python(part.content, bytes_mode="base64", serialize_unknown=True)
        return {"type": "tool-output-available", "toolCallId": part.tool_call_id, "output": output, **options}
    if part.outcome == "denied":
        return {"type": "tool-output-denied", "toolCallId": part.tool_call_id}
    text = part.model_response_str(wrap_if_error=False)
    return {"type": "tool-output-error", "toolCallId": part.tool_call_id, "errorText": text, **options}


def _call_chunk(name: str, part: ToolCallPart | NativeToolCallPart, **fields: object) -> Chunk:
    return {"type": name, "toolCallId": part.tool_call_id, "toolName": part.tool_name, **fields}


def _input(args: object) -> object:
    """Give the input as JSON; what is none is shown as the text it is, and pydantic-ai refuses the call."""
    if not isinstance(args, str):
        return args or {}
    try:
        return from_json(args) if args else {}
    except ValueError:
        return args
