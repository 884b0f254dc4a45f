"""Stored messages as what a model is sent: lenient, because they come from any client of any version."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from decopilot.contracts.messages import Part, UIMessage

NOT_APPROVED = "The user sent a new message without approving this tool call."
DENIED = "The user denied this tool call."
TOOL_FAILED = "The tool failed."


def window(history: Sequence[UIMessage], size: int) -> Sequence[UIMessage]:
    """Take the latest `size` messages, from the first user message among them on; without one, all of them."""
    latest = history[-size:]
    for index, message in enumerate(latest):
        if message.role == "user":
            return latest[index:]
    return latest


def prompt(messages: Sequence[UIMessage]) -> str | None:
    """Give the user's text that is to be answered, if the last message is one."""
    return _user_text(messages[-1]) if messages and messages[-1].role == "user" else None


def earlier_messages(messages: Sequence[UIMessage]) -> list[ModelMessage]:
    """Convert what stands before the prompt: reasoning and unfinished tool calls are left out."""
    earlier = messages[:-1] if prompt(messages) is not None else messages
    return [converted for message in earlier for converted in _convert(message)]


def _convert(message: UIMessage) -> Iterator[ModelMessage]:
    if message.role == "user":
        yield ModelRequest(parts=[UserPromptPart(_user_text(message))])
    elif message.role == "system":
        if message.text:
            yield ModelRequest(parts=[SystemPromptPart(message.text)])
    else:
        for step in _steps(message.parts):
            yield from _convert_step(step)


def _user_text(message: UIMessage) -> str:
    lines = [message.text] if message.text else []
    lines += [
        f"[The user attached {part.get('filename') or 'a file'} ({part.get('mediaType')}), which you can't read.]"
        for part in message.parts
        if part.get("type") == "file"
    ]
    return "\n".join(lines)


def _steps(parts: Sequence[Part]) -> Iterator[list[Part]]:
    step: list[Part] = []
    for part in parts:
        if part.get("type") == "step-start":
            yield step
            step = []
        else:
            step.append(part)
    yield step


def _convert_step(step: Sequence[Part]) -> Iterator[ModelMessage]:
    said: list[ModelResponsePart] = []
    returned: list[ToolReturnPart] = []
    for part in step:
        if part.get("type") == "text" and part.get("text"):
            said.append(TextPart(str(part["text"])))
        elif (result := _tool_return(part)) is not None:
            said.append(ToolCallPart(result.tool_name, _args(part.get("input")), result.tool_call_id))
            returned.append(result)
    if said:
        yield ModelResponse(parts=said)
    if returned:
        yield ModelRequest(parts=returned)


def _tool_return(part: Part) -> ToolReturnPart | None:
    kind, call = str(part.get("type", "")), part.get("toolCallId")
    name = part.get("toolName") if kind == "dynamic-tool" else kind.removeprefix("tool-")
    if not (kind == "dynamic-tool" or kind.startswith("tool-")) or not name or not call:
        return None
    name, call = str(name), str(call)
    match part.get("state"):
        case "output-available" if not part.get("preliminary"):
            return ToolReturnPart(name, part.get("output"), call)
        case "output-error":
            return ToolReturnPart(name, str(part.get("errorText") or TOOL_FAILED), call, outcome="failed")
        case "output-denied":
            approval = part.get("approval")
            reason = approval.get("reason") if isinstance(approval, dict) else None
            return ToolReturnPart(name, str(reason or DENIED), call, outcome="denied")
        case "approval-requested":
            return ToolReturnPart(name, NOT_APPROVED, call, outcome="denied")
        case _:
            return None


def _args(value: object) -> str | dict[str, Any] | None:
    # A model's broken input is stored as the text it was; pydantic-ai knows how to show that to a model again.
    return value if isinstance(value, dict | str) else None
