"""What clients see of a run that is replayed to them: those that take rewinds all of it, the others what parts say."""

from collections.abc import Iterable
from typing import Any

from decopilot.contracts.chunks import RUN_REWIND, Chunk
from decopilot.contracts.ids import MessageId
from decopilot.contracts.messages import Part, UIMessage


def _asks(call: str, approval: dict[str, Any], **fields: Any) -> Part:  # noqa: ANN401  of any part
    asked = {"toolCallId": call, "state": "approval-requested", "input": {"a": None}, "approval": approval}
    return {"type": "tool-delete", **asked, **fields}


WAITED = UIMessage(
    id=MessageId("msg_1"),
    role="assistant",
    metadata={"a": {"b": 1}},
    parts=[
        {"type": "step-start"},
        {"type": "reasoning", "text": "Hm.", "state": "done", "id": "t1"},
        {"type": "tool-look", "toolCallId": "c0", "state": "output-available", "input": {}, "output": None},
        {"type": "data-chart", "id": "shared", "data": 1},
        {"type": "step-start"},
        {"type": "text", "text": "Shall I?", "state": "done"},
        _asks("c1", {"id": "a1"}),
        _asks("c2", {"id": "a2"}, title="Delete"),
        {"type": "tool-ask", "toolCallId": "c3", "state": "input-available", "input": {"q": 1}},
        {"type": "dynamic-tool", "toolName": "ask", "toolCallId": "c4", "state": "input-available", "input": {}},
        _asks("c5", {"id": "a5", "requestReason": "It deletes."}),
    ],
)
"""An answer that waits for its person: three approvals (a1, a2, a5) and two answers (c3, c4)."""


def stock(chunks: Iterable[Chunk]) -> list[Chunk]:
    """Leave out what a client does not look at that knows nothing but the AI SDK."""
    return [chunk for chunk in chunks if chunk["type"] != RUN_REWIND]


def as_told(message: UIMessage) -> UIMessage:
    """Return a message as parts alone tell it: without what was judged of its approvals."""
    return message.model_copy(update={"parts": [_unjudged(part) for part in message.parts]})


def _unjudged(part: Part) -> Part:
    approval = part.get("approval", {})
    if approval.get("approved") is True:
        running = {"state": "input-available"} if part["state"] == "approval-responded" else {}
        return {name: value for name, value in part.items() if name != "approval"} | running
    if approval.get("approved") is False:
        asked = {name: value for name, value in approval.items() if name not in {"approved", "reason"}}
        return part | {"state": "output-denied", "approval": asked}
    return part
