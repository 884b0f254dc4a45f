"""What a client sends: the bodies of its requests. Pure."""

import uuid
from collections.abc import Iterable
from typing import Any, Literal, TypedDict

from decopilot.client.errors import ArgumentError
from decopilot.contracts.commands import OnConflict, Visibility
from decopilot.contracts.ids import MessageId
from decopilot.contracts.interactions import Approval, Resolution
from decopilot.contracts.messages import UIMessage


class AnswerOptions(TypedDict, total=False):
    """How a message is to be answered; what is left out is as the gateway has it (docs/protocol.md)."""

    agent: str
    tier: Literal["fast", "smart", "thinking", "image", "web_research"]
    mode: Literal["default", "plan", "web-search", "gen-image"]
    tool_approval_level: Literal["auto", "readonly"]
    temperature: float
    window_size: int
    """How many messages of the thread the agent sees."""
    instructions: Iterable[str]
    """System messages for this run."""


class SendOptions(AnswerOptions, total=False):
    """How a message is to be sent, and answered."""

    on_conflict: OnConflict
    """While another run goes on: wait behind it (`queue`), end it (`interrupt`), or be refused (`reject`)."""
    visibility: Visibility
    """Of a thread that begins with it: all of the org reads it (`org`), or its owner and the owners (`private`)."""


def user_message(message: str | UIMessage, message_id: str | None) -> UIMessage:
    """Make a user's message of a text, with a new id unless one is given; a whole message stays as it is.

    Raises:
        ArgumentError: the text is empty, or blank.

    """
    if isinstance(message, UIMessage):
        return message
    if not message.strip():
        msg = "There is nothing to ask: the text is empty."
        raise ArgumentError(msg)
    id_ = message_id or f"msg_{uuid.uuid4().hex}"
    return UIMessage(id=MessageId(id_), role="user", parts=[{"type": "text", "text": message}])


def messages_body(message: UIMessage, options: SendOptions) -> dict[str, Any]:
    """Make the body that posts a message: the same for the same arguments, so that a repeat is recognised."""
    body = _options(options)
    body["messages"] = [*body.get("messages", ()), message.model_dump(mode="json", exclude_none=True)]
    if (on_conflict := options.get("on_conflict")) is not None:
        body["onConflict"] = on_conflict
    if (visibility := options.get("visibility")) is not None:
        body["visibility"] = visibility
    return body


def _options(options: AnswerOptions) -> dict[str, Any]:
    systems = [
        {"role": "system", "parts": [{"type": "text", "text": text}]} for text in options.get("instructions", ())
    ]
    body: dict[str, Any] = {"messages": systems} if systems else {}
    plain = {
        "tier": options.get("tier"),
        "mode": options.get("mode"),
        "toolApprovalLevel": options.get("tool_approval_level"),
        "temperature": options.get("temperature"),
    }
    body |= {name: value for name, value in plain.items() if value is not None}
    if (agent := options.get("agent")) is not None:
        body["agent"] = {"id": agent}
    if (window_size := options.get("window_size")) is not None:
        body["memory"] = {"windowSize": window_size}
    return body


def regenerate_body(message_id: str | None, options: AnswerOptions) -> dict[str, Any]:
    """Make the body that has a message answered anew: made once, it is one run however often it is sent."""
    named = {} if message_id is None else {"messageId": message_id}
    return _options(options) | named | {"requestId": f"req_{uuid.uuid4().hex}"}


def resolutions_body(resolutions: Iterable[Resolution]) -> dict[str, Any]:
    """Make the body that resolves what a thread waits for."""
    return {"resolutions": [_resolution(resolution) for resolution in resolutions]}


def fire_body(context: str, id_: str | None) -> dict[str, Any]:
    """Make the body that fires an automation, under a new id unless one is given."""
    body = {"id": id_ or f"f{uuid.uuid4().hex[:24]}"}
    return body | {"context": context} if context else body


def _resolution(resolution: Resolution) -> dict[str, Any]:
    if isinstance(resolution, Approval):
        reason = {} if resolution.reason is None else {"reason": resolution.reason}
        return {"approvalId": resolution.approval_id, "approved": resolution.approved} | reason
    if resolution.error_text is not None:
        return {"toolCallId": resolution.tool_call_id, "errorText": resolution.error_text}
    return {"toolCallId": resolution.tool_call_id, "output": resolution.output}
