"""What is measured of commands (docs/metrics.md)."""

from opentelemetry.metrics import get_meter

_METER = get_meter("decopilot")

COMMAND = _METER.create_histogram(
    "decopilot.command.duration",
    unit="s",
    description="From when a command's turn has come until its answer is made",
    explicit_bucket_boundaries_advisory=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
