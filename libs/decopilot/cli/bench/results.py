"""What was measured: rows that stand beside their raw limit."""

from typing import Any

from pydantic import Field, computed_field

from decopilot.cli.bench.latency import Latency
from decopilot.contracts.messages import Frozen


class Beside(Frozen):
    """A figure of the same run to compare with."""

    what: str
    value: float


class Row(Frozen):
    """One figure of ours, the raw limits beside it; the first of them makes the ratio.

    `value` None was not measured: `note` says why. What says nothing about the server itself makes no ratio.
    """

    measure: str
    unit: str
    value: float | None
    beside: tuple[Beside, ...] = ()
    note: str = ""
    has_ratio: bool = True

    @computed_field  # type: ignore[prop-decorator]  # as pydantic says it is to be written
    @property
    def ratio(self) -> float | None:
        """Return how many times the raw limit it is."""
        if not self.has_ratio or self.value is None or not self.beside or not self.beside[0].value:
            return None
        return self.value / self.beside[0].value


class Curve(Frozen):
    """The latencies of one kind of server, for the picture."""

    of: str
    latency: Latency


class Block(Frozen):
    """Rows that belong together; `exact` says of how many viewers how many saw exactly what was written.

    Where nobody views, a viewer is a log that was read back.
    """

    scenario: str
    title: str
    rows: tuple[Row, ...]
    ours: str = "gateway"
    """What the figures that no name stands at are of."""
    timed: str = "publish → client"
    """From where to where the curves are."""
    viewers: int = 0
    exact: int = 0
    troubles: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()
    facts: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_exact(self) -> bool:
        """Tell whether nothing was lost, doubled, changed or reordered for any viewer."""
        return self.viewers == self.exact and not self.troubles


def latency_rows(what: str, ours: Latency | None, beside: dict[str, Latency | None], unit: str = "ms") -> list[Row]:
    """Make the rows of three percentiles, in `ms` or `s`."""
    size = {"ms": 1, "s": 1000}[unit]

    def row(name: str, field: str) -> Row:
        found = tuple(
            Beside(what=of, value=getattr(one, field) / size) for of, one in beside.items() if one is not None
        )
        value = None if ours is None else getattr(ours, field) / size
        return Row(measure=f"{name} {what}", unit=unit, value=value, beside=found)

    return [row("p50", "p50_ms"), row("p95", "p95_ms"), row("p99", "p99_ms")]


def curves(found: dict[str, Latency | None]) -> tuple[Curve, ...]:
    """Make the curves of what was measured."""
    return tuple(Curve(of=of, latency=one) for of, one in found.items() if one is not None)
