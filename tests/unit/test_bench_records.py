"""What the benchmark leaves: pinned scenarios, a report that is read again, its tables, and two of them compared."""

from dataclasses import asdict
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from decopilot.cli.bench import comparing, plans, record, tables
from decopilot.cli.bench import table as write_tables
from decopilot.cli.bench.names import GatewayScenario, RecoveryScenario, RunsScenario
from decopilot.cli.bench.record import Pinned, Report
from decopilot.cli.bench.results import Beside, Block, Row
from decopilot.cli.errors import CliError

ALL = (*plans.GATEWAY, *plans.RUNS, *plans.RECOVERY, *plans.MEMORY)
PINNED = {
    "idle": (1, {"viewers": 5_000, "threads": 500, "seconds": 30}),
    "fanout": (1, {"seconds": 20, "warm_up_s": 1, "cells": ((10, 50), (200, 50), (200, 200), (1_000, 50))}),
    "replay": (1, {"chunks": 20_000, "each": (1, 16), "reads": 5}),
    "slow": (
        1,
        {"seconds": 20, "warm_up_s": 1, "viewers": 200, "rate": 50, "padding_bytes": 8192, "reads_bytes_s": 1024},
    ),
    "accept": (1, {"posts": 300, "warm_up": 20}),
    "live": (1, {"chunks": 1_000}),
    "pump": (1, {"chunks": 200_000, "publishes": 5_000}),
    "pumps": (1, {"runs": 200, "rate": 50, "seconds": 20, "warm_up_s": 2}),
    "together": (2, {"at_once": (25, 50, 100, 200), "chunks": 400}),
    "runner-killed": (1, {"kills": 100, "runners": 6, "at_a_time": 3}),
    "runner-leaves": (1, {"kills": 30, "runners": 6, "at_a_time": 3}),
    "gateway-killed": (1, {"kills": 20, "viewers": 20}),
    "memory": (1, {"threads": 500, "runs": 100, "viewers": 1_000, "settle_s": 3}),
}
"""Figures of two versions are compared only where this is the same: who changes it here raises the version, too."""


def sizes(scenario: plans.Scenario) -> dict[str, Any]:
    found = asdict(scenario)
    if "cells" in found:
        found["cells"] = tuple((cell["viewers"], cell["rate"]) for cell in found["cells"])
    return found


def report(value: float, raw: float, *, version: int | None = 1, posts: int = 300, cores: int = 2) -> Report:
    row = Row(measure="p50 POST → 202", unit="ms", value=value, beside=(Beside(what="bare publish", value=raw),))
    return Report(
        measured_at=datetime(2026, 11, 28, tzinfo=UTC),
        command=("bench", "runs"),
        machine={"system": "Linux", "cores": cores, "python": "3.11.7", "packages": {"decopilot": "1.0"}},
        scenarios={} if version is None else {"accept": Pinned(version=version, parameters={"posts": posts})},
        is_exact=True,
        blocks=(Block(scenario="accept", title="messages", rows=(row,), ours="ours", viewers=300, exact=300),),
        failures={},
    )


def compared(old: Report, new: Report) -> str:
    out = StringIO()
    comparing.show(old, new, Console(file=out, width=120))
    return out.getvalue()


def test_each_scenario_is_pinned_as_it_was_when_it_got_its_version() -> None:
    assert PINNED == {scenario.name: (scenario.version, sizes(scenario)) for scenario in ALL}


def test_each_scenario_has_a_name_on_the_command_line_and_a_quick_form() -> None:
    names = [name.value for kind in (GatewayScenario, RunsScenario, RecoveryScenario) for name in kind]
    assert [*names, "memory"] == [scenario.name for scenario in ALL]
    assert [type(scenario) for scenario in ALL] == [type(scenario) for scenario in plans.quick(ALL)]


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = report(9.0, 3.0)
    record.write(tmp_path / "report.json", written)
    assert written == record.read(tmp_path / "report.json")
    assert 3.0 == record.read(tmp_path / "report.json").blocks[0].rows[0].ratio


@pytest.mark.parametrize("text", ["", "{}", "[1]"])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(CliError, match="no report"):
        record.read(tmp_path / "report.json")
    with pytest.raises(CliError, match="Can't read"):
        record.read(tmp_path / "nothing.json")


def test_reports_of_the_time_before_versions_are_still_read() -> None:
    old = record.read(Path(__file__).parents[2] / "docs" / "benchmarks-gateway.json")
    assert {"idle", "fanout", "replay", "slow"} == {block.scenario for block in old.blocks}


def test_a_comparison_tells_new_by_old_and_the_same_beside_the_raw_limit() -> None:
    (pair,) = comparing.pairs(report(8.0, 1.0), report(6.0, 1.5))
    assert (0.75, 0.5) == (pair.times, pair.times_raw)
    assert "0.75" in compared(report(8.0, 1.0), report(6.0, 1.5))


def test_two_versions_of_a_scenario_are_not_compared() -> None:
    for old in (None, 1):
        found = compared(report(8.0, 1.0, version=old), report(6.0, 1.5, version=2))
        assert f"accept is not compared: version {old or 'unknown'} measured something else than version 2." in found
        assert "POST" not in found


def test_other_sizes_and_another_machine_are_said() -> None:
    found = comparing.warnings(report(8.0, 1.0), report(6.0, 1.5, posts=3, cores=8))
    assert [
        "accept was measured with other sizes: {'posts': 300}, {'posts': 3}.",
        "Another machine: cores was 2, and is 8.",
    ] == found


def test_a_table_goes_into_its_place_in_a_document_and_nowhere_else(tmp_path: Path) -> None:
    document = tmp_path / "figures.md"
    other = "<!-- bench idle -->\nas it was\n<!-- /bench -->\n"
    document.write_text(f"# Figures\n\n<!-- bench accept -->\nold\n<!-- /bench -->\n\nWords.\n\n{other}")
    assert ["accept"] == tables.into(document, report(9.0, 3.0))
    table = (
        "| messages | ours | bare publish | ratio |\n|---|---:|---:|---:|\n| p50 POST → 202, ms | 9.00 | 3.00 | 3 |\n\n"
    )
    source = (
        "`accept` version 1, 0 s, 2026-11-28: Linux, 2 cores, Python 3.11.7; decopilot 1.0, nats-server None. "
        "300 of 300 streams had every chunk once, unchanged and in order.\n"
    )
    wanted = f"# Figures\n\n<!-- bench accept -->\n{table}{source}<!-- /bench -->\n\nWords.\n\n{other}"
    assert wanted == document.read_text()
    tables.into(document, report(9.0, 3.0))
    assert wanted == document.read_text()


def test_a_table_of_a_quick_look_says_that_its_figures_do_not_count() -> None:
    quick = report(9.0, 3.0).model_copy(update={"command": ("bench", "runs", "--quick")})
    assert "no figure counts" in tables.markdown(quick, "accept")
    assert "no figure counts" not in tables.markdown(report(9.0, 3.0), "accept")


def test_a_document_without_a_place_for_any_table_is_an_error(tmp_path: Path) -> None:
    record.write(tmp_path / "report.json", report(9.0, 3.0))
    (tmp_path / "figures.md").write_text("Words.")
    with pytest.raises(CliError, match="no place for accept"):
        write_tables(tmp_path / "report.json", tmp_path / "figures.md")
    assert "Words." == (tmp_path / "figures.md").read_text()
