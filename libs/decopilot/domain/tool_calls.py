"""The tool calls of a message, as `tool-*` chunks of the AI SDK change them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from decopilot.contracts.chunks import Chunk
from decopilot.contracts.messages import Part
from decopilot.domain.parts import FoldError, Growing, given

DYNAMIC = "dynamic-tool"
# What belongs to a state of the call, and is gone in the next one unless that one says it anew.
_OF_STATE = ("input", "rawInput", "inputEncoding", "output", "errorText", "preliminary")
_STREAMING = {"tool-input-start", "tool-input-delta"}
_ENDED = {"output-error", "output-denied"}


@dataclass(slots=True)
class _Input:
    """The input of a call as it streams: the `tool-input-start` chunk, the part it grows, the text so far."""

    start: Chunk
    part: Growing
    pieces: list[str] = field(default_factory=list)


class ToolCalls:
    """The calls of one message. A chunk finds its call in the current step first, then anywhere before."""

    def __init__(self, push: Callable[[Part], Growing]) -> None:
        self._push = push
        self._inputs: dict[str, _Input] = {}
        self._streaming: set[str] = set()
        self._of_step: list[Growing] = []
        self._of_message: dict[str, Growing] = {}

    def add(self, chunk: Chunk) -> None:
        """Fold one `tool-*` chunk in; a type that is not known is ignored.

        Raises:
            FoldError: the chunk is about a call or an approval that the message does not have.
            KeyError: the chunk has no field of this name.

        """
        fold_in = self._folds.get(chunk["type"])
        if fold_in is None:
            return
        fold_in(self, chunk)
        if chunk["type"] in _STREAMING:
            self._streaming.add(chunk["toolCallId"])
        else:
            self._streaming.discard(chunk.get("toolCallId", ""))

    def restore(self, parts: Iterable[Growing]) -> None:
        """Take the calls of a message that is gone on with, as they are."""
        self._inputs = {}
        self._streaming = set()
        self._of_step = []
        self._of_message = {}
        for part in parts:
            if part.fields.get("type") == "step-start":
                self._of_step = []
            elif "toolCallId" in part.fields:
                self._of_step.append(part)
                self._of_message[part.fields["toolCallId"]] = part

    @property
    def is_streaming(self) -> bool:
        """Whether a call has not got its whole input yet."""
        return bool(self._streaming)

    def begin_step(self) -> None:
        """Leave the current step: its calls can still end, but nothing streams into them any more."""
        for part in self._of_step:
            part.freeze()
        self._of_step = []
        self._streaming = set()

    def reset_step(self, left: Iterable[Growing]) -> None:
        """Forget the calls of the current step; `left` are the parts of the steps before."""
        self._inputs = {}
        self._streaming = set()
        self._of_step = []
        self._of_message = {part.fields["toolCallId"]: part for part in left if "toolCallId" in part.fields}

    def _input_start(self, chunk: Chunk) -> None:
        call_id = chunk["toolCallId"]
        told = given(chunk, "inputEncoding", "providerExecuted", "title", "toolMetadata", "providerMetadata")
        self._inputs[call_id] = _Input(chunk, self._put(chunk, "input-streaming", told))

    def _input_delta(self, chunk: Chunk) -> None:
        call_id = chunk["toolCallId"]
        streamed = self._inputs.get(call_id)
        if streamed is None:
            raise FoldError(chunk["type"], call_id, "a delta comes after the tool-input-start of its call")
        streamed.pieces.append(chunk["inputTextDelta"])
        if streamed.part.pieces is not streamed.pieces:
            told = given(streamed.start, "inputEncoding", "title", "toolMetadata")
            streamed.part = self._put(streamed.start, "input-streaming", told)
            streamed.part.pieces = streamed.pieces

    def _input_available(self, chunk: Chunk) -> None:
        told = given(chunk, "providerExecuted", "title", "toolMetadata", "providerMetadata")
        self._put(chunk, "input-available", told | {"input": chunk["input"]})

    def _input_error(self, chunk: Chunk) -> None:
        told = given(chunk, "providerExecuted", "toolMetadata", "providerMetadata")
        told |= {"input": chunk["input"], "errorText": chunk["errorText"]}
        known = self._in_step(chunk["toolCallId"])
        dynamic = known.fields["type"] == DYNAMIC if known else chunk.get("dynamic", False)
        self._put({**chunk, "dynamic": dynamic}, "output-error", told)

    def _output_available(self, chunk: Chunk) -> None:
        told = given(chunk, "preliminary", "providerExecuted", "toolMetadata", "providerMetadata")
        told["output"] = chunk["output"]
        part = self._find(chunk)
        _change(part, "output-available", given(part.freeze(), "input") | told)

    def _output_error(self, chunk: Chunk) -> None:
        told = given(chunk, "providerExecuted", "toolMetadata", "providerMetadata")
        told["errorText"] = chunk["errorText"]
        part = self._find(chunk)
        kept = ("input",) if part.fields["type"] == DYNAMIC else ("input", "rawInput")
        _change(part, "output-error", given(part.freeze(), *kept) | told)

    def _output_denied(self, chunk: Chunk) -> None:
        self._find(chunk).freeze()["state"] = "output-denied"

    def _approval_request(self, chunk: Chunk) -> None:
        approval = {"id": chunk["approvalId"]} | given(chunk, "inputSchemaInput", "signature")
        if "approvalDescriptor" in chunk:
            approval["descriptor"] = chunk["approvalDescriptor"]
        if "reason" in chunk:
            approval["requestReason"] = chunk["reason"]
        if chunk.get("isAutomatic"):
            approval["isAutomatic"] = True
        self._find(chunk).freeze().update(state="approval-requested", approval=approval)

    def _approval_response(self, chunk: Chunk) -> None:
        answer = {"id": chunk["approvalId"], "approved": chunk["approved"]} | given(chunk, "reason")
        for part in self._of_message.values():
            asked = part.fields.get("approval")
            if asked and asked["id"] == answer["id"]:
                part.freeze().update(given(chunk, "providerExecuted"), state="approval-responded")
                part.fields["approval"] = asked | answer
                if "providerMetadata" in chunk:
                    part.fields["callProviderMetadata"] = chunk["providerMetadata"]
                return
        raise FoldError(chunk["type"], answer["id"], "an answer comes after the request for approval")

    def _put(self, chunk: Chunk, state: str, told: Part) -> Growing:
        """Change the call of the current step, or begin one."""
        call_id, name, dynamic = chunk["toolCallId"], chunk["toolName"], bool(chunk.get("dynamic"))
        part = self._in_step(call_id, dynamic=dynamic)
        if part is None:
            part = self._push({"type": DYNAMIC, "toolCallId": call_id})
            self._of_step.append(part)
            self._of_message[call_id] = part
        part.fields.update({"toolName": name} if dynamic else {"type": f"tool-{name}"})
        _change(part, state, told)
        return part

    def _in_step(self, call_id: str, *, dynamic: bool | None = None) -> Growing | None:
        for part in self._of_step:
            if part.fields["toolCallId"] == call_id and dynamic in {None, part.fields["type"] == DYNAMIC}:
                return part
        return None

    def _find(self, chunk: Chunk) -> Growing:
        call_id = chunk["toolCallId"]
        part = self._in_step(call_id) or self._of_message.get(call_id)
        if part is None:
            raise FoldError(chunk["type"], call_id, "the message has a call of this id")
        return part

    _folds: ClassVar[dict[str, Callable[["ToolCalls", Chunk], None]]] = {
        "tool-input-start": _input_start,
        "tool-input-delta": _input_delta,
        "tool-input-available": _input_available,
        "tool-input-error": _input_error,
        "tool-approval-request": _approval_request,
        "tool-approval-response": _approval_response,
        "tool-output-available": _output_available,
        "tool-output-error": _output_error,
        "tool-output-denied": _output_denied,
    }


def closing_chunk(part: Growing, error_text: str, *, waits: bool) -> Chunk | None:
    """Return the chunk that ends this call; None for what is no call, has ended, or `waits` for a person."""
    call = part.settle()
    state = call.get("state")
    if "toolCallId" not in call or state in _ENDED:
        return None
    if waits and state in {"approval-requested", "input-available"} and not call.get("providerExecuted"):
        return None
    if state == "output-available" and not call.get("preliminary"):
        return None
    # `ai` 5 finds a dynamic call only if every chunk about it says so.
    flags = {"dynamic": True} if call["type"] == DYNAMIC else {}
    ended: Chunk = {"toolCallId": call["toolCallId"], "errorText": error_text} | flags
    if state == "input-streaming":
        name = call["toolName"] if flags else call["type"].removeprefix("tool-")
        return {"type": "tool-input-error", "toolName": name, "input": call.get("input")} | ended
    if state == "approval-requested" or (state == "approval-responded" and not call["approval"]["approved"]):
        return {"type": "tool-output-denied", "toolCallId": call["toolCallId"]}
    return {"type": "tool-output-error"} | ended


def _change(part: Growing, state: str, told: Part) -> None:
    """Bring a call into its next state; what a state does not own stays once it is told."""
    part.pieces = None
    for name in _OF_STATE:
        part.fields.pop(name, None)
    if "providerMetadata" in told:
        ended = state.startswith("output-")
        told["resultProviderMetadata" if ended else "callProviderMetadata"] = told.pop("providerMetadata")
    part.fields.update(told, state=state)
