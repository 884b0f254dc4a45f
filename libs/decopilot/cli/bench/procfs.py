"""What Linux tells about a process and its connections; elsewhere nothing is told, and nothing is measured of it."""

import os
import re
import time
from pathlib import Path
from typing import Self

_KIB = 1024
_QUEUES = re.compile(
    r"^ *\d+: [0-9A-F]+:(?P<local>[0-9A-F]{4}) [0-9A-F]+:(?P<remote>[0-9A-F]{4}) [0-9A-F]{2} "
    r"(?P<send>[0-9A-F]+):(?P<receive>[0-9A-F]+)",
    re.MULTILINE,
)


def pss_bytes(pid: int) -> int | None:
    """Tell how much memory a process holds, its share of what it shares counted in."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    found = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
    return None if found is None else int(found[1]) * _KIB


def cpu_s(pid: int) -> float | None:
    """Tell how much CPU time a process has used."""
    try:
        # The name in parentheses may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def waited_s(pid: int) -> float | None:
    """Tell how long a process's main thread was ready to run while its core was given to somebody else."""
    try:
        fields = Path(f"/proc/{pid}/schedstat").read_text().split()
    except OSError:
        return None
    return int(fields[1]) / 1e9


def in_kernel_bytes(server_port: int) -> tuple[int, int] | None:
    """Tell what the kernel holds of the connection that holds most: sent but not taken, and taken but not read."""
    try:
        text = Path("/proc/net/tcp").read_text()
    except OSError:
        return None
    sent = received = 0
    for found in _QUEUES.finditer(text):
        if int(found["local"], 16) == server_port:
            sent = max(sent, int(found["send"], 16))
        elif int(found["remote"], 16) == server_port:
            received = max(received, int(found["receive"], 16))
    return sent, received


class CpuMeter:
    """How much of a core a process uses while the context is open, and for how much of that time it waits for one.

    Both are None where that is not told.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.percent: float | None = None
        self.waited_percent: float | None = None

    def __enter__(self) -> Self:
        self._began, self._used_s, self._waited_s = time.monotonic(), cpu_s(self._pid), waited_s(self._pid)
        return self

    def __exit__(self, *_: object) -> None:
        took_s = time.monotonic() - self._began
        self.percent = _percent(self._used_s, cpu_s(self._pid), took_s)
        self.waited_percent = _percent(self._waited_s, waited_s(self._pid), took_s)


def _percent(before_s: float | None, after_s: float | None, took_s: float) -> float | None:
    return None if before_s is None or after_s is None else 100 * (after_s - before_s) / took_s
