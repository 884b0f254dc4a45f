from random import Random

import pytest
from pydantic_ai.exceptions import (
    ModelAuthenticationError,
    ModelConnectionError,
    ModelHTTPError,
    ModelOverloadedError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestTimeout,
    ModelServerError,
    ModelTimeoutError,
    UserError,
)

from decopilot_runner.default_agent.retrying import Patience

PATIENCE = Patience(tries=4, first_s=1.0, total_s=10.0)


def delay_s(error: Exception, attempt: int = 1, waited_s: float = 0.0) -> float | None:
    return PATIENCE.delay_s(error, attempt, waited_s, Random(1))


@pytest.mark.parametrize(
    "error",
    [
        ModelRateLimitError("m", "x"),
        ModelOverloadedError("m", "x"),
        ModelServerError("m", "x"),
        ModelConnectionError("m", "refused", phase="connect"),
        ModelConnectionError("m", "reset", phase="read"),
        ModelTimeoutError("m", "no route", phase="connect"),
    ],
)
def test_what_may_pass_is_waited_for_longer_each_time_until_the_tries_are_used_up(error: Exception) -> None:
    waits = [delay_s(error, attempt) for attempt in range(1, 5)]

    assert waits[-1] is None
    assert all(2**n / 2 <= wait <= 2**n for n, wait in enumerate(waits[:-1]) if wait is not None)
    assert None not in waits[:-1]


@pytest.mark.parametrize(
    "error",
    [
        ModelQuotaExceededError("m", "x"),
        ModelAuthenticationError("m", "x"),
        ModelHTTPError(400, "m", "x"),
        ModelTimeoutError("m", "silent", phase="read"),
        ModelRequestTimeout("m", 30),
        UserError("x"),
        ValueError("x"),
    ],
)
def test_what_will_not_pass_is_not_waited_for(error: Exception) -> None:
    assert delay_s(error) is None


def test_a_provider_that_says_how_long_is_believed_as_far_as_the_patience_goes() -> None:
    assert 7.5 == delay_s(ModelRateLimitError("m", "x", retry_after=7.5))
    assert delay_s(ModelRateLimitError("m", "x", retry_after=7.5), 2, waited_s=3.0) is None


def test_a_provider_that_says_that_it_is_no_use_is_believed() -> None:
    error = ModelHTTPError.for_category(
        ModelRateLimitError, status_code=429, model_name="m", headers={"x-should-retry": "false"}
    )
    assert delay_s(error) is None
