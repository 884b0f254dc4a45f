"""Sabotage: the faults of a schedule, done to processes by their ids, and to whatever else the ground can break."""

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

from decopilot.cli.chaos.faults import fault as breaking
from decopilot.cli.chaos.schedule import Fault
from decopilot.cli.chaos.stopping import comes
from decopilot.cli.state import ProcessInfo
from decopilot.kit.settings import Settings

MARK_S = 4.0
"""So long a tool is waited for."""
DRIVERS_S = 0.4
SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "STOP": signal.SIGSTOP}
END_S = 75.0
"""So long a fault may take to end: longer than a command of the owner's, which must not be ended half done."""


@dataclass(slots=True)
class Hit:
    """A fault that struck: which process (0: none of ours), from when to when, and what it is called."""

    fault: Fault
    pid: int
    began: datetime
    ended: datetime
    target: str = ""

    @property
    def kind(self) -> str:
        """Service and blow."""
        return f"{self.fault.service} {self.fault.blow.lower()}"


@dataclass(frozen=True, slots=True)
class Breakage:
    """What the ground offers for a fault that is no signal: which process it hits (0: none), and how it is done."""

    pid: int
    fault: breaking.Fault


class Ground(Protocol):
    """Everything as processes."""

    @property
    def operator(self) -> Settings:
        """Settings that lead to the broker, as the one who may do everything there."""

    def token(self, org: str, user: str) -> str:
        """A token of an owner of an org."""

    def processes(self) -> Sequence[ProcessInfo]:
        """What runs."""


Break = Callable[[Fault, Sequence[int]], Breakage | None]
"""Makes a fault that is no signal, at the first of these processes that it can hit; None where there is none."""


def nothing_else(fault: Fault, targets: Sequence[int]) -> Breakage | None:
    """Where nothing but processes can be hit."""
    del fault, targets
    return None


@dataclass(slots=True)
class Saboteur:
    """Strikes, and mends what it has broken.

    `drivers` tells the processes that drive runs, by their threads; `notes` is where tools leave their marks.
    """

    ground: Ground
    notes: Path
    drivers: Callable[[], dict[str, int]]
    breaks: Break = nothing_else
    hits: list[Hit] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Faults that could not be begun or ended, and why."""
    _stopped: set[int] = field(default_factory=set)

    async def strike_all(self, faults: Sequence[Fault], stopping: asyncio.Event) -> None:
        """Strike each at its time, until all is to stop; return when nothing is stopped or broken any more."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.TaskGroup() as tasks:
                for fault in faults:
                    if not await comes(began + fault.at_s, stopping):
                        return
                    if fault.service == "tool":
                        tasks.create_task(self._strike_at_the_next_mark(fault, stopping))
                    elif fault.blow in SIGNALS:
                        self._strike(fault, self._targets(fault), stopping, tasks)
                    elif (breakage := self.breaks(fault, self._targets(fault))) is not None:
                        tasks.create_task(self._break(fault, breakage, stopping))
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

    def _strike(
        self,
        fault: Fault,
        targets: Sequence[int],
        stopping: asyncio.Event,
        tasks: asyncio.TaskGroup | None = None,
    ) -> bool:
        alive = {process.pid for process in self.processes()}
        for pid in targets:
            if pid not in alive or pid in self._stopped:
                continue
            try:
                os.kill(pid, SIGNALS[fault.blow])
            except ProcessLookupError:
                continue
            now = datetime.now(UTC)
            hit = Hit(fault, pid, now, now + timedelta(seconds=fault.for_s), self._name(pid))
            self.hits.append(hit)
            if tasks is not None and fault.blow == "STOP":
                self._stopped.add(pid)
                tasks.create_task(self._let_go_later(hit, stopping))
            return True
        return False

    async def _break(self, fault: Fault, breakage: Breakage, stopping: asyncio.Event) -> None:
        """Begin, wait, end; it counts from when it has begun."""
        clock = asyncio.get_running_loop().time
        target = f"{breakage.fault.target}"
        try:
            began = datetime.now(UTC)
            await breakage.fault.begin()
            hit = Hit(fault, breakage.pid, began, began + timedelta(days=1), target)
            self.hits.append(hit)
            try:
                await comes(clock() + fault.for_s, stopping)
            finally:
                try:
                    await _ended(breakage.fault)
                finally:
                    # Also where it could not be: what is held up later is not excused by it.
                    hit.ended = datetime.now(UTC)
        except Exception as error:  # noqa: BLE001  told in the report; the others go on
            self.failures.append(f"{fault.service} {fault.blow} at {target}: {error!r}")
            with suppress(Exception):
                await _ended(breakage.fault)

    def _name(self, pid: int) -> str:
        return next((f"{one.service}#{one.index}" for one in self.processes() if one.pid == pid), f"pid {pid}")

    async def _strike_at_the_next_mark(self, fault: Fault, stopping: asyncio.Event) -> None:
        """Kill a runner when a tool has left its mark, and the log does not know of it yet."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + MARK_S
        while clock() < deadline and not stopping.is_set():
            drivers, look_again_at = self.drivers(), clock() + DRIVERS_S
            size = self._size()
            while clock() < look_again_at:
                if self._size() > size:
                    driver = drivers.get(self._marked_thread())
                    if driver is not None and self._strike(fault, [driver], stopping):
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

    async def _let_go_later(self, hit: Hit, stopping: asyncio.Event) -> None:
        await comes(asyncio.get_running_loop().time() + hit.fault.for_s, stopping)
        self._let_go(hit.pid)
        hit.ended = datetime.now(UTC)

    def _let_go(self, pid: int) -> None:
        self._stopped.discard(pid)
        with suppress(ProcessLookupError):  # it was killed while it was stopped
            os.kill(pid, signal.SIGCONT)


async def _ended(fault: breaking.Fault) -> None:
    async with asyncio.timeout(END_S):
        await fault.end()
