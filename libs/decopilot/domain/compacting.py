"""Compacting: a message so far in as few chunks as fold to it, so that what comes later goes on with it."""

from collections.abc import Container, Iterator, Sequence
from itertools import chain

from decopilot.contracts.chunks import Chunk
from decopilot.contracts.messages import Part
from decopilot.domain.fold import Fold
from decopilot.domain.interactions import tool_name

OpenPart = tuple[Part, str | None]
"""A part as it stands, and the id of its deltas if it is a text or reasoning in progress (`Fold.open_parts`)."""

_ABOUT_CALL = ("title", "providerExecuted", "toolMetadata")
_APPROVAL = {"descriptor": "approvalDescriptor", "requestReason": "reason"}
_APPROVAL_SAME = ("signature", "inputSchemaInput", "isAutomatic")


def compact(fold: Fold) -> list[Chunk]:
    """Make the chunks that fold to a message as it stands: one `start`, and what is open stays open.

    Chunks that come behind those of `fold` go on with it, also in the middle of a text or of a call's input.
    """
    start: Chunk = {"type": "start", "messageId": fold.message_id}
    if fold.metadata is not None:
        start["messageMetadata"] = fold.metadata
    return [start, *chain.from_iterable(compact_parts(list(fold.open_parts()), in_step=fold.in_step))]


def compact_parts(parts: Sequence[OpenPart], *, in_step: bool) -> list[list[Chunk]]:
    """Make the chunks of each part of a message, and behind the last part those that end its step, if none is open.

    Before `ai` 7 no chunk says how a person judged. So a call that was approved is told without its approval: with the
    request alone a client would ask again, and with an output besides `validateUIMessages` would refuse the message. A
    call that was denied is told as asked for and denied; that this message is refused until it is read from history
    can't be helped.
    """
    taken = {open_id for _, open_id in parts}
    told: list[list[Chunk]] = []
    has_steps = False
    for number, (part, open_id) in enumerate(parts):
        if part["type"] == "step-start":
            told.append(([{"type": "finish-step"}] if has_steps else []) + [{"type": "start-step"}])
            has_steps = True
        else:
            told.append(list(_part(part, open_id or _unused(f"text:{number}", taken))))
    told.append([{"type": "finish-step"}] if has_steps and not in_step else [])
    return told


def _unused(name: str, taken: Container[str | None]) -> str:
    # Nobody refers to the id of a text that has ended, but it must not end another one.
    while name in taken:
        name += "'"
    return name


def _part(part: Part, text_id: str) -> Iterator[Chunk]:
    if part["type"] in {"text", "reasoning"}:
        yield from _prose(part, part.get("id", text_id))
    elif tool_name(part) is not None:
        yield from _call(part)
    else:
        yield dict(part)


def _prose(part: Part, id_: str) -> Iterator[Chunk]:
    kind = part["type"]
    provider = {"providerMetadata": part["providerMetadata"]} if "providerMetadata" in part else {}
    yield {"type": f"{kind}-start", "id": id_, **provider}
    if part["text"]:
        yield {"type": f"{kind}-delta", "id": id_, "delta": part["text"]}
    if part.get("state") != "streaming":
        cited = {"citations": part["citations"]} if "citations" in part else {}
        yield {"type": f"{kind}-end", "id": id_, **cited}


def _call(part: Part) -> Iterator[Chunk]:
    dynamic = {"dynamic": True} if part["type"] == "dynamic-tool" else {}
    call: Chunk = {"toolCallId": part["toolCallId"], **dynamic}
    named: Chunk = {**call, "toolName": tool_name(part), **{name: part[name] for name in _ABOUT_CALL if name in part}}
    if "callProviderMetadata" in part:
        named["providerMetadata"] = part["callProviderMetadata"]
    if "rawInput" in part or "input" not in part:
        encoding = {"inputEncoding": part["inputEncoding"]} if "inputEncoding" in part else {}
        yield {"type": "tool-input-start", **named, **encoding}
        if "rawInput" in part:
            yield {"type": "tool-input-delta", "toolCallId": part["toolCallId"], "inputTextDelta": part["rawInput"]}
    else:
        yield {"type": "tool-input-available", **named, "input": part["input"]}
    approval = part.get("approval")
    if isinstance(approval, dict) and approval.get("approved") is not True:
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
        case "output-denied" | "approval-responded" if part.get("approval", {}).get("approved") is not True:
            yield {"type": "tool-output-denied", "toolCallId": part["toolCallId"]}
        case _:
            pass
