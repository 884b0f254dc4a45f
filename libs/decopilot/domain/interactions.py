"""What a message waits for, and the message once that is resolved."""

from collections.abc import Collection, Iterable

from decopilot.contracts.chunks import Chunk
from decopilot.contracts.interactions import Answer, Approval, Interaction, Resolution
from decopilot.contracts.messages import Part, UIMessage

NOT_APPROVED = "The user went on without approving this tool call."
NOT_ANSWERED = "The user went on without answering."


def tool_name(part: Part) -> str | None:
    """Tell the name of a tool call's tool; None for what is no call."""
    kind = str(part.get("type", ""))
    if "toolCallId" not in part:
        return None
    return str(part.get("toolName")) if kind == "dynamic-tool" else kind.removeprefix("tool-")


def pending_in(message: UIMessage) -> tuple[Interaction, ...]:
    """Tell what a message of an ended run waits for.

    That are its calls that ask for approval, and those that have their whole input and no output: every other call
    was closed when its run ended.
    """
    return tuple(found for part in message.parts if (found := _pending(part)) is not None)


def _pending(part: Part) -> Interaction | None:
    name, approval = tool_name(part), part.get("approval")
    if name is None or part.get("providerExecuted"):
        return None
    call = str(part["toolCallId"])
    if part.get("state") == "approval-requested" and isinstance(approval, dict):
        return Interaction(kind="approval", id=str(approval["id"]), tool_call_id=call, tool_name=name)
    if part.get("state") == "input-available":
        return Interaction(kind="answer", id=call, tool_call_id=call, tool_name=name)
    return None


def with_verdicts(message: UIMessage, resolutions: Iterable[Resolution]) -> UIMessage:
    """Return the message that a continuation begins with: its approvals are answered, its outputs yet to come."""
    verdicts = {resolution.approval_id: resolution for resolution in resolutions if isinstance(resolution, Approval)}
    return message.model_copy(update={"parts": [_with_verdict(part, verdicts) for part in message.parts]})


def _with_verdict(part: Part, verdicts: dict[str, Approval]) -> Part:
    approval = part.get("approval")
    if part.get("state") != "approval-requested" or not isinstance(approval, dict):
        return part
    verdict = verdicts.get(str(approval["id"]))
    if verdict is None:
        return part
    told = {"approved": verdict.approved} | ({} if verdict.reason is None else {"reason": verdict.reason})
    return part | {"state": "approval-responded", "approval": approval | told}


def resolution_chunks(message: UIMessage, resolutions: Iterable[Resolution]) -> list[Chunk]:
    """Make the chunks that tell a message's viewers its answers and denials; what was approved is yet to be done."""
    answers = {resolution.tool_call_id: resolution for resolution in resolutions if isinstance(resolution, Answer)}
    chunks: list[Chunk] = []
    for part in message.parts:
        call, approval = part.get("toolCallId"), part.get("approval")
        # `ai` 5 finds a dynamic call only if every chunk about it says so.
        about = {"toolCallId": call} | ({"dynamic": True} if part.get("type") == "dynamic-tool" else {})
        if part.get("state") == "input-available" and (answer := answers.get(str(call))) is not None:
            if answer.error_text is None:
                chunks.append({"type": "tool-output-available", "output": answer.output, **about})
            else:
                chunks.append({"type": "tool-output-error", "errorText": answer.error_text, **about})
        if part.get("state") == "approval-responded" and isinstance(approval, dict) and not approval.get("approved"):
            chunks.append({"type": "tool-output-denied", "toolCallId": call})
    return chunks


def without_unanswered(message: UIMessage, pending: Collection[Interaction | Resolution]) -> UIMessage:
    """Return the message as history shows it: what nobody will answer any more is denied."""
    waits = {interaction.key for interaction in pending}
    parts = [_settled(part, waits) for part in message.parts]
    return message if parts == message.parts else message.model_copy(update={"parts": parts})


def _settled(part: Part, waits: Collection[str]) -> Part:
    approval = part.get("approval")
    if part.get("state") == "output-denied" and isinstance(approval, dict) and "approved" not in approval:
        # A run that ended meanwhile denied it by a chunk, which has no room for this.
        return part | {"approval": approval | {"approved": False, "reason": NOT_APPROVED}}
    asked = _pending(part)
    if asked is None or asked.key in waits:
        return part
    if asked.kind == "approval":
        approval = part["approval"] | {"approved": False, "reason": NOT_APPROVED}
        return part | {"state": "output-denied", "approval": approval}
    return part | {"state": "output-error", "errorText": NOT_ANSWERED}
