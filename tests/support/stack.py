"""Everything as processes: what `decopilot up` starts, and hands to kill it by name."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decopilot.cli.ports import random_port
from decopilot.cli.state import ProcessInfo, RunInfo
from decopilot.kit.settings import Settings
from decopilot.log.permissions import OPERATOR
from support.freezing import freeze

READY_S = 60.0
DECOPILOT = (sys.executable, "-m", "decopilot.cli")


@dataclass(frozen=True, slots=True)
class Stack:
    """A running `decopilot up`."""

    data_dir: Path
    port: int
    log: Path

    @property
    def url(self) -> str:
        """The first gateway."""
        return f"http://127.0.0.1:{self.port}"

    def ps(self) -> list[dict[str, Any]]:
        """What `decopilot ps --json` tells."""
        ran = subprocess.run(
            [*DECOPILOT, "ps", "--json", "--data-dir", str(self.data_dir)], capture_output=True, text=True, check=True
        )
        found: list[dict[str, Any]] = json.loads(ran.stdout)
        return found

    def processes(self) -> Sequence[ProcessInfo]:
        """What runs, as the supervisor wrote it down last."""
        return RunInfo.model_validate_json((self.data_dir / "run.json").read_bytes()).processes

    @property
    def nats_url(self) -> str:
        """Where the embedded broker listens."""
        return f"nats://127.0.0.1:{next(row['port'] for row in self.ps() if row['service'] == 'nats')}"

    @property
    def operator(self) -> Settings:
        """Settings that lead to the embedded broker, as the one who may do everything there."""
        password = (self.data_dir / f"nats-{OPERATOR}").read_text().strip()
        return Settings.model_validate({"nats_url": self.nats_url, "nats_user": OPERATOR, "nats_password": password})

    def supervisor_pid(self) -> int:
        """The process id of `up` itself."""
        return int(json.loads((self.data_dir / "run.json").read_text())["pid"])

    def pid(self, service: str, index: int = 1) -> int:
        """The process id of one copy of a service."""
        return next(int(row["pid"]) for row in self.ps() if (row["service"], row["index"]) == (service, index))

    def kill(self, service: str, number: signal.Signals = signal.SIGKILL, index: int = 1) -> int:
        """Send a signal to one copy of a service; returns the process id it had."""
        pid = self.pid(service, index)
        if number == signal.SIGSTOP:
            freeze(pid)
        else:
            os.kill(pid, number)
        return pid

    def token(self, org: str = "local", user: str = "me", role: str = "owner") -> str:
        """What `decopilot token` prints."""
        command = [*DECOPILOT, "token", "--org", org, "--user", user, "--role", role, "--data-dir", str(self.data_dir)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def wait_ready(self, service: str, *, not_pid: int, index: int = 1) -> None:
        """Wait until a copy of a service is ready again as another process."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            row = next(r for r in self.ps() if (r["service"], r["index"]) == (service, index))
            if row["state"] == "ready" and row["pid"] != not_pid:
                return
            time.sleep(0.1)
        msg = f"{service}#{index} did not come back:\n{self.log.read_text()[-4000:]}"
        raise AssertionError(msg)


_GIVEN: set[int] = set()


def free_port() -> int:
    """A port that nobody has at this moment, and that is given to nobody else in this process."""
    _GIVEN.add(port := random_port(_GIVEN))
    return port


@contextlib.contextmanager
def running_stack(
    folder: Path, *options: str, data_dir: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """Run `decopilot up` while the context is open; its data stays in the folder."""
    port = free_port()
    stack = Stack(data_dir or folder / "data", port, folder / "up.log")
    command = [*DECOPILOT, "up", "--port", str(port), "--data-dir", str(stack.data_dir), *options]
    with stack.log.open("ab") as log:
        up = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(env or {})}
        )
    try:
        deadline = time.monotonic() + READY_S
        while "token=" not in stack.log.read_text():
            if up.poll() is not None or time.monotonic() > deadline:
                msg = f"`up` is not ready:\n{stack.log.read_text()[-4000:]}"
                raise AssertionError(msg)
            time.sleep(0.05)
        yield stack
    finally:
        up.send_signal(signal.SIGTERM)
        try:
            up.wait(30)
        except subprocess.TimeoutExpired:
            up.kill()
            up.wait()
            raise
    assert "nats_forbidden" not in stack.log.read_text()
