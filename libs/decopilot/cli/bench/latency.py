"""Latencies: percentiles of many."""

import math
from array import array
from collections.abc import Sequence

from decopilot.contracts.messages import Frozen

CURVE = (1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 99.99, 100.0)
"""The percentiles that a curve is drawn of."""
_NS_IN_MS = 1e6


class Latency(Frozen):
    """Percentiles in milliseconds; `curve` has one for each of `CURVE`."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    curve: tuple[float, ...]


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of the values do not exceed (nearest rank); `ordered` is not empty."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def latency(taken_ns: "array[int]") -> Latency | None:
    """Sum up; None where there is nothing."""
    if not taken_ns:
        return None
    ordered = sorted(taken_ns)

    def at(percent: float) -> float:
        return percentile(ordered, percent) / _NS_IN_MS

    return Latency(
        count=len(ordered),
        p50_ms=at(50),
        p95_ms=at(95),
        p99_ms=at(99),
        max_ms=at(100),
        curve=tuple(at(percent) for percent in CURVE),
    )
