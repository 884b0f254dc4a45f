"""A whole deployment to measure: copies of the four services, each a process that can be replaced at once."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from decopilot.cli.bench.ground import READY_TIMEOUT_S, STOP_S, Ground, Quiet, Server, not_ready
from decopilot.cli.bench.orders import Door
from decopilot.cli.bench.procfs import pss_bytes
from decopilot.cli.plan import service_programs
from decopilot.cli.ports import random_port
from decopilot.cli.processes import Child, Program

NATS = "NATS"


class Copy:
    """One copy of a service, in one process after the other."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._child = Child(program, Quiet())
        self._living: asyncio.Task[None] | None = None
        self._born: int | None = None

    @property
    def pid(self) -> int:
        """Its process id; raises `CliError` where it has none."""
        if self._child.pid is None:
            raise not_ready(self._child)
        return self._child.pid

    def start(self) -> None:
        """Start a process."""
        self._child = Child(self.program, Quiet())
        self._living = asyncio.create_task(self._child.run(), name=self.program.name)

    async def ready(self) -> None:
        """Wait until it is ready; raises `CliError` where it does not become so."""
        waiting = asyncio.create_task(self._child.ready.wait())
        living = set() if self._living is None else {self._living}
        await asyncio.wait({waiting, *living}, timeout=READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._child.refused or not self._child.ready.is_set():
            raise not_ready(self._child)
        self._born = self._child.pid

    def check(self) -> None:
        """Raise `CliError` where it died without being asked to: what was measured is then of another process."""
        if self._child.pid != self._born:
            raise not_ready(self._child)

    async def replace(self, number: signal.Signals) -> None:
        """End the process by SIGKILL or SIGTERM, and start another once it is gone."""
        if number is signal.SIGKILL:
            self._child.kill()
        await self._child.stop(STOP_S)
        await self.gone()
        self.start()

    def kill(self) -> None:
        """End the process for good: what it leaves is thrown away with its broker."""
        self._child.kill()

    async def gone(self) -> None:
        """Wait until the process that was ended is gone."""
        if self._living is not None:
            await asyncio.wait([self._living])


class Services:
    """The copies of one deployment."""

    def __init__(self, ground: Ground, copies: list[Copy]) -> None:
        self.copies = copies
        self._ground = ground
        self._token = ground.token()

    def of(self, service: str) -> list[Copy]:
        """Return the copies of a service."""
        return [copy for copy in self.copies if copy.program.service == service]

    @property
    def doors(self) -> list[Door]:
        """Where the gateways listen."""
        return [Door(port=copy.program.port, token=self._token) for copy in self.of("gateway")]

    @property
    def door(self) -> Door:
        """Where the first gateway listens."""
        return self.doors[0]

    def server(self, service: str) -> Server:
        """Return the first copy of a service as a server that is measured."""
        copy = self.of(service)[0]
        return Server(copy.pid, Door(port=copy.program.port, token=self._token))

    def memory(self) -> dict[str, int | None]:
        """Tell how much memory the first copy of each service holds, and NATS."""
        services = dict.fromkeys(copy.program.service for copy in self.copies)
        return {name: pss_bytes(self.of(name)[0].pid) for name in services} | {NATS: pss_bytes(self._ground.broker_pid)}


@asynccontextmanager
async def services(
    ground: Ground,
    scale: Mapping[str, int] | None = None,
    *,
    alone: str | None = None,
    told: Mapping[str, str] | None = None,
) -> AsyncIterator[Services]:
    """Hold a deployment while the context is open, as `up` starts it; `alone` has the server's core, if any is kept.

    `told` are settings that hold for all of it.
    """

    def environment(service: str) -> dict[str, str]:
        demo = {"DECOPILOT_DEMO_DIR": str(ground.folder / "demo")}
        return dict(os.environ) | demo | ground.environment(service) | dict(told or {})

    ground.progress.step("Starting the services")
    programs = service_programs(scale or {}, random_port(), set(), environment)
    pinned = [
        replace(program, argv=ground.cores.for_server(program.argv)) if program.service == alone else program
        for program in programs
    ]
    copies = [Copy(program) for program in pinned]
    try:
        for copy in copies:
            copy.start()
        for copy in copies:
            await copy.ready()
        yield Services(ground, copies)
        for copy in copies:
            copy.check()
    finally:
        for copy in copies:
            copy.kill()
        for copy in copies:
            await copy.gone()
