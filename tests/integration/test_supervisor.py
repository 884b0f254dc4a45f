import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from decopilot.cli.crew import Crew, NotReadyError
from decopilot.cli.ports import random_port
from decopilot.cli.processes import Child, Program, State

DEADLINE_S = 10.0

# A service as small as can be: answers /readyz as the file `hold-NAME` says, notes when it ends.
SERVICE = """
import http.server, os, pathlib, signal, sys
here, name, port = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def end(*_):
    with (here / "ended").open("a") as ended:
        ended.write(name + "\\n")
    os._exit(0)

class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = not (here / f"hold-{name}").exists()
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(b"{}" if ready else b"waits for the moon")

    def log_message(self, *_):
        pass

signal.signal(signal.SIGTERM, end)
print('{"event": "started", "level": "info"}', file=sys.stderr, flush=True)
http.server.HTTPServer(("127.0.0.1", port), Health).serve_forever()
"""


class Ears:
    """Keeps what the supervisor reports."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.said: list[tuple[str, dict[str, object]]] = []

    def line(self, source: str, line: str) -> None:
        self.lines.append(f"{source} {line}")

    def say(self, level: str, event: str, **fields: object) -> None:
        assert level
        self.said.append((event, fields))

    def heard(self, event: str) -> list[dict[str, object]]:
        return [fields for said, fields in self.said if said == event]


class Stage:
    """A crew, what it reports, and a way to write programs for it."""

    def __init__(self, folder: Path, crew: Crew, ears: Ears) -> None:
        self.folder, self.crew, self.ears = folder, crew, ears

    def start(self, service: str, code: str = SERVICE) -> Child:
        return self.crew.start(program(self.folder, service, code))


def program(folder: Path, service: str, code: str) -> Program:
    script = folder / f"{service}.py"
    script.write_text(code)
    port = random_port()
    argv = (sys.executable, str(script), str(folder), service, str(port))
    return Program(service, 1, argv, dict(os.environ), port, f"http://127.0.0.1:{port}/readyz")


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    ears = Ears()
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        crew = Crew(tasks, ears, lambda: None)
        try:
            yield Stage(folder, crew, ears)
        finally:
            crew.kill()


async def eventually(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_killed_process_comes_back_on_its_port(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        child = stage.start("runner")
        await stage.crew.ready([child], DEADLINE_S)
        first, port = child.pid, child.program.port
        assert first is not None

        os.kill(first, signal.SIGKILL)
        await eventually(lambda: stage.ears.heard("process_died"))
        await stage.crew.ready([child], DEADLINE_S)

        assert child.pid not in {None, first}
        assert stage.ears.heard("process_died") == [{"process": "runner#1", "code": -9, "restart_in_s": 0.5}]
        assert stage.ears.heard("process_ready") == [{"process": "runner#1", "port": port}] * 2


async def test_each_death_doubles_the_wait_for_the_next_life(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        child = stage.start("runner", "import sys; sys.exit('no way')")
        await eventually(lambda: len(stage.ears.heard("process_died")) == 3)

        assert [fields["restart_in_s"] for fields in stage.ears.heard("process_died")] == [0.5, 1.0, 2.0]
        assert list(child.tail) == ["no way"] * 3
        assert child.state is State.DEAD


async def test_gateways_end_first_then_the_services_then_the_broker(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        names = ["nats", "runner", "command", "reactor", "gateway"]
        await stage.crew.ready([stage.start(name) for name in names], DEADLINE_S)

        await stage.crew.stop()

        ended = (tmp_path / "ended").read_text().split()
        assert (ended[0], sorted(ended[1:4]), ended[4]) == ("gateway", ["command", "reactor", "runner"], "nats")
        assert not stage.ears.heard("process_died")


async def test_who_is_not_ready_in_time_is_named_with_reason_and_last_lines(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        good = stage.start("command")
        await stage.crew.ready([good], DEADLINE_S)
        (tmp_path / "hold-runner").touch()
        held = stage.start("runner")
        await eventually(lambda: "moon" in held.reason and held.tail)
        broken = stage.start("gateway", "raise SystemExit('address is taken')")
        # The later, the longer it stays so.
        await eventually(
            lambda: len(stage.ears.heard("process_died")) == 3 and broken.tail and broken.state is State.DEAD
        )

        with pytest.raises(NotReadyError) as refused:
            await stage.crew.ready([good, held, broken], 0.2)

        message = str(refused.value)
        assert refused.value.names == ("runner#1", "gateway#1")
        assert "runner#1 is starting:" in message
        assert "answers 503: waits for the moon" in message
        assert "runner#1 started\n" in message
        assert "gateway#1 is dead: exit code 1. Its last lines:\n  address is taken" in message


async def test_a_process_that_loses_its_readiness_is_said_to_and_keeps_running(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        child = stage.start("reactor")
        await stage.crew.ready([child], DEADLINE_S)
        pid = child.pid

        (tmp_path / "hold-reactor").touch()
        await eventually(lambda: child.state is State.NOT_READY)
        (tmp_path / "hold-reactor").unlink()
        await eventually(lambda: child.state is State.READY)

        assert child.pid == pid
        assert len(stage.ears.heard("process_not_ready")) == 1


async def test_a_process_deaf_to_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    async with staged(tmp_path) as stage:
        child = stage.start("runner", deaf)
        await eventually(lambda: child.tail)

        await child.stop(grace_s=0.2)

        assert child.pid is None
        assert stage.ears.heard("process_killed") == [{"process": "runner#1", "after_s": 0.2}]


async def test_what_a_process_started_does_not_outlive_it(tmp_path: Path) -> None:
    parent = (
        "import subprocess, sys, time\n"
        "tool = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(tool.pid, flush=True); time.sleep(60)"
    )
    async with staged(tmp_path) as stage:
        child = stage.start("runner", parent)
        await eventually(lambda: child.tail)
        tool = int(child.tail[0])
        assert child.pid is not None

        os.kill(child.pid, signal.SIGKILL)

        await eventually(lambda: not lives(tool))


async def test_a_line_without_end_is_passed_on_in_pieces(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        child = stage.start("runner", "print('x' * 300_000 + '\\nnext', flush=True); import time; time.sleep(60)")
        await eventually(lambda: child.tail and child.tail[-1] == "next")

        assert sum(len(line) for line in child.tail) == 300_004
        assert max(len(line) for line in child.tail) < 200_000


async def test_a_stop_during_the_backoff_does_not_wait_for_it(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        child = stage.start("runner", "raise SystemExit(1)")
        await eventually(lambda: len(stage.ears.heard("process_died")) == 3)  # the next life is two seconds away
        before = time.monotonic()

        await child.stop(grace_s=DEADLINE_S)

        assert time.monotonic() - before < 1.0


async def test_a_program_that_does_not_exist_is_reported_and_tried_again(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        missing = Program("runner", 1, (str(tmp_path / "none"),), {}, 1, "http://127.0.0.1:1/readyz")
        child = stage.crew.start(missing)
        await eventually(lambda: len(stage.ears.heard("process_died")) == 2)

        assert list(child.tail) == [f"{tmp_path}/none: No such file or directory"] * 2


async def test_a_cancelled_supervisor_leaves_no_process_behind(tmp_path: Path) -> None:
    child = Child(program(tmp_path, "runner", SERVICE), Ears())
    task = asyncio.create_task(child.run())
    await eventually(lambda: child.state is State.READY)
    pid = child.pid
    assert pid is not None

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not lives(pid)
