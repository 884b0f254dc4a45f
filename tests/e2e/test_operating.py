"""A running `up` seen by its operator: nothing is wrong, its runs can be looked into, and what breaks is found."""

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path

from support.stack import DECOPILOT, running_stack


def ask(data_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # Of the tests' own broker nothing is to be known.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DECOPILOT_NATS")}
    command = [*DECOPILOT, *words, "--data-dir", str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=100)


def look_at_it(folder: Path) -> None:
    with running_stack(folder) as stack:
        asked = ask(stack.data_dir, "run", "count 1 to 3", "--thread", "counting")
        assert 0 == asked.returncode, asked.stderr

        looked = ask(stack.data_dir, "doctor", "--verbose")
        assert 0 == looked.returncode, looked.stdout
        assert "0 faults, 0 notes" in looked.stdout
        assert "User 'runner' is let in" in looked.stdout

        listed = ask(stack.data_dir, "runs", "--json")
        run = json.loads(listed.stdout)
        assert ("local", "counting", "completed") == (run["org"], run["thread"], run["status"])
        replayed = ask(stack.data_dir, "replay", run["run_id"], "--speed", "0")
        assert asked.stdout.strip() in replayed.stdout

        stack.kill("reactor", signal.SIGSTOP)
        # It goes on without being waited for.
        assert 1 == ask(stack.data_dir, "run", "count 1 to 3", "--thread", "late", "--timeout", "0.5").returncode
        looked = ask(stack.data_dir, "doctor", "--json", "--late", "0")
        found = {finding["check"]: finding for finding in json.loads(looked.stdout)["findings"]}
        assert 1 == looked.returncode
        assert {"not_ready", "nobody_pulls", "view_behind"} <= found.keys()
        assert "decopilot reactor" in found["view_behind"]["remedy"]
        stack.kill("reactor", signal.SIGCONT)
    gone = ask(folder, "doctor")
    assert (2, True) == (gone.returncode, "Nothing runs in" in gone.stderr)


async def test_the_operator_of_a_running_up_finds_nothing_then_what_was_broken(tmp_path: Path) -> None:
    await asyncio.to_thread(look_at_it, tmp_path)
