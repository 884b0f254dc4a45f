"""How a run ended, told from how its agent finished (the rules of statuses)."""

import re
from typing import Literal, get_args

from decopilot.contracts.chunks import FinishReason
from decopilot.contracts.events import FailureReason
from decopilot.contracts.frames import Outcome
from decopilot.contracts.messages import UIMessage, Usage
from decopilot.domain.interactions import pending_in

TEXT_LIMIT = 2000
_URL = re.compile(r"https?://[^\s)>\]]*")
_REASONS = get_args(FinishReason)
ABORTED = frozenset({"cancelled", "superseded"})
"""Runs that were ended because somebody wished it: `abort` instead of `error`."""
FORCED: dict[FailureReason, str] = {
    "cancelled": "The run was cancelled.",
    "superseded": "The run was superseded by a newer message.",
    "crashed": "The run was interrupted too often.",
    "timed_out": "The run took too long.",
    "undeliverable": "Nobody took the run up in time.",
    "error": "The run failed.",
}
_LIMITED = {
    "length": "The answer reached its length limit.",
    "content-filter": "The answer was stopped by a content filter.",
}


def resolve(finish_reason: str | None, message: UIMessage, *, questions_wait: bool = True) -> Outcome:
    """Tell the outcome of an agent that came to its end by itself.

    It waits for a person if a call asks for approval, if it ended with `tool-calls` and left calls to be answered,
    or if it ended with `stop` and its last step's text holds a question (unless `questions_wait` is false). Else
    `stop` and `tool-calls` complete the run; with every other reason it failed, although no error is shown.
    """
    reason: FinishReason = finish_reason if finish_reason in _REASONS else "other"  # type: ignore[assignment]
    usage = usage_of(message)
    if reason in {"stop", "tool-calls"}:
        pending = pending_in(message)
        waits = any(found.kind == "approval" or reason == "tool-calls" for found in pending)
        asks = reason == "stop" and questions_wait and _asks(message)
        status: Literal["requires_action", "completed"] = "requires_action" if waits or asks else "completed"
        return Outcome(status=status, finish_reason="tool-calls" if waits else reason, usage=usage)
    return Outcome(
        status="failed",
        finish_reason=reason,
        usage=usage,
        reason="error",
        error_category=reason,
        error_text=_LIMITED.get(reason, "The answer stopped unexpectedly."),
    )


def _asks(message: UIMessage) -> bool:
    """Tell whether the text of the last step holds a question; a question mark in a URL is none."""
    step: list[str] = []
    for part in message.parts:
        if part.get("type") == "step-start":
            step = []
        elif part.get("type") == "text":
            step.append(str(part.get("text", "")))
    return "?" in _URL.sub("", "\n".join(step))


def usage_of(message: UIMessage) -> Usage:
    """Read the tokens used from the message's metadata, as the agent told them."""
    told = (message.metadata or {}).get("usage")
    if not isinstance(told, dict):
        return Usage()
    tokens = {name: told.get(name) for name in ("inputTokens", "outputTokens")}
    return Usage(
        input_tokens=tokens["inputTokens"] if isinstance(tokens["inputTokens"], int) else 0,
        output_tokens=tokens["outputTokens"] if isinstance(tokens["outputTokens"], int) else 0,
    )


def failure(message: UIMessage, category: str, text: str, *, reason: FailureReason = "error") -> Outcome:
    """Tell the outcome of a run that did not come to its end by itself; `text` is shown to its users."""
    return Outcome(
        status="failed",
        finish_reason="other" if reason in ABORTED else "error",
        usage=usage_of(message),
        reason=reason,
        error_category=category,
        error_text=text[:TEXT_LIMIT],
    )


def forced(message: UIMessage, reason: FailureReason) -> Outcome:
    """Tell the outcome of a run that somebody else than its agent ends."""
    return failure(message, reason, FORCED[reason], reason=reason)
