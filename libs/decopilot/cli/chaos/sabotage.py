"""Sabotage: the faults of a schedule, done to processes by their ids."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from decopilot.cli.chaos.schedule import Fault
from decopilot.cli.state import ProcessInfo
from decopilot.kit.settings import Settings

MARK_S = 4.0
"""So long a tool is waited for."""
DRIVERS_S = 0.4
SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "STOP": signal.SIGSTOP}


@dataclass(frozen=True, slots=True)
class Hit:
    """A fault that struck: which process, from when to when."""

    fault: Fault
    pid: int
    began: datetime
    ended: datetime

    @property
    def kind(self) -> str:
        """Service and blow."""
        return f"{self.fault.service} {self.fault.blow}"


class Ground(Protocol):
    """Everything as processes."""

    @property
    def operator(self) -> Settings:
        """Settings that lead to the broker, as the one who may do everything there."""

    def token(self, org: str, user: str) -> str:
        """A token of an owner of an org."""

    def processes(self) -> Sequence[ProcessInfo]:
        """What runs."""


@dataclass(slots=True)
class Saboteur:
    """Strikes, and lets go of what it has stopped.

    `drivers` tells the processes that drive runs, by their threads; `notes` is where tools leave their marks.
    """

    ground: Ground
    notes: Path
    drivers: Callable[[], dict[str, int]]
    hits: list[Hit] = field(default_factory=list)
    _stopped: set[int] = field(default_factory=set)

    async def strike_all(self, faults: Sequence[Fault]) -> None:
        """Strike each at its time; return when nothing is stopped any more."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.TaskGroup() as tasks:
                for fault in faults:
                    await asyncio.sleep(max(0.0, began + fault.at_s - clock()))
                    if fault.service == "tool":
                        tasks.create_task(self._strike_at_the_next_mark(fault))
                    else:
                        self._strike(fault, self._targets(fault), tasks)
        finally:
            for pid in list(self._stopped):
                self._let_go(pid)

    def _targets(self, fault: Fault) -> list[int]:
        """The processes that a fault may hit, the best one first."""
        if fault.service == "driver":
            drivers = list(self.drivers().values())
            first = fault.index % max(len(drivers), 1)
            return drivers[first:] + drivers[:first]
        pids = self._pids(fault.service)
        first = fault.index % max(len(pids), 1)
        return pids[first:] + pids[:first]

    def _pids(self, service: str) -> list[int]:
        return [process.pid for process in self.processes() if process.service == service and process.pid]

    def _strike(self, fault: Fault, targets: Sequence[int], tasks: asyncio.TaskGroup | None = None) -> bool:
        alive = {process.pid for process in self.processes()}
        for pid in targets:
            if pid not in alive or pid in self._stopped:
                continue
            try:
                os.kill(pid, SIGNALS[fault.blow])
            except ProcessLookupError:
                continue
            now = datetime.now(UTC)
            self.hits.append(Hit(fault, pid, now, now + timedelta(seconds=fault.for_s)))
            if tasks is not None and fault.blow == "STOP":
                self._stopped.add(pid)
                tasks.create_task(self._let_go_later(pid, fault.for_s))
            return True
        return False

    async def _strike_at_the_next_mark(self, fault: Fault) -> None:
        """Kill a runner when a tool has left its mark, and the log does not know of it yet."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + MARK_S
        while clock() < deadline:
            drivers, look_again_at = self.drivers(), clock() + DRIVERS_S
            size = self._size()
            while clock() < look_again_at:
                if self._size() > size:
                    driver = drivers.get(self._marked_thread())
                    if driver is not None and self._strike(fault, [driver]):
                        return
                    size = self._size()
                await asyncio.sleep(0.0005)

    def _size(self) -> int:
        return self.notes.stat().st_size if self.notes.exists() else 0

    def _marked_thread(self) -> str:
        """The thread of the last mark, which is named `<thread>-<number>`."""
        mark = json.loads(self.notes.read_text().splitlines()[-1])
        return str(mark.get("text", mark.get("deleted"))).split()[0].rpartition("-")[0]

    def processes(self) -> Sequence[ProcessInfo]:
        """What runs."""
        return self.ground.processes()

    async def _let_go_later(self, pid: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._let_go(pid)

    def _let_go(self, pid: int) -> None:
        self._stopped.discard(pid)
        with suppress(ProcessLookupError):  # it was killed while it was stopped
            os.kill(pid, signal.SIGCONT)
