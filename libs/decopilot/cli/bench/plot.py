"""Drawing what was measured: latencies as curves of percentiles, replay as bars, ours beside the raw limit."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no window

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter

from decopilot.cli.bench.latency import CURVE
from decopilot.cli.bench.results import Block, Row

COLOURS = ("#2456c7", "#d97706", "#6b7280", "#0f766e")
"""Ours, then what stands beside it."""
INK, FAINT = "#1f2937", "#e5e7eb"
COLUMNS = 4
FROM, MAXIMUM = 50.0, 100.0
PANEL_INCHES = (4.1, 3.2)
HEADROOM = 9
"""For the legend above the curves, on a logarithmic axis."""
DPI = 130
# The rarer, the more room: as many nines as a percentile has.
SHOWN = {50.0: "50", 90.0: "90", 99.0: "99", 99.9: "99.9", 99.99: "99.99"}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
}


def draw(path: Path, blocks: Sequence[Block]) -> None:
    """Write the picture; its form is what the name ends in."""
    panels: list[Block | None] = [block for block in blocks if block.curves]
    replays = [block for block in blocks if block.scenario == "replay"]
    panels += [None] if replays else []
    if not panels:
        return
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    with plt.rc_context(STYLE):
        size = (PANEL_INCHES[0] * columns, PANEL_INCHES[1] * lines + 0.5)
        figure, grid = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
        figure.suptitle("Beside the raw limits of the same run", x=0.01, ha="left", fontsize=12, weight="bold")
        axes = list(grid.flat)
        for axis, block in zip(axes, panels, strict=False):
            if block is None:
                _bars(axis, replays)
            else:
                _curves(axis, block)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        figure.savefig(path, dpi=DPI)
        plt.close(figure)


def _curves(axis: Any, block: Block) -> None:  # noqa: ANN401  matplotlib's types are not to be relied on
    points = [(index, percent) for index, percent in enumerate(CURVE) if FROM <= percent < MAXIMUM]
    for curve, colour in zip(block.curves, COLOURS, strict=False):
        values = [curve.latency.curve[index] for index, _ in points]
        axis.plot(
            [_nines(percent) for _, percent in points], values, color=colour, lw=1.8, marker="o", ms=3, label=curve.of
        )
    axis.set_title(_wrapped(f"{block.scenario}: {block.title}"))
    axis.set_yscale("log")
    axis.set_ylim(top=axis.get_ylim()[1] * HEADROOM)
    axis.set_xticks([_nines(percent) for percent in SHOWN], list(SHOWN.values()))
    axis.set_xlabel("percentile")
    axis.set_ylabel(f"{block.timed}, ms")
    axis.yaxis.set_major_formatter(FuncFormatter(_plain))
    axis.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: _plain(value, 0) if _leads(value) else ""))
    axis.tick_params(axis="y", which="minor", labelsize=7)
    axis.grid(visible=True, which="both", axis="y", color=FAINT, lw=0.6)
    axis.set_axisbelow(True)
    axis.legend(loc="upper left", fontsize=8)


def _bars(axis: Any, blocks: Sequence[Block]) -> None:  # noqa: ANN401  as above
    rows = [(block, row) for block in blocks for row in block.rows if row.unit == "chunks/s" and row.value is not None]
    names = []
    for place, (block, row) in enumerate(rows):
        values = [("gateway", row.value or 0.0), *((beside.what, beside.value) for beside in row.beside)]
        for offset, colour, (of, value) in zip((-0.19, 0.19), COLOURS, values, strict=False):
            axis.barh(place + offset, value, height=0.34, color=colour, label=of if not place else None)
            axis.text(value * 1.12, place + offset, _short(value), va="center", fontsize=8)
        names.append(_bar_name(block, row))
    axis.set_title("replay: chunks a second to one reader")
    axis.set_yticks(range(len(names)), names, fontsize=8)
    # The first on top, and room for the legend under the last.
    axis.set_ylim(len(rows) + 0.3, -0.6)
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    axis.set_xlim(low / 3, high * 6)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axis.grid(visible=True, axis="x", color=FAINT, lw=0.6)
    axis.set_axisbelow(True)
    axis.legend(loc="lower left", ncols=2, fontsize=8)


def _bar_name(block: Block, row: Row) -> str:
    return f"{block.title.rpartition(', ')[2]}\n{row.measure.partition(' (')[0].removeprefix('whole, ')}"


def _nines(percent: float) -> float:

    return -math.log10(1 - percent / 100)


def _plain(value: float, _: int) -> str:
    return f"{value:g}"


def _leads(value: float) -> bool:
    return f"{value:e}"[0] in "25"


def _short(value: float) -> str:
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _wrapped(text: str) -> str:

    return "\n".join(textwrap.wrap(text, 40))
