"""Stored messages as what a model is sent: lenient, because they come from any client of any version."""

from collections.abc import Collection, Iterator, Sequence
from types import MappingProxyType
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
    UserContent,
    UserPromptPart,
)
from pydantic_core import to_json

from decopilot.contracts.messages import Part, UIMessage
from decopilot_runner.default_agent.files import Attached, named
from decopilot_runner.default_agent.provider_metadata import about, thinking

INTERRUPTED_CALL = "data-interrupted-call"
NOT_APPROVED = "The user sent a new message without approving this tool call."
DENIED = "The user denied this tool call."
NOT_REPEATED = "This tool call was interrupted and may have happened; the user did not want it to be repeated."
TOOL_FAILED = "The tool failed."
ATTACHED = "[The user attached "
NO_FILES: Attached = MappingProxyType({})
_OPEN = ("input-available", "approval-requested", "approval-responded")


def window(history: Sequence[UIMessage], size: int) -> Sequence[UIMessage]:
    """Take the latest `size` messages, from the first user message among them on; without one, all of them."""
    latest = history[-size:]
    for index, message in enumerate(latest):
        if message.role == "user":
            return latest[index:]
    return latest


def prompt(messages: Sequence[UIMessage], attached: Attached = NO_FILES) -> str | list[UserContent] | None:
    """Give the user's message that is to be answered, if the last one is a user's."""
    return _user_content(messages[-1], attached) if messages and messages[-1].role == "user" else None


def earlier_messages(messages: Sequence[UIMessage], attached: Attached = NO_FILES) -> list[ModelMessage]:
    """Convert what stands before the prompt: reasoning and unfinished tool calls are left out."""
    earlier = messages[:-1] if messages and messages[-1].role == "user" else messages
    return [converted for message in earlier for converted in _convert(message, attached)]


def begun_messages(
    messages: Sequence[UIMessage], partial: UIMessage, attached: Attached = NO_FILES
) -> list[ModelMessage]:
    """Convert everything, and behind it an answer that has begun.

    Of that, what its provider wants back is kept, reasoning too, and unfinished calls of its last step are.
    """
    interrupted = _interrupted(partial.parts)
    *finished, last = _steps(partial.parts)
    converted = [converted for message in messages for converted in _convert(message, attached)]
    converted += [part for step in finished for part in _convert_step(step, interrupted, is_begun=True)]
    return [*converted, *_convert_step(last, interrupted, is_begun=True, keeps_open=True)]


def last_step(parts: Sequence[Part]) -> list[Part]:
    """Take the parts of a message's last step."""
    return [*_steps(parts)][-1]


def is_own_call(part: Part) -> bool:
    """Tell whether a part is a tool call that is, or was, the agent's to execute."""
    return _tool_name(part) is not None and not part.get("providerExecuted")


def is_open(part: Part) -> bool:
    """Tell whether a part is such a call that has its input, and still no final output."""
    is_preliminary = part.get("state") == "output-available" and bool(part.get("preliminary"))
    return is_own_call(part) and (part.get("state") in _OPEN or is_preliminary)


def denial(part: Part, interrupted: Collection[object] = ()) -> str:
    """Say to the model why a call was denied."""
    approval = part.get("approval")
    reason = approval.get("reason") if isinstance(approval, dict) else None
    if part.get("toolCallId") in interrupted:
        return f"{NOT_REPEATED} {reason or ''}".rstrip()
    return str(reason or DENIED)


def _convert(message: UIMessage, attached: Attached) -> Iterator[ModelMessage]:
    if message.role == "user":
        yield ModelRequest(parts=[UserPromptPart(_user_content(message, attached))])
    elif message.role == "system":
        if message.text:
            yield ModelRequest(parts=[SystemPromptPart(message.text)])
    else:
        interrupted = _interrupted(message.parts)
        for step in _steps(message.parts):
            yield from _convert_step(step, interrupted)


def _user_content(message: UIMessage, attached: Attached) -> str | list[UserContent]:
    """Give a user's text, and behind it the files; one that can't be read is named in the text."""
    lines = [message.text] if message.text else []
    files: list[UserContent] = []
    for part in message.parts:
        if part.get("type") != "file":
            continue
        content = attached.get(str(part.get("url")))
        if content is None:
            lines.append(f"[The user attached {named(part)}, which you can't read.]")
        elif isinstance(content, str):
            files.append(f"{ATTACHED}{named(part)}:]\n{content}")
        else:
            files += [f"{ATTACHED}{named(part)}:]", content]
    text = "\n".join(lines)
    return [*([text] if text else []), *files] if files else text


def _steps(parts: Sequence[Part]) -> Iterator[list[Part]]:
    step: list[Part] = []
    for part in parts:
        if part.get("type") == "step-start":
            yield step
            step = []
        else:
            step.append(part)
    yield step


def _interrupted(parts: Sequence[Part]) -> list[object]:
    """List the calls that the user was asked about because they may have happened."""
    return [part.get("id") for part in parts if part.get("type") == INTERRUPTED_CALL]


def _convert_step(
    step: Sequence[Part], interrupted: Collection[object], *, is_begun: bool = False, keeps_open: bool = False
) -> Iterator[ModelMessage]:
    said: list[ModelResponsePart] = []
    returned: list[ToolReturnPart] = []
    for part in step:
        if part.get("type") == "text" and part.get("text"):
            said.append(TextPart(str(part["text"]), **(about(part) if is_begun else {})))
        elif part.get("type") == "reasoning":
            if is_begun and (thought := thinking(part)) is not None:
                said.append(thought)
        elif keeps_open and is_open(part):
            said.append(_call(part, is_begun=is_begun))
        elif (result := _tool_return(part, interrupted)) is not None:
            said.append(_call(part, is_begun=is_begun))
            returned.append(result)
    if said:
        yield ModelResponse(parts=said)
    if returned:
        yield ModelRequest(parts=returned)


def _tool_return(part: Part, interrupted: Collection[object]) -> ToolReturnPart | None:
    name, call = _tool_name(part), str(part.get("toolCallId"))
    if name is None:
        return None
    match part.get("state"):
        case "output-available" if not part.get("preliminary"):
            return ToolReturnPart(name, part.get("output"), call)
        case "output-error":
            return ToolReturnPart(name, str(part.get("errorText") or TOOL_FAILED), call, outcome="failed")
        case "output-denied":
            return ToolReturnPart(name, denial(part, interrupted), call, outcome="denied")
        case "approval-requested":
            return ToolReturnPart(name, NOT_APPROVED, call, outcome="denied")
        case _:
            return None


def _call(part: Part, *, is_begun: bool) -> ToolCallPart:
    kept = about(part)
    if not is_begun:
        # OpenAI refuses a call by its item's id without the reasoning before it, which is left out of what is over.
        kept.pop("id", None)
    return ToolCallPart(str(_tool_name(part)), _args(part.get("input")), str(part.get("toolCallId")), **kept)


def _tool_name(part: Part) -> str | None:
    """Tell the name of a tool call's tool; None for what is no call."""
    kind = str(part.get("type", ""))
    name = part.get("toolName") if kind == "dynamic-tool" else kind.removeprefix("tool-")
    is_call = kind == "dynamic-tool" or kind.startswith("tool-")
    return str(name) if is_call and name and part.get("toolCallId") else None


def _args(value: object) -> str | dict[str, Any] | None:
    # A model's broken input is stored as the text it was; pydantic-ai knows how to show that to a model again.
    if value is None or isinstance(value, dict | str):
        return value
    return to_json(value).decode()
