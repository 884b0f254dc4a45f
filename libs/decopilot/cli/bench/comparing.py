"""Two measurements beside each other: what became faster, in itself and against the raw limit of its run."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from decopilot.cli.bench.record import Report
from decopilot.cli.bench.report import number, ratio
from decopilot.cli.bench.results import Row
from decopilot.contracts.messages import Frozen


class Pair(Frozen):
    """A figure of both; `times` is the newer by the older one, `times_raw` the same of their ratios to the raw limit.

    On another machine, or a noisier day, the latter says more.
    """

    scenario: str
    title: str
    old: Row
    new: Row

    @property
    def times(self) -> float | None:
        """Return how many times the older one the newer one is."""
        return _times(self.old.value, self.new.value)

    @property
    def times_raw(self) -> float | None:
        """Return the same of what each is beside its raw limit."""
        return _times(self.old.ratio, self.new.ratio)


def pairs(old: Report, new: Report) -> Iterator[Pair]:
    """Yield what both measured by the same version of a scenario."""
    known = {(block.scenario, block.title, row.measure, row.unit): row for block in old.blocks for row in block.rows}
    for block in new.blocks:
        if _version(old, block.scenario) != _version(new, block.scenario):
            continue
        for row in block.rows:
            before = known.get((block.scenario, block.title, row.measure, row.unit))
            if before is not None:
                yield Pair(scenario=block.scenario, title=block.title, old=before, new=row)


def warnings(old: Report, new: Report) -> list[str]:
    """Say what stands in the way of comparing them."""
    ours, theirs = ({block.scenario for block in report.blocks} for report in (new, old))
    found = [
        f"{name} was measured in {'the new' if name in ours else 'the old'} report only."
        for name in sorted(ours ^ theirs)
    ]
    for name in sorted(ours & theirs):
        versions = _version(old, name), _version(new, name)
        if versions[0] != versions[1]:
            was, is_ = ("unknown" if version is None else version for version in versions)
            found.append(f"{name} is not compared: version {was} measured something else than version {is_}.")
        elif _parameters(old, name) != _parameters(new, name):
            found.append(f"{name} was measured with other sizes: {_parameters(old, name)}, {_parameters(new, name)}.")
    for what in ("system", "cores", "python"):
        before, now = old.machine.get(what), new.machine.get(what)
        if before != now:
            found.append(f"Another machine: {what} was {before}, and is {now}.")
    for report, which in ((old, "old"), (new, "new")):
        if not report.is_exact:
            found.append(f"The {which} report is not exact, or not whole.")
    return found


def show(old: Report, new: Report, console: Console) -> bool:
    """Print the table; tells whether there was anything to compare."""
    found = list(pairs(old, new))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in ("old", "new", "new / old", "beside raw: old", "new", "new / old"):
        table.add_column(name, justify="right")
    place = ("", "")
    for pair in found:
        if place != (place := (pair.scenario, pair.title)):
            table.add_row(f"[bold]{pair.scenario}[/bold] {escape(pair.title)}")
        table.add_row(
            f"  {pair.new.measure}, {pair.new.unit}",
            *("-" if row.value is None else number(row.value) for row in (pair.old, pair.new)),
            ratio(pair.times),
            ratio(pair.old.ratio),
            ratio(pair.new.ratio),
            ratio(pair.times_raw),
        )
    if found:
        console.print(table)
    for warning in warnings(old, new):
        console.print(f"[yellow]{escape(warning)}[/yellow]", highlight=False, soft_wrap=True)
    return bool(found)


def _times(old: float | None, new: float | None) -> float | None:
    return None if not old or new is None else new / old


def _version(report: Report, scenario: str) -> int | None:
    pinned = report.scenarios.get(scenario)
    return None if pinned is None else pinned.version


def _parameters(report: Report, scenario: str) -> dict[str, object]:
    pinned = report.scenarios.get(scenario)
    return {} if pinned is None else pinned.parameters
