import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jwt
import pytest

from decopilot.log.permissions import USERS

DEADLINE_S = 30.0
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child that its parent died")

# `up` runs its services by module name from the current folder first: these stand in for the real ones there.
SERVICE = """
import http.server, os, pathlib, signal
port = int(os.environ.get("DECOPILOT_HTTP_PORT") or os.environ["DECOPILOT_HEALTH_PORT"])
assert os.environ["DECOPILOT_NATS_URL"] and os.environ["DECOPILOT_NATS_PASSWORD"]
service = pathlib.Path(__file__).stem.removeprefix("decopilot_")
assert service == os.environ["DECOPILOT_NATS_USER"]
assert (service == "gateway") == ("DECOPILOT_JWT_SECRET" in os.environ)

class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

signal.signal(signal.SIGTERM, signal.SIG_IGN if pathlib.Path("deaf").exists() else lambda *_: os._exit(0))
http.server.ThreadingHTTPServer(("127.0.0.1", port), Health).serve_forever()
"""


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    for service in ("command", "runner", "reactor", "gateway"):
        (tmp_path / f"decopilot_{service}.py").write_text(SERVICE)
    return tmp_path


def decopilot(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "decopilot.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


@contextmanager
def up(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `decopilot up` until it has printed its link."""
    command = [sys.executable, "-m", "decopilot.cli", "up", *arguments]
    with (
        (folder / "stderr").open("w") as errors,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            link = next((line.strip() for line in process.stdout if "http" in line), "")
            assert link, (folder / "stderr").read_text()
            yield process, link
        finally:
            process.terminate()
            try:
                process.wait(DEADLINE_S)
            finally:
                process.kill()


def processes(folder: Path) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(decopilot(folder, "ps", "--json").stdout)
    return listed


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lives(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_up_prints_one_link_and_down_ends_everything(stage: Path) -> None:
    with up(stage, "--scale", "runner=2,reactor=0") as (process, link):
        claims = jwt.decode(
            link.partition("?token=")[2], (stage / ".decopilot/jwt-secret").read_text(), algorithms=["HS256"]
        )
        assert (claims["sub"], claims["orgs"]) == ("me", {"local": "owner"})

        listed = processes(stage)
        names = [f"{one['service']}#{one['index']}" for one in listed]
        assert names == ["nats#1", "command#1", "runner#1", "runner#2", "gateway#1"]
        assert {one["state"] for one in listed} == {"ready"}
        assert "runner#2" in decopilot(stage, "ps").stdout
        assert link.startswith(f"http://127.0.0.1:{listed[-1]['port']}/?token=")
        assert "token" not in (stage / ".decopilot/run.json").read_text()

        ended = decopilot(stage, "down")
        assert (ended.returncode, process.wait(DEADLINE_S)) == (0, 0)

    assert not any(lives(one["pid"]) for one in listed)
    assert not (stage / ".decopilot/run.json").exists()
    assert decopilot(stage, "ps").returncode == 1
    assert "Nothing runs" in decopilot(stage, "ps", "--json").stderr


@LINUX
def test_no_secret_is_on_a_command_line_or_in_a_log(stage: Path) -> None:
    with up(stage) as (process, _link):
        secrets = [
            (stage / ".decopilot" / name).read_bytes() for name in ("jwt-secret", *(f"nats-{user}" for user in USERS))
        ]
        pids = [process.pid, *(one["pid"] for one in processes(stage))]
        seen = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]

    seen.append((stage / "stderr").read_bytes())
    assert not any(secret in text for secret in secrets for text in seen)


def test_a_second_up_in_the_same_folder_is_refused_and_the_first_one_named(stage: Path) -> None:
    with up(stage) as (process, _link):
        refused = decopilot(stage, "up")

        assert refused.returncode == 1
        assert f"(pid {process.pid})" in refused.stderr
        assert process.poll() is None


def test_a_wanted_port_that_is_taken_is_refused(stage: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        refused = decopilot(stage, "up", "--port", str(port))

    assert refused.returncode == 1
    assert f"Port {port} is taken" in refused.stderr
    assert not (stage / ".decopilot/run.json").exists()


def test_without_a_wanted_port_the_next_free_one_is_taken_and_said(stage: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # taken by somebody else is as good
            other.bind(("127.0.0.1", 8080))
            other.listen()
        with up(stage) as (_process, link):
            port = int(re.findall(r":(\d+)/", link)[0])

    assert port > 8080
    assert f"port_taken port=8080 instead={port}" in (stage / "stderr").read_text()


@LINUX
def test_nothing_outlives_an_up_that_was_killed_and_the_next_one_goes_on(stage: Path) -> None:
    with up(stage) as (process, _link):
        listed = processes(stage)
        token = (stage / ".decopilot/nats-operator").read_text()
        process.kill()
        process.wait()
        eventually(lambda: not any(lives(one["pid"]) for one in listed))

    assert decopilot(stage, "ps").returncode == 1
    with up(stage, "--port", str(listed[-1]["port"])):
        assert (stage / ".decopilot/nats-operator").read_text() == token


def test_the_second_interrupt_kills_what_does_not_want_to_end(stage: Path) -> None:
    (stage / "deaf").touch()
    with up(stage) as (process, _link):
        listed = processes(stage)
        process.send_signal(signal.SIGINT)
        eventually(lambda: "ending signal=SIGINT" in (stage / "stderr").read_text())
        before = time.monotonic()
        while process.poll() is None:
            assert time.monotonic() - before < 5.0  # its grace would be longer
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)

    assert not any(lives(one["pid"]) for one in listed)


def test_a_service_that_does_not_start_is_named_with_its_last_words(stage: Path) -> None:
    (stage / "decopilot_runner.py").write_text("raise SystemExit('no model configured')")

    refused = decopilot(stage, "up", "--ready-timeout", "12")

    assert refused.returncode == 1
    assert "Not ready after 12 s: runner#1." in refused.stderr
    assert "  no model configured" in refused.stderr
    assert refused.stdout == ""
