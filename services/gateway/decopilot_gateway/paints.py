"""The metric of paints."""

from opentelemetry import metrics

paint_duration = metrics.get_meter("decopilot").create_histogram(
    "decopilot.paint.duration", unit="s", description="From a chunk's storing to the frame that shows it."
)
