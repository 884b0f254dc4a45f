"""Why a model did not answer, in a category for machines and a text for the user, without what providers say inside."""

import re

from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelNotFoundError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestTimeout,
    ModelTimeoutError,
    ModelUnavailableError,
    OutputTokenLimitExceeded,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
)

from decopilot.agent import AgentError
from decopilot.contracts.chunks import FinishReason

TEXTS = {
    "insufficient_funds": "The account at the model's provider has no credits left.",
    "rate_limit": "The model's provider takes no more requests at the moment. Try again in a minute.",
    "timeout": "The model did not answer in time. Try again.",
    "auth": "The model's provider refused the credentials of this server.",
    "tool_error": "A tool failed too often, so the run was ended.",
    "model_error": "The model's provider answered with an error. Try again, or choose another model.",
}

BROKEN_OFF = "The connection to the model's provider broke off. Try again."

# Exact where pydantic-ai knows better than the words of a message do; the first that fits.
_TYPES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str, str | None], ...] = (
    (ModelQuotaExceededError, "insufficient_funds", None),
    (ModelRateLimitError, "rate_limit", None),
    ((ModelTimeoutError, ModelRequestTimeout), "timeout", None),
    (ModelAuthenticationError, "auth", None),
    (ModelConnectionError, "model_error", "The model's provider could not be reached. Try again."),
    (ModelUnavailableError, "model_error", "The model is not available at the moment. Try again."),
    (ModelContextWindowExceededError, "model_error", "The conversation is too long for this model."),
    (ModelNotFoundError, "model_error", "The model's provider doesn't know this model."),
)

# The classifier of the system that this one re-implements: first match in the lower-case message.
_WORDS = tuple(
    (category, re.compile(pattern))
    for category, pattern in (
        ("insufficient_funds", r"insufficient|credits|balance|payment|quota exceeded|\b402\b"),
        ("rate_limit", r"rate.?limit|too many requests|\b429\b"),
        ("timeout", r"timeout|timed out|deadline|\b408\b|\b504\b"),
        ("auth", r"unauthor|forbidden|\b40[13]\b|invalid (api )?key"),
        ("tool_error", r"\btools?\b|\bmcp\b|connection"),
    )
)


def early_end(error: Exception) -> FinishReason:
    """Tell the finish reason of an exception that only says why the model stopped.

    Raises:
        AgentError: a provider or its model failed.
        Exception: it was neither's fault; `error` itself.

    """
    match error:
        case OutputTokenLimitExceeded():
            return "length"
        case ContentFilterError():
            return "content-filter"
        case UsageLimitExceeded():
            # The step limit: an end of its own, which the AI SDK tells the same way.
            return "tool-calls"
        case ModelAPIError() | UnexpectedModelBehavior():
            raise agent_error(error) from error
        case _:
            raise error


def category_of(error: Exception) -> str:
    """Tell the category of what a provider or its model did wrong."""
    return agent_error(error).category


def agent_error(error: Exception) -> AgentError:
    """Say in words of ours what a provider or its model did wrong."""
    if isinstance(error, ModelConnectionError) and not isinstance(error, ModelTimeoutError) and error.phase == "read":
        return AgentError("model_error", BROKEN_OFF)
    for kind, category, text in _TYPES:
        if isinstance(error, kind):
            return AgentError(category, text or TEXTS[category])
    message = str(error).lower()
    for category, pattern in _WORDS:
        # A provider's answer may well speak of tools or connections; no tool of ours was at work.
        if category == "tool_error" and isinstance(error, ModelAPIError):
            continue
        if pattern.search(message):
            return AgentError(category, TEXTS[category])
    return AgentError("model_error", TEXTS["model_error"])
