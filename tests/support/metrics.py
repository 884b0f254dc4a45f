"""Metrics: the table of docs/metrics.md, and what services show."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

ROOT = Path(__file__).parents[2]
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


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
_SERIES = {"histogram": ("_bucket", "_count", "_sum")}
ATTRIBUTES = {row.shown + part: set(row.attributes) for row in ROWS for part in _SERIES.get(row.kind, ("",))}
"""Every series that there may be, and its attributes."""


def scrape(url: str, accept: str = "") -> tuple[str, list[Family]]:
    """Ask as Prometheus does; returns the body, and what a parser of Prometheus makes of it."""
    with urlopen(Request(url, headers={"Accept": accept}), timeout=20) as answer:
        body = answer.read().decode()
        parse = parse_openmetrics if "openmetrics" in answer.headers["Content-Type"] else parse_text
    return body, list(parse(body))
