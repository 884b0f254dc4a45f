"""Refusing: what is wrong with a token, told to whoever sent it, and logged by a short code."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog

from decopilot_gateway.problems import ProblemError

_SHOWN = 256
"""So much is logged of what a stranger wrote."""

log = structlog.get_logger()


class RefusedTokenError(ProblemError):
    """A token is not believed, or not here. `reason` is stable, for the log; `facts` is what stands beside it there."""

    def __init__(self, reason: str, detail: str, *, code: str = "unauthenticated", **facts: object) -> None:
        self.reason, self.facts = reason, facts
        super().__init__(code, detail)


@contextmanager
def logged() -> Iterator[None]:
    """Log the refusal of a token that comes of what is done in here."""
    try:
        yield
    except RefusedTokenError as refused:
        log.info("token_refused", reason=refused.reason, **texts_of(refused.facts))
        raise


def texts_of(facts: Mapping[str, object]) -> dict[str, str]:
    """Return the texts among facts, shortened."""
    return {name: fact[:_SHOWN] for name, fact in facts.items() if isinstance(fact, str)}
