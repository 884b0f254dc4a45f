import pytest
from pydantic_ai.exceptions import (
    ContentFilterError,
    IncompleteToolCall,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestTimeout,
    ModelTimeoutError,
    ModelUnavailableError,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
    UserError,
)

from decopilot.agent import AgentError
from decopilot_runner.default_agent.failures import TEXTS, early_end

SECRET = "https://api.internal.example/v1?key=sk-123 req_42"


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (ModelHTTPError(402, "m", SECRET), "insufficient_funds"),
        (ModelHTTPError(429, "m", {"error": "insufficient_quota", "see": SECRET}), "insufficient_funds"),
        (ModelQuotaExceededError("m", SECRET), "insufficient_funds"),
        (ModelHTTPError(429, "m", SECRET), "rate_limit"),
        (ModelRateLimitError("m", SECRET), "rate_limit"),
        (ModelHTTPError(504, "m", SECRET), "timeout"),
        (ModelTimeoutError("m", SECRET), "timeout"),
        (ModelRequestTimeout("m", 30), "timeout"),
        (ModelHTTPError(401, "m", SECRET), "auth"),
        (ModelHTTPError(400, "m", f"Invalid API key {SECRET}"), "auth"),
        (ModelAuthenticationError("m", SECRET), "auth"),
        (ModelHTTPError(500, "m", SECRET), "model_error"),
        (ModelHTTPError(400, "gpt-4020", f"tools[0] is wrong {SECRET}"), "model_error"),
        (ModelConnectionError("m", f"connection refused {SECRET}"), "model_error"),
        (ModelUnavailableError("m", SECRET), "model_error"),
        (ModelContextWindowExceededError("m", SECRET), "model_error"),
        (ModelAPIError("m", SECRET), "model_error"),
        (UnexpectedModelBehavior("Tool 'look' exceeded max retries count of 1", SECRET), "tool_error"),
        (UnexpectedModelBehavior("Exceeded maximum output retries (1)", SECRET), "model_error"),
    ],
)
def test_a_failing_provider_has_a_category_and_a_text_without_its_internals(error: Exception, category: str) -> None:
    with pytest.raises(AgentError) as told:
        early_end(error)

    assert told.value.category == category
    assert told.value.text
    assert not any(secret in told.value.text for secret in SECRET.split())
    assert told.value.__cause__ is error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (IncompleteToolCall("cut off"), "length"),
        (ContentFilterError("refused"), "content-filter"),
        (UsageLimitExceeded("30 requests"), "tool-calls"),
    ],
)
def test_an_end_that_only_came_early_is_no_failure(error: Exception, reason: str) -> None:
    assert reason == early_end(error)


@pytest.mark.parametrize("error", [ValueError("x"), UserError("wrong use"), KeyError("y")])
def test_what_is_not_the_providers_fault_is_raised_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        early_end(error)

    assert raised.value is error


def test_every_text_is_a_sentence_for_people() -> None:
    assert all(text.endswith(".") and text[0].isupper() for text in TEXTS.values())
