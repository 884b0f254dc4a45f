"""Asking a model's provider again that took no request just now, for as long as viewers can be told why they wait."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, NoReturn

import structlog
from pydantic_ai import RetryModelRequest, RunContext
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import (
    ModelConnectionError,
    ModelHTTPError,
    ModelRateLimitError,
    ModelServerError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from pydantic_ai.models import ModelRequestContext

from decopilot.contracts.chunks import RETRY, Chunk, transient
from decopilot_runner.default_agent.failures import category_of

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a model call is tried, and how long all its waits may take; the first wait doubles each time."""

    tries: int = 6
    first_s: float = 1.0
    total_s: float = 120.0

    def delay_s(self, error: Exception, attempt: int, waited_s: float, rng: Random) -> float | None:
        """Tell how long to wait after a failed attempt, counted from 1; None: it is no use, or takes too long."""
        if attempt >= self.tries or not _may_pass(error):
            return None
        asked_s = getattr(error, "retry_after", None)
        # Half of it by chance: runs that were refused together are not to come back together.
        delay_s = asked_s if asked_s is not None else self.first_s * 2 ** (attempt - 1) * rng.uniform(0.5, 1.0)
        return delay_s if waited_s + delay_s <= self.total_s else None


@dataclass
class Retrying(AbstractCapability[Any]):
    """Tries each model call of a run again, as long as nothing of it was said, and tells so before each wait."""

    tell: Callable[[Chunk], None]
    patience: Patience = Patience()
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    rng: Random = field(default_factory=Random)
    _waited_s: float = 0.0

    async def on_model_request_error(
        self, ctx: RunContext[Any], *, request_context: ModelRequestContext, error: Exception
    ) -> NoReturn:
        """Wait and ask for another attempt, or let the error be; behind a call's first event this is never called."""
        attempt = request_context.attempt
        if attempt == 1:
            self._waited_s = 0.0
        delay_s = self.patience.delay_s(error, attempt, self._waited_s, self.rng)
        if delay_s is None:
            raise error
        self._waited_s += delay_s
        category = category_of(error)
        log.info("model_call_retried", run_id=ctx.run_id, attempt=attempt, category=category, delay_s=round(delay_s, 3))
        self.tell(transient(RETRY, {"attempt": attempt + 1, "delayMs": round(delay_s * 1_000), "category": category}))
        await self.pause(delay_s)
        raise RetryModelRequest


def _may_pass(error: Exception) -> bool:
    if isinstance(error, ModelHTTPError) and error.provider_retry_hint is False:
        return False
    if isinstance(error, ModelTimeoutError):
        # One that has kept us waiting for minutes would do so again.
        return error.phase in {"connect", "pool"}
    return isinstance(error, ModelRateLimitError | ModelUnavailableError | ModelServerError | ModelConnectionError)
