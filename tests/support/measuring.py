"""What this process measures meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader

Counts = dict[str, dict[str, float]]
"""By instrument, and by the values of its attributes, joined by spaces."""
_READER = InMemoryMetricReader()


@contextmanager
def measured() -> Iterator[Counts]:
    """Measure while the context is open; what came meanwhile stands behind it in the dict that this yields.

    Of a histogram: how often it was recorded.
    """
    if not isinstance(metrics.get_meter_provider(), MeterProvider):
        # Once a process: OpenTelemetry takes no other.
        metrics.set_meter_provider(MeterProvider([_READER]))
    before, found = _now(), Counts()
    yield found
    for name, counts in _now().items():
        found[name] = {key: count - before.get(name, {}).get(key, 0) for key, count in counts.items()}


def _now() -> Counts:
    data = _READER.get_metrics_data()
    found: Counts = {}
    for of_resource in () if data is None else data.resource_metrics:
        for metric in (metric for of_scope in of_resource.scope_metrics for metric in of_scope.metrics):
            for point in metric.data.data_points:
                key = " ".join(str(value) for _, value in sorted((point.attributes or {}).items()))
                count = point.count if isinstance(point, HistogramDataPoint) else getattr(point, "value", 0)
                found.setdefault(metric.name, {})[key] = count
    return found
