"""`decopilot bench gateway --quick`, for real: it measures everything, proves it exact, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

DEADLINE_S = 90.0
COMMAND = (sys.executable, "-m", "decopilot.cli", "bench", "gateway", "--quick")


def bench(folder: Path, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, *options],
        cwd=folder,
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def children(pid: int) -> list[int]:
    ran = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in ran.stdout.split()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def figures(report: dict[str, Any], scenario: str) -> dict[str, float | None]:
    (block,) = [block for block in report["blocks"] if block["scenario"] == scenario]
    return {row["measure"]: row["value"] for row in block["rows"]}


def test_a_quick_run_measures_every_scenario_and_finds_every_stream_exact(tmp_path: Path) -> None:
    with bench(tmp_path, "--json", "report.json", "--plot", "report.svg") as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert 0 == process.returncode, out + err
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["is_exact"]
    assert {} == report["failures"]
    exact = {block["scenario"]: block["exact"] for block in report["blocks"]}
    # Compacted reads come on top where the gateway knows them.
    assert {"idle": 40, "fanout": 40, "replay": max(6, exact["replay"]), "slow": 11} == exact
    for scenario in ("idle", "fanout"):
        assert (figures(report, scenario)["p99 publish → client"] or 0) > 0
    assert (figures(report, "replay")["whole, first reader"] or 0) > 0
    assert (figures(report, "slow")["p99 publish → client, with it"] or 0) > 0
    assert all(row["beside"] for row in report["blocks"][1]["rows"])
    assert "40 of 40 streams had every chunk once, unchanged and in order." in out
    assert "<svg" in (tmp_path / "report.svg").read_text()
    assert [] == [path.name for path in tmp_path.iterdir() if path.is_dir() and path.name.startswith("decopilot-")]


def test_a_scenario_that_takes_too_long_is_given_up_and_said_so(tmp_path: Path) -> None:
    with bench(tmp_path, "--limit", "5", "--seconds", "60", "--scenario", "fanout", "--json", "report.json") as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert 1 == process.returncode, err
    report = json.loads((tmp_path / "report.json").read_text())
    assert {"fanout": "it took longer than 5 s (--limit)"} == report["failures"]
    assert not report["is_exact"]
    assert "fanout was not measured" in out
    assert ["report.json"] == [path.name for path in tmp_path.iterdir()]


def test_ctrl_c_ends_everything_it_started_and_prints_what_there_is(tmp_path: Path) -> None:
    with bench(tmp_path, "--seconds", "60", "--scenario", "replay", "--scenario", "fanout") as process:
        assert process.stderr is not None
        deadline = time.monotonic() + DEADLINE_S
        for line in process.stderr:
            assert time.monotonic() < deadline
            if line.startswith("fanout: 20 viewers"):
                break
        started = children(process.pid)
        assert len(started) >= 2
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert 130 == process.returncode, err
    assert "replay 320 chunks" in out
    assert "Traceback" not in err
    assert [] == [pid for pid in started if is_alive(pid)]
    assert [] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--plot", "report.pdf"), ".svg or .png"),
        (("--json", "nowhere/report.json"), "There is no folder"),
        (("--fanout", "10"), "VIEWERSxRATE"),
    ],
)
def test_what_can_not_be_written_or_read_is_refused_before_anything_is_measured(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    with bench(tmp_path, *options) as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert 1 == process.returncode
    assert words in err
    assert "" == out
