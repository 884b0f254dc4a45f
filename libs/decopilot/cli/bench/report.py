"""Reporting: the tables for people."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from decopilot.cli.bench.pinning import Cores
from decopilot.cli.bench.results import Block

MEASURE_WIDTH, FIGURE_WIDTH = 36, 9
WIDTH = 100
"""Of the table where no terminal says how wide it is."""
_PRECISE, _SMALL = 10, 100


def show(blocks: Sequence[Block], failures: dict[str, str], cores: Cores, console: Console) -> None:
    """Print a table of each block."""
    for block in blocks:
        _show(block, console)
    for scenario, reason in failures.items():
        console.print(f"[red]{scenario} was not measured: {escape(reason)}[/red]", highlight=False)
    words = f"{cores}; nats-server acknowledges what is on the disk (sync_interval: always)."
    console.print(words[0].upper() + words[1:], highlight=False)


def _show(block: Block, console: Console) -> None:
    others = list(dict.fromkeys(beside.what for row in block.rows for beside in row.beside))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", min_width=MEASURE_WIDTH)
    for name in (block.ours, *others, *(["ratio"] if others else [])):
        table.add_column(name, justify="right", min_width=FIGURE_WIDTH)
    for row in block.rows:
        values = {beside.what: number(beside.value) for beside in row.beside}
        cells = ["-" if row.value is None else number(row.value), *(values.get(name, "") for name in others)]
        table.add_row(f"{row.measure}, {row.unit}", *cells, *([ratio(row.ratio)] if others else []))
    console.print(f"\n[bold]{block.scenario}[/bold] {escape(block.title)}", highlight=False)
    console.print(table)
    for row in block.rows:
        if row.note:
            console.print(f"{row.measure}: {row.note}.", highlight=False)
    if block.viewers:
        words = exact(block)
        console.print(words if block.is_exact else f"[bold red]{words}[/bold red]", highlight=False)
    for trouble in block.troubles:
        console.print(f"[red]{escape(trouble)}[/red]", highlight=False, soft_wrap=True)


def exact(block: Block) -> str:
    """Say how many streams were what was written."""
    return f"{block.exact:,} of {block.viewers:,} streams had every chunk once, unchanged and in order."


def ratio(value: float | None) -> str:
    """Write how many times something is something else."""
    return "" if value is None else f"{value:.2g}" if value < _PRECISE else f"{value:,.0f}"


def number(value: float) -> str:
    """Write a figure with as many digits as mean something."""
    if abs(value) < _PRECISE:
        return f"{value:.2f}"
    return f"{value:.1f}" if abs(value) < _SMALL else f"{value:,.0f}"
