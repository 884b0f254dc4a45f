"""`decopilot chaos` as its user has it: the command, Ctrl-C, what it writes, and a deployment as its target."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from decopilot.cli.chaos.evidence import Limits
from decopilot.cli.chaos.outcome import Outcome
from support.stack import DECOPILOT, Stack, running_stack

CHAOS = (*DECOPILOT, "chaos")
PATIENCE_S = 400.0
QUICK = Limits(purge_grace_s=2.0, erase_again_s=4.0, look_s=1.0)
KILL = """
import json, os, signal
processes = json.load(open({run!r}))["processes"]
os.kill(next(one["pid"] for one in processes if one["service"] == "runner" and one["pid"]), signal.SIGKILL)
"""

pytestmark = pytest.mark.timeout(600)


def _ended(chaos: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = chaos.communicate(timeout=PATIENCE_S)
    return chaos.returncode, output


def _run(*options: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    ran = subprocess.run(
        [*CHAOS, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env={**os.environ, **(env or {})},
    )
    return ran.returncode, ran.stdout


def test_ctrl_c_mends_all_and_judges_and_tells_what_there_is_by_then(tmp_path: Path) -> None:
    told, page, log = tmp_path / "chaos.json", tmp_path / "chaos.html", tmp_path / "said"
    options = ["--seconds", "300", "--seed", "5", "--json", str(told), "--html", str(page)]
    with log.open("w") as out:
        chaos = subprocess.Popen(
            [*CHAOS, *options, "--keep", str(tmp_path / "kept")], stdout=out, stderr=subprocess.STDOUT, text=True
        )
        _wait(log, " faults, ", chaos)
        _wait_for_faults(log, chaos)
        chaos.send_signal(signal.SIGINT)
        status = chaos.wait(PATIENCE_S)
    outcome = Outcome.model_validate_json(told.read_text())
    assert [] == [text for promise in outcome.promises for text in promise.violations], log.read_text()
    assert (status, outcome.is_interrupted, outcome.seed) == (130, True, 5), log.read_text()
    assert outcome.faults
    assert outcome.command in log.read_text()
    assert "<svg" in page.read_text()
    assert (tmp_path / "kept" / "chaos.log").exists()


def test_a_deployment_is_a_target_and_is_left_as_it_was(tmp_path: Path) -> None:
    told = tmp_path / "chaos.json"
    with running_stack(tmp_path, "--scale", "runner=2", env=QUICK.environment) as stack:
        log = ["--json", str(told), "--data-dir", str(stack.data_dir)]
        script = tmp_path / "kill.py"
        script.write_text(KILL.format(run=str(stack.data_dir / "run.json")))
        kill = f"{sys.executable} {script}"
        status, said = _run(
            "--target",
            stack.url,
            "--seconds",
            "15",
            "--seed",
            "3",
            "--fault",
            f"runner-died={kill}",
            *log,
            env=QUICK.environment,
        )
        outcome = Outcome.model_validate_json(told.read_text())
        assert [] == [text for promise in outcome.promises for text in promise.violations], said
        assert status == (0 if outcome.verdict == "kept" else 1), said
        assert "runner-died command" in {fault.kind for fault in outcome.faults}, said
        assert kill in said
        assert _none_left(stack)
        # What they may not is no promise that is broken.
        for token, reason in (
            (("--token", stack.token(role="viewer")), "may only read"),
            (("--stranger-token", "stale"), "does not know the stranger's token"),
        ):
            status, said = _run("--target", stack.url, *token, *log)
            assert status == 2, said
            assert reason in " ".join(said.split())


def test_what_can_not_be_done_is_refused_before_anything_is_posted(tmp_path: Path) -> None:
    for options, reason in (
        (("--faults", "earthquake"), "there is no such kind"),
        (("--nodes", "2"), "1 or 3"),
        (("--json", str(tmp_path / "none" / "chaos.json")), "There is no folder"),
        (("--fault", "mine=true"), "are for a --target"),
        (("--target", "http://127.0.0.1:9", "--token", "t"), "does not answer as a gateway does"),
        (
            ("--target", "http://127.0.0.1:9", "--token", "t", "--fault", "mine:undo=true"),
            "undoes what no --fault does",
        ),
    ):
        status, said = _run(*options)
        assert status == 2, said
        assert reason in " ".join(said.split())


def _wait(log: Path, words: str, chaos: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while words not in log.read_text():
        assert chaos.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def _wait_for_faults(log: Path, chaos: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while " 0 faults" in log.read_text().splitlines()[-1]:
        assert chaos.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def _none_left(stack: Stack) -> bool:
    """Wait until no thread is shown any more."""
    url = f"{stack.url}/local/decopilot/threads"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {stack.token()}"})
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with urllib.request.urlopen(request) as answer:
            if not json.load(answer)["threads"]:
                return True
        time.sleep(0.2)
    return False
