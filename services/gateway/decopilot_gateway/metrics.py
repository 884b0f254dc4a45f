"""What is measured at the door (docs/metrics.md)."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Literal

from opentelemetry.metrics import get_meter

from decopilot.contracts.problems import PROBLEMS

_METER = get_meter("decopilot")

ACCEPT = _METER.create_histogram(
    "decopilot.accept.duration",
    unit="s",
    description="From a well-formed wish for a run until it is in the log, or is refused, or nobody knows",
    explicit_bucket_boundaries_advisory=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
PAINT = _METER.create_histogram(
    "decopilot.paint.duration",
    unit="s",
    description="From a chunk's being stored until a browser has painted it, as the browsers tell",
    explicit_bucket_boundaries_advisory=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
REFUSALS = _METER.create_counter(
    "decopilot.refusals", unit="{request}", description="Requests that were answered by a problem"
)
VIEWERS = _METER.create_up_down_counter("decopilot.viewers", unit="{viewer}", description="Streams that are open")
FALLBACKS = _METER.create_counter(
    "decopilot.viewer.fallbacks", unit="{fallback}", description="Times that a viewer was left behind as too slow"
)
RESETS = _METER.create_counter(
    "decopilot.viewer.resets", unit="{reset}", description="Times that a viewer was told to begin anew"
)


def begin() -> None:
    """Show what has not happened yet, for whoever waits for the first one to see it rise."""
    FALLBACKS.add(0)
    for reason in ("hole", "cursor", "rewind"):
        RESETS.add(0, {"reason": reason})
    for kind in ("attach", "watch"):
        VIEWERS.add(0, {"kind": kind})
    for code, problem in PROBLEMS.items():
        if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            REFUSALS.add(0, {"code": code})


@contextmanager
def viewing(kind: Literal["attach", "watch"]) -> Iterator[None]:
    """Count a viewer while the context is open."""
    VIEWERS.add(1, {"kind": kind})
    try:
        yield
    finally:
        VIEWERS.add(-1, {"kind": kind})
