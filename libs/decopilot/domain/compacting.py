"""Compacting: a message so far in as few chunks as fold to it, so that what comes later goes on with it."""

from collections.abc import Iterator

from decopilot.contracts.chunks import Chunk
from decopilot.contracts.messages import Part
from decopilot.domain.fold import Fold
from decopilot.domain.interactions import tool_name

_ABOUT_CALL = ("title", "providerExecuted", "toolMetadata")
_APPROVAL = {"descriptor": "approvalDescriptor", "requestReason": "reason"}
_APPROVAL_SAME = ("signature", "inputSchemaInput", "isAutomatic")


def compact(fold: Fold) -> list[Chunk]:
    """Make the chunks that fold to a message as it stands: one `start`, and what is open stays open.

    Chunks that come behind those of `fold` go on with it, also in the middle of a text or of a call's input. Who
    approved a call is not told: before `ai` 7 there is no chunk for it.
    """
    message = fold.message()
    start: Chunk = {"type": "start", "messageId": message.id}
    if message.metadata is not None:
        start["messageMetadata"] = message.metadata
    chunks = [start]
    in_step = False
    for number, (part, open_id) in enumerate(fold.open_parts()):
        if part["type"] == "step-start":
            chunks += ([{"type": "finish-step"}] if in_step else []) + [{"type": "start-step"}]
            in_step = True
        else:
            chunks += _part(part, open_id, number)
    if in_step and not fold.in_step:
        chunks.append({"type": "finish-step"})
    return chunks


def _part(part: Part, open_id: str | None, number: int) -> Iterator[Chunk]:
    kind = part["type"]
    if kind in {"text", "reasoning"}:
        # Nobody refers to the id of a text that has ended.
        yield from _prose(part, open_id or part.get("id") or f"text:{number}", is_open=open_id is not None)
    elif tool_name(part) is not None:
        yield from _call(part)
    else:
        yield dict(part)


def _prose(part: Part, id_: str, *, is_open: bool) -> Iterator[Chunk]:
    kind = part["type"]
    provider = {"providerMetadata": part["providerMetadata"]} if "providerMetadata" in part else {}
    yield {"type": f"{kind}-start", "id": id_, **provider}
    if part["text"]:
        yield {"type": f"{kind}-delta", "id": id_, "delta": part["text"]}
    if not is_open:
        cited = {"citations": part["citations"]} if "citations" in part else {}
        yield {"type": f"{kind}-end", "id": id_, **cited}


def _call(part: Part) -> Iterator[Chunk]:
    state = part["state"]
    dynamic = {"dynamic": True} if part["type"] == "dynamic-tool" else {}
    call: Chunk = {"toolCallId": part["toolCallId"], **dynamic}
    named: Chunk = {**call, "toolName": tool_name(part), **{name: part[name] for name in _ABOUT_CALL if name in part}}
    if "callProviderMetadata" in part:
        named["providerMetadata"] = part["callProviderMetadata"]
    if "rawInput" in part or state == "input-streaming":
        encoding = {"inputEncoding": part["inputEncoding"]} if "inputEncoding" in part else {}
        yield {"type": "tool-input-start", **named, **encoding}
        if "rawInput" in part:
            yield {"type": "tool-input-delta", "toolCallId": part["toolCallId"], "inputTextDelta": part["rawInput"]}
    elif "input" in part:
        yield {"type": "tool-input-available", **named, "input": part["input"]}
    approval = part.get("approval")
    if isinstance(approval, dict):
        told: Chunk = {_APPROVAL.get(name, str(name)): approval[name] for name in _told(approval)}
        yield {"type": "tool-approval-request", "toolCallId": part["toolCallId"], "approvalId": approval["id"], **told}
    yield from _output(part, call)


def _told(approval: Part) -> list[str]:
    return [name for name in (*_APPROVAL, *_APPROVAL_SAME) if name in approval]


def _output(part: Part, call: Chunk) -> Iterator[Chunk]:
    result = {"providerMetadata": part["resultProviderMetadata"]} if "resultProviderMetadata" in part else {}
    match part["state"]:
        case "output-available":
            preliminary = {"preliminary": True} if part.get("preliminary") else {}
            yield {"type": "tool-output-available", **call, "output": part["output"], **preliminary, **result}
        case "output-error":
            yield {"type": "tool-output-error", **call, "errorText": part["errorText"], **result}
        case "output-denied":
            yield {"type": "tool-output-denied", "toolCallId": part["toolCallId"]}
        case _:
            pass
