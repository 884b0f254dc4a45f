"""`decopilot bench runs`, `recovery` and `memory`, for real and small: what they measure, prove, and leave behind."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DEADLINE_S = 240.0


def measured(folder: Path, *options: str) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-m", "decopilot.cli", "bench", *options, "--quick", "--json", "report.json"],
        cwd=folder,
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert 0 == ran.returncode, ran.stdout + ran.stderr
    # Nothing that it made is left.
    assert ["report.json"] == [path.name for path in folder.iterdir()]
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    assert report["is_exact"]
    return report


def row(report: dict[str, Any], scenario: str, measure: str) -> dict[str, Any]:
    blocks = [block for block in report["blocks"] if block["scenario"] == scenario]
    found: dict[str, Any] = next(row for block in blocks for row in block["rows"] if row["measure"] == measure)
    return found


def test_runs_are_measured_from_their_message_to_their_viewers_beside_bare_publishers(tmp_path: Path) -> None:
    report = measured(tmp_path, "runs", "--scenario", "accept", "--scenario", "pumps")
    accepted, first = (row(report, "accept", f"p50 POST → {what}") for what in ("202", "first chunk"))
    assert 0 < accepted["value"] < first["value"]
    stored = row(report, "pumps", "p99 chunk due → stored")
    assert ["awaited publishes"] == [beside["what"] for beside in stored["beside"]]
    assert min(stored["value"], stored["ratio"]) > 0
    exact = {block["title"]: block["exact"] for block in report["blocks"] if block["viewers"]}
    assert [3, 5] == list(exact.values())
    assert {"version": 1, "parameters": {"posts": 3, "warm_up": 1}} == {
        name: value for name, value in report["scenarios"]["accept"].items() if name != "took_s"
    }


def test_a_killed_runners_run_goes_on_and_is_exact_and_its_time_stands_beside_the_heartbeat_limit(
    tmp_path: Path,
) -> None:
    report = measured(tmp_path, "recovery", "--scenario", "runner-killed")
    limit = report["blocks"][0]["facts"]["heartbeat_limit_s"]
    p99, above = (
        row(report, "runner-killed", what)["value"]
        for what in ("p99 kill -9 → next word", "p99, above the heartbeat limit")
    )
    assert pytest.approx(limit + above) == p99
    assert row(report, "runner-killed", "p50 kill -9 → next word")["beside"][0]["value"] > 0
    assert [2] == [block["exact"] for block in report["blocks"]]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_memory_is_told_of_every_service_and_of_what_each_thing_adds_to_it(tmp_path: Path) -> None:
    report = measured(tmp_path, "memory")
    services = {"command", "runner", "reactor", "gateway", "NATS"}
    assert 4 == len(report["blocks"])
    for block in report["blocks"]:
        assert services <= {row["measure"] for row in block["rows"]}
    assert row(report, "memory", "gateway")["beside"][0]["what"] == "bare server"
