"""What is measured at the door."""

from opentelemetry.metrics import get_meter

_METER = get_meter("decopilot")

PAINT = _METER.create_histogram(
    "decopilot.paint.duration",
    unit="s",
    description="From a chunk's being stored until a browser has painted it, as the browsers tell",
    explicit_bucket_boundaries_advisory=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
