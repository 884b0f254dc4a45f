"""How a run ended, told from how its agent finished (the rules of statuses)."""

from typing import get_args

from decopilot.contracts.chunks import FinishReason
from decopilot.contracts.events import FailureReason
from decopilot.contracts.frames import Outcome
from decopilot.contracts.messages import UIMessage, Usage

TEXT_LIMIT = 2000
_REASONS = get_args(FinishReason)
_LIMITED = {
    "length": "The answer reached its length limit.",
    "content-filter": "The answer was stopped by a content filter.",
}


def resolve(finish_reason: str | None, message: UIMessage) -> Outcome:
    """Tell the outcome of an agent that came to its end by itself.

    `stop` and `tool-calls` complete the run; with every other reason it failed, although no error is shown.
    """
    reason: FinishReason = finish_reason if finish_reason in _REASONS else "other"  # type: ignore[assignment]
    usage = usage_of(message)
    if reason in {"stop", "tool-calls"}:
        return Outcome(status="completed", finish_reason=reason, usage=usage)
    return Outcome(
        status="failed",
        finish_reason=reason,
        usage=usage,
        reason="error",
        error_category=reason,
        error_text=_LIMITED.get(reason, "The answer stopped unexpectedly."),
    )


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
        finish_reason="error",
        usage=usage_of(message),
        reason=reason,
        error_category=category,
        error_text=text[:TEXT_LIMIT],
    )
