"""What is measured of the log (docs/metrics.md)."""

from datetime import UTC, datetime

from opentelemetry.metrics import get_meter

_METER = get_meter("decopilot")
_SHORT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

CHUNK_STORE = _METER.create_histogram(
    "decopilot.chunk.store.duration",
    unit="s",
    description="From sending a frame of chunks until the broker has it on disk, whatever it took",
    explicit_bucket_boundaries_advisory=_SHORT_S,
)
CHUNK_DELIVERY = _METER.create_histogram(
    "decopilot.chunk.delivery.duration",
    unit="s",
    description="From a frame's being stored until it was written to the socket of the last viewer that keeps up",
    explicit_bucket_boundaries_advisory=_SHORT_S,
)
RUNS_ENDED = _METER.create_counter(
    "decopilot.runs.ended", unit="{run}", description="Runs whose end this process appended"
)
RUNS_LOST = _METER.create_counter(
    "decopilot.runs.lost", unit="{run}", description="Runs of which stored frames could not be read any more"
)


def since_s(moment: datetime) -> float:
    """Tell how long ago that was; by clocks that may differ, so never less than nothing."""
    return max((datetime.now(UTC) - moment).total_seconds(), 0.0)
