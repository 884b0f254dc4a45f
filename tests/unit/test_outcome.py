"""How a run ended, told from how its agent finished."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.contracts.chunks import FinishReason
from decopilot.contracts.events import FailureReason
from decopilot.contracts.frames import Outcome
from decopilot.contracts.messages import Part, UIMessage, Usage
from decopilot.domain.outcome import FORCED, TEXT_LIMIT, failure, forced, resolve, usage_of
from support.deciding import ASKS, OPEN

REASONS = get_args(FinishReason)
STEP: Part = {"type": "step-start"}
ASKING: Part = {"type": "text", "text": "Which one?"}
SAYING: Part = {"type": "text", "text": "This one."}


def message(*parts: Part, metadata: dict[str, Any] | None = None) -> UIMessage:
    return UIMessage.model_validate({"id": "answer-r1", "role": "assistant", "parts": parts, "metadata": metadata})


@pytest.mark.parametrize(
    ("reason", "parts", "status", "told"),
    [
        ("stop", [SAYING], "completed", "stop"),
        ("stop", [], "completed", "stop"),
        ("tool-calls", [SAYING], "completed", "tool-calls"),
        ("tool-calls", [ASKING], "completed", "tool-calls"),
        ("stop", [ASKING], "requires_action", "stop"),
        ("stop", [STEP, ASKING, STEP, SAYING], "completed", "stop"),
        ("stop", [STEP, SAYING, STEP, ASKING], "requires_action", "stop"),
        ("stop", [STEP, ASKING, STEP], "completed", "stop"),
        ("stop", [STEP, {"type": "reasoning", "text": "What?"}], "completed", "stop"),
        ("stop", [ASKS], "requires_action", "tool-calls"),
        ("tool-calls", [ASKS], "requires_action", "tool-calls"),
        ("tool-calls", [OPEN], "requires_action", "tool-calls"),
        ("stop", [OPEN], "completed", "stop"),
        ("stop", [OPEN, ASKING], "requires_action", "stop"),
        ("tool-calls", [OPEN | {"providerExecuted": True}], "completed", "tool-calls"),
    ],
)
def test_a_run_completes_or_waits_as_its_agent_and_its_message_say(
    reason: str, parts: list[Part], status: str, told: str
) -> None:
    outcome = resolve(reason, message(*parts))
    assert (status, told, None) == (outcome.status, outcome.finish_reason, outcome.reason)


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("Ready?", True),
        ("Really?!", True),
        ("Is it this? I think so.", True),
        ("See https://example.org/?q=1 for more.", False),
        ("See <http://example.org/?q=1>.", False),
        ("See [this](https://example.org/?q=1), yes?", True),
        ("https://example.org/?q=1 or not?", True),
        ("Done.", False),
    ],
)
def test_a_question_mark_in_a_url_asks_nothing(text: str, *, asks: bool) -> None:
    said = message({"type": "text", "text": text})
    assert ("requires_action" if asks else "completed") == resolve("stop", said).status


def test_a_question_waits_for_nobody_where_the_setting_says_so() -> None:
    assert "completed" == resolve("stop", message(ASKING), questions_wait=False).status
    assert "requires_action" == resolve("stop", message(ASKING, ASKS), questions_wait=False).status


@pytest.mark.parametrize(
    ("reason", "told", "text"),
    [
        ("length", "length", "The answer reached its length limit."),
        ("content-filter", "content-filter", "The answer was stopped by a content filter."),
        ("error", "error", "The answer stopped unexpectedly."),
        ("other", "other", "The answer stopped unexpectedly."),
        ("surprise", "other", "The answer stopped unexpectedly."),
        (None, "other", "The answer stopped unexpectedly."),
    ],
)
def test_an_agent_that_finished_otherwise_failed(reason: str | None, told: FinishReason, text: str) -> None:
    expected = Outcome(status="failed", finish_reason=told, reason="error", error_category=told, error_text=text)
    assert expected == resolve(reason, message(ASKS, ASKING))


@given(st.none() | st.text() | st.sampled_from(REASONS), st.lists(st.sampled_from([STEP, ASKING, SAYING, ASKS, OPEN])))
def test_whatever_an_agent_says_its_outcome_is_one_of_three(reason: str | None, parts: list[Part]) -> None:
    outcome = resolve(reason, message(*parts))
    assert outcome.finish_reason in REASONS
    assert (outcome.status == "failed") == (outcome.reason is not None) == (reason not in {"stop", "tool-calls"})
    if outcome.status == "requires_action":
        assert outcome.finish_reason == "tool-calls" or "?" in message(*parts).text


@pytest.mark.parametrize(
    ("metadata", "usage"),
    [
        (None, Usage()),
        ({}, Usage()),
        ({"usage": None}, Usage()),
        ({"usage": 7}, Usage()),
        ({"usage": {"inputTokens": 3}}, Usage(input_tokens=3)),
        ({"usage": {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}}, Usage(input_tokens=3, output_tokens=5)),
        ({"usage": {"inputTokens": "3", "outputTokens": 5.5}}, Usage()),
    ],
)
def test_usage_is_what_the_messages_metadata_says(metadata: dict[str, Any] | None, usage: Usage) -> None:
    assert usage == usage_of(message(metadata=metadata))
    assert usage == resolve("stop", message(SAYING, metadata=metadata)).usage


@pytest.mark.parametrize("reason", get_args(FailureReason))
def test_a_run_that_is_ended_from_outside_says_why(reason: FailureReason) -> None:
    told = "other" if reason in {"cancelled", "superseded"} else "error"
    usage = {"usage": {"inputTokens": 3, "outputTokens": 5}}
    assert Outcome(
        status="failed",
        finish_reason=told,
        usage=Usage(input_tokens=3, output_tokens=5),
        reason=reason,
        error_category=reason,
        error_text=FORCED[reason],
    ) == forced(message(metadata=usage), reason)


def test_a_failure_says_as_much_as_fits_its_header() -> None:
    outcome = failure(message(), "network", "x" * (TEXT_LIMIT + 1))
    assert ("error", "network", "x" * TEXT_LIMIT) == (outcome.reason, outcome.error_category, outcome.error_text)
