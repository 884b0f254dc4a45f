"""Stopping a process, and knowing that it stands."""

import os
import signal
import time
from pathlib import Path

DEADLINE_S = 5.0


def freeze(pid: int) -> None:
    """Stop a process; returns once none of its threads runs: one on another processor goes on for a moment."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + DEADLINE_S
    while not all(_stands(thread) for thread in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < deadline, f"{pid} does not stop"
        time.sleep(0.001)


def thaw(pid: int) -> None:
    """Have a stopped process go on."""
    os.kill(pid, signal.SIGCONT)


def _stands(thread: Path) -> bool:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] in {"T", "t"}
