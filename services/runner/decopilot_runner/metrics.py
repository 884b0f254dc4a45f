"""What is measured of runs that are driven (docs/metrics.md)."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.metrics import get_meter

_METER = get_meter("decopilot")

QUEUE = _METER.create_histogram(
    "decopilot.run.queue.duration",
    unit="s",
    description="From when a run may start until a runner takes it up for the first time",
    explicit_bucket_boundaries_advisory=(
        0.005,
        0.01,
        0.025,
        0.05,
        0.1,
        0.25,
        0.5,
        1.0,
        2.5,
        5.0,
        10.0,
        30.0,
        60.0,
        300.0,
        600.0,
    ),
)
FIRST_CHUNK = _METER.create_histogram(
    "decopilot.run.first_chunk.duration",
    unit="s",
    description="From when a run may start until its agent has said something that a person sees",
    explicit_bucket_boundaries_advisory=(
        0.05,
        0.1,
        0.25,
        0.5,
        1.0,
        2.0,
        3.0,
        5.0,
        10.0,
        20.0,
        30.0,
        60.0,
        120.0,
        300.0,
    ),
)
ACTIVE = _METER.create_up_down_counter("decopilot.runs.active", unit="{run}", description="Runs that are driven")
ATTEMPTS = _METER.create_counter(
    "decopilot.run.attempts", unit="{attempt}", description="Attempts at runs that began, the first ones included"
)
RESUMES = _METER.create_counter(
    "decopilot.run.resumes", unit="{resume}", description="Attempts that went on behind what an earlier one had written"
)


def begin() -> None:
    """Show what has not happened yet, for whoever waits for the first one to see it rise."""
    ACTIVE.add(0)
    ATTEMPTS.add(0)
    RESUMES.add(0)


@contextmanager
def driving() -> Iterator[None]:
    """Count a run while the context is open."""
    ACTIVE.add(1)
    try:
        yield
    finally:
        ACTIVE.add(-1)
