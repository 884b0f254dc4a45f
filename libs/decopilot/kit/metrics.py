"""Metrics: shown to Prometheus at `/metrics` of the health port, sent over OTLP where an endpoint is configured.

Each room declares its own instruments (`metrics.py` beside what they measure; docs/metrics.md lists all). They cost
next to nothing where neither is asked for. The translation to Prometheus is ours: the SDK's drops exemplars (ADR 0045).
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Exemplar, MeterProvider
from opentelemetry.sdk.metrics.export import (
    Gauge,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    MetricReader,
    PeriodicExportingMetricReader,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.util.types import Attributes
from prometheus_client.aiohttp import make_aiohttp_handler
from prometheus_client.core import (
    REGISTRY,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as Shown

from decopilot.kit.settings import Settings

LEAVING_MS = 2_000
"""So long a service that leaves waits for its last figures to be taken."""
_UNITS = {"s": "seconds"}
_OTLP = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")

handle = make_aiohttp_handler(REGISTRY)
"""Answers with what there is, as text or as OpenMetrics, whichever is asked for; only that shows exemplars."""


@contextmanager
def exporting(settings: Settings, service: str) -> Iterator[None]:
    """Measure while the context is open, if anybody may ask: at a health port, or where OTLP has an endpoint.

    `OTEL_METRICS_EXPORTER=none` sends none over OTLP, for an endpoint that only takes traces.
    """
    readers: list[MetricReader] = []
    resource = Resource.create(
        {
            "service.name": f"decopilot-{service}",
            "service.instance.id": settings.instance,
            "service.version": version("decopilot"),
        }
    )
    exposition = Exposition(InMemoryMetricReader(), resource)
    if settings.health_port is not None:
        readers.append(exposition.reader)
        REGISTRY.register(exposition)
    if any(map(os.environ.get, _OTLP)) and os.environ.get("OTEL_METRICS_EXPORTER") != "none":
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    if not readers:
        yield
        return
    provider = MeterProvider(readers, resource)
    metrics.set_meter_provider(provider)
    try:
        yield
    finally:
        provider.shutdown(LEAVING_MS)


class Exposition(Collector):
    """Shows Prometheus what the SDK has measured, under the names that it knows things by."""

    def __init__(self, reader: InMemoryMetricReader, resource: Resource) -> None:
        self.reader = reader
        self._target = {name.replace(".", "_"): str(value) for name, value in resource.attributes.items()}

    def describe(self) -> Sequence[Family]:
        """Name nothing beforehand: nothing is measured for it."""
        return ()

    def collect(self) -> Iterator[Family]:
        """Translate what was measured up to now."""
        yield InfoMetricFamily("target", "Who this is", self._target)
        data = self.reader.get_metrics_data()
        for of_resource in () if data is None else data.resource_metrics:
            for of_scope in of_resource.scope_metrics:
                yield from map(_family, of_scope.metrics)


def _family(metric: Metric) -> Family:
    name, text, unit = metric.name.replace(".", "_"), metric.description or "", _UNITS.get(metric.unit or "", "")
    labels = sorted({label for point in metric.data.data_points for label in point.attributes or {}})

    def values(attributes: Attributes) -> list[str]:
        return [str((attributes or {}).get(label, "")) for label in labels]

    if isinstance(metric.data, Histogram):
        histogram = HistogramMetricFamily(name, text, labels=labels, unit=unit)
        for point in metric.data.data_points:
            histogram.add_metric(values(point.attributes), _buckets(point), point.sum)
        return histogram
    if not isinstance(metric.data, Sum | Gauge):
        raise TypeError(metric.data)
    is_counter = isinstance(metric.data, Sum) and metric.data.is_monotonic
    family = (CounterMetricFamily if is_counter else GaugeMetricFamily)(name, text, labels=labels, unit=unit)
    for number in metric.data.data_points:
        family.add_metric(values(number.attributes), number.value)
    return family


def _buckets(point: HistogramDataPoint) -> list[tuple[str, float] | tuple[str, float, Shown]]:
    buckets: list[tuple[str, float] | tuple[str, float, Shown]] = []
    count, above = 0, float("-inf")
    for bound, more in zip([*point.explicit_bounds, float("inf")], point.bucket_counts, strict=True):
        count += more
        # Of one per bucket; OpenMetrics shows such as have a trace to lead to.
        found = [_shown(one) for one in point.exemplars if one.trace_id and above < one.value <= bound]
        name = "+Inf" if bound == float("inf") else str(bound)
        buckets.append((name, count, found[-1]) if found else (name, count))
        above = bound
    return buckets


def _shown(exemplar: Exemplar) -> Shown:
    # The ids are numbers in memory, 16 and 8 bytes wide.
    labels = {"trace_id": f"{exemplar.trace_id:032x}", "span_id": f"{exemplar.span_id or 0:016x}"}
    return Shown(labels, exemplar.value, exemplar.time_unix_nano / 1e9)
