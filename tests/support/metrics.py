"""Metrics: the table of docs/metrics.md, and what services show."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

ROOT = Path(__file__).parents[2]
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
_READER = InMemoryMetricReader()


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    shown: str
    kind: str
    unit: str
    attributes: frozenset[str]
    who: tuple[str, ...]


def _rows() -> Iterator[Row]:
    for line in (ROOT / "docs" / "metrics.md").read_text().splitlines():
        if line.startswith("| `decopilot."):
            name, shown, kind, unit, attributes, who, _ = (cell.strip() for cell in line.strip("|").split(" |"))
            yield Row(
                name.strip("`"),
                shown.strip("`"),
                kind,
                unit,
                frozenset(re.findall(r"`(\w+)`", attributes)),
                tuple(who.split(", ")),
            )


ROWS = list(_rows())
ATTRIBUTES = {
    shown: set(row.attributes)
    for row in ROWS
    for shown in (
        [f"{row.shown}_{part}" for part in ("bucket", "count", "sum")] if row.kind == "histogram" else [row.shown]
    )
}
"""Every series that there may be, and its attributes."""


def scrape(url: str, accept: str = "") -> tuple[str, list[Family]]:
    """Ask as Prometheus does; returns the body, and what a parser of Prometheus makes of it."""
    with urlopen(Request(url, headers={"Accept": accept}), timeout=20) as answer:
        body = answer.read().decode()
        parse = parse_openmetrics if "openmetrics" in answer.headers["Content-Type"] else parse_text
    return body, list(parse(body))


@contextmanager
def measured() -> Iterator[dict[str, dict[tuple[tuple[str, str], ...], float]]]:
    """Measure in this process while the context is open; what was counted then stands in the dict that it yields."""
    if not isinstance(metrics.get_meter_provider(), MeterProvider):
        # Once a process: OpenTelemetry takes no other.
        metrics.set_meter_provider(MeterProvider([_READER]))
    before, found = _now(), dict[str, dict[tuple[tuple[str, str], ...], float]]()
    yield found
    for name, points in _now().items():
        found[name] = {key: value - before.get(name, {}).get(key, 0) for key, value in points.items()}


def _now() -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    data = _READER.get_metrics_data()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for of_resource in () if data is None else data.resource_metrics:
        for metric in (metric for scope in of_resource.scope_metrics for metric in scope.metrics):
            for point in metric.data.data_points:
                key = tuple(sorted((name, str(value)) for name, value in (point.attributes or {}).items()))
                value = point.value if isinstance(point, NumberDataPoint) else point.count
                found.setdefault(metric.name, {})[key] = value
    return found
