"""A child process that is kept alive: started, watched, restarted after a death, ended."""

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Protocol

from decopilot.cli.health import probe
from decopilot.cli.spawn import bound_to_parent
from decopilot.kit.exits import CANNOT_RUN

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 10.0
STEADY_S = 30.0  # who lived this long starts over with the first backoff
STARTING_POLL_S = 0.1
READY_POLL_S = 1.0
LEFTOVER_S = 1.0
TAIL_LINES = 20
NOT_STARTED = 127  # as a shell says it
MAX_LINE_BYTES = 64 * 1024


class State(StrEnum):
    """How a supervised process is doing."""

    STARTING = "starting"
    READY = "ready"
    NOT_READY = "not ready"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how to ask it whether it is ready (a `health_url` of "" is never asked)."""

    service: str
    index: int
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    port: int = 0
    health_url: str = ""
    metrics_url: str = ""
    death_signal: signal.Signals = signal.SIGKILL
    pass_fds: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Return the name that logs and messages use, such as `runner#2`."""
        return f"{self.service}#{self.index}"


class Reporter(Protocol):
    """Who hears what a process writes, and what becomes of it."""

    def line(self, source: str, line: str) -> None:
        """Take a line that the process wrote."""

    def say(self, level: str, event: str, **fields: object) -> None:
        """Take what the supervisor did."""


class Child:
    """One program under supervision. `run` is a task of the caller; `stop` ends the process and with it `run`."""

    def __init__(self, program: Program, reporter: Reporter, changed: Callable[[], None] = lambda: None) -> None:
        self.program = program
        self.pid: int | None = None
        self.state = State.DEAD
        self.reason = "not started"
        self.ready = asyncio.Event()
        self.refused = False
        """It said that it can't run as it is configured, so it is not started again."""
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._reporter = reporter
        self._changed = changed
        self._ending = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Keep the program alive until `stop` or `kill`; a death is followed by a restart after a backoff."""
        backoff_s = FIRST_BACKOFF_S
        try:
            while not self._ending.is_set():
                born = time.monotonic()
                code = await self.run_once()
                if self._ending.is_set():
                    return
                if code == CANNOT_RUN:
                    self.refused = True
                    self.ready.set()  # nothing is left to wait for
                    return
                if time.monotonic() - born >= STEADY_S:
                    backoff_s = FIRST_BACKOFF_S
                name = self.program.name
                self._reporter.say("warning", "process_died", process=name, code=code, restart_in_s=backoff_s)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), backoff_s)
                backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
        finally:
            self._ended.set()

    async def run_once(self) -> int:
        """Live one life of the program; return its exit code (negative: the signal that killed it)."""
        try:
            process, output = await self._spawn()
        except OSError as error:
            self._hear(f"{self.program.argv[0]}: {error.strerror}".encode())
            return NOT_STARTED
        self.pid = process.pid
        self._become(State.STARTING, "no answer yet")
        if self._ending.is_set():  # asked while the process was being made, when there was none to signal
            self._signal(signal.SIGTERM)
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read(output))
                watching = tasks.create_task(self._watch())
                code = await process.wait()
                watching.cancel()
                # What the program started lives in its process group, and holds its ports and its end of the pipe.
                self._signal_group(signal.SIGKILL)
                await asyncio.wait([reading], timeout=LEFTOVER_S)
                reading.cancel()
        finally:
            if process.returncode is None:  # `run` was cancelled
                self._signal_group(signal.SIGKILL)
                await process.wait()
            output.close()
            self.pid = None
            self._become(State.DEAD, f"exit code {process.returncode}")
        return code

    async def stop(self, grace_s: float) -> None:
        """Ask the process to end (SIGTERM), kill it and all it started after `grace_s`; return when it is gone."""
        self._ending.set()
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._ended.wait(), grace_s)
        except TimeoutError:
            self._reporter.say("warning", "process_killed", process=self.program.name, after_s=grace_s)
            self.kill()
            await self._ended.wait()

    def kill(self) -> None:
        """End the process and all it started at once; it isn't restarted."""
        self._ending.set()
        self._signal_group(signal.SIGKILL)

    async def _spawn(self) -> tuple[asyncio.subprocess.Process, BinaryIO]:
        # A pipe of our own: with asyncio's, some Python versions let wait() wait for the children of the child, too.
        read_end, write_end = os.pipe()
        source = os.fdopen(read_end, "rb", buffering=0)
        try:
            process = await asyncio.create_subprocess_exec(
                *bound_to_parent(self.program.argv, self.program.death_signal),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                env=self.program.environment,
                pass_fds=self.program.pass_fds,
                start_new_session=True,  # Ctrl-C must reach `up` alone, which ends the processes in order
            )
        except BaseException:
            source.close()
            raise
        finally:
            os.close(write_end)
        return process, source

    async def _read(self, output: BinaryIO) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), output)
        try:
            rest = b""
            while chunk := await reader.read(MAX_LINE_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > MAX_LINE_BYTES:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._hear(line)
            if rest:
                self._hear(rest)
        finally:
            transport.close()

    def _hear(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        self.tail.append(text)
        self._reporter.line(self.program.name, text)

    async def _watch(self) -> None:
        while self.program.health_url:
            reason = await probe(self.program.health_url)
            if reason is None:
                self._become(State.READY, "")
            else:
                self._become(State.STARTING if self.state is State.STARTING else State.NOT_READY, reason)
            await asyncio.sleep(STARTING_POLL_S if self.state is State.STARTING else READY_POLL_S)

    def _become(self, state: State, reason: str) -> None:
        before, self.state, self.reason = self.state, state, reason
        if state is before:
            return
        if state is State.READY:
            self.ready.set()
            self._reporter.say("info", "process_ready", process=self.program.name, port=self.program.port)
        else:
            self.ready.clear()
        if state is State.NOT_READY and not self._ending.is_set():
            self._reporter.say("warning", "process_not_ready", process=self.program.name, reason=reason)
        self._changed()

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _signal_group(self, number: signal.Signals) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
                os.killpg(self.pid, number)
