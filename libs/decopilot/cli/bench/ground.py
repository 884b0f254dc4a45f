"""The ground everything is measured on: one broker, one crowd of viewers, one server at a time on its own core."""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from nats.aio.client import Client

from decopilot.cli.bench.bare import Saying
from decopilot.cli.bench.orders import Door, Expected, Stream
from decopilot.cli.bench.pinning import Cores
from decopilot.cli.bench.progress import Progress
from decopilot.cli.bench.telling import Telling, crowd
from decopilot.cli.bench.writing import ORG, USER
from decopilot.cli.broker import EmbeddedBroker, broker_environment
from decopilot.cli.errors import CliError
from decopilot.cli.logs import readable
from decopilot.cli.plan import service_programs
from decopilot.cli.ports import HOST, random_port
from decopilot.cli.processes import Child, Program
from decopilot.cli.tokens import Role, issue_token
from decopilot.cli.up import UNLIMITED
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.permissions import OPERATOR, USERS
from decopilot.log.store import Store
from decopilot.log.topology import provision

READY_TIMEOUT_S = 60.0
STOP_S = 8.0
MANY = "1000000"
"""Thousands of viewers are one user here: no limit of streams may stand in the way."""
HOURS = 24


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is being measured."""

    pid: int
    door: Door


class Quiet:
    """Hears what a child says and keeps it to itself: its last lines are in the error, should it fail."""

    def line(self, source: str, line: str) -> None:
        """Take a line."""

    def say(self, level: str, event: str, **fields: object) -> None:
        """Take what the supervisor did."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a scenario needs."""

    folder: Path
    cores: Cores
    broker: EmbeddedBroker
    broker_pid: int
    nc: Client
    store: Store
    crowd: Telling
    progress: Progress
    secret: str
    passwords: Mapping[str, str]

    def environment(self, service: str) -> dict[str, str]:
        """Tell a service where the broker is and who it is there; no limit stands in the way of its users."""
        ours = broker_environment(self.broker.url, service, self.passwords[service]) | {
            "DECOPILOT_LOG_FORMAT": "json",
            **UNLIMITED,
            **{f"DECOPILOT_STREAMS{whose}": MANY for whose in ("", "_PER_USER", "_PER_ORG")},
        }
        if service == "gateway":
            ours |= {"DECOPILOT_JWT_SECRET": self.secret, "DECOPILOT_PATH_PREFIX": ""}
        return ours

    def token(self) -> str:
        """Make a token that opens the gateways."""
        return issue_token(self.secret, org=ORG, user=USER, role=Role.OWNER, hours=HOURS, now=datetime.now(UTC))

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[Server]:
        """Hold a fresh gateway while the context is open: a real one, as `up` starts it."""
        alone = {"command": 0, "runner": 0, "reactor": 0}
        (program,) = service_programs(
            alone, random_port(), set(), lambda service: dict(os.environ) | self.environment(service)
        )
        async with self._running(program) as child:
            yield Server(_pid(child), Door(port=program.port, token=self.token()))

    @asynccontextmanager
    async def bare(self, file: Path | None = None) -> AsyncIterator[Server]:
        """Hold the bare server while the context is open; `file` is what it replays."""
        port = random_port()
        argv = (sys.executable, "-m", "decopilot.cli.bench.bare", str(port), *([] if file is None else [str(file)]))
        program = Program("bare", 1, argv, dict(os.environ), port, f"http://{HOST}:{port}/readyz")
        async with self._running(program) as child:
            yield Server(_pid(child), Door(port=port))

    @asynccontextmanager
    async def _running(self, program: Program) -> AsyncIterator[Child]:
        pinned = Program(
            program.service,
            program.index,
            self.cores.for_server(program.argv),
            program.environment,
            program.port,
            program.health_url,
        )
        child = Child(pinned, Quiet())
        living = asyncio.create_task(child.run())
        ready = asyncio.create_task(child.ready.wait())
        try:
            await asyncio.wait([living, ready], timeout=READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if child.refused or not child.ready.is_set():
                raise not_ready(child)
            pid = _pid(child)
            yield child
            if child.pid != pid:
                message = f"{program.name} died while it was measured ({child.reason}). Its last lines:"
                raise CliError("\n".join([message, *_last_lines(child)]))
        finally:
            ready.cancel()
            await child.stop(STOP_S)
            await living


def _pid(child: Child) -> int:
    if child.pid is None:
        raise not_ready(child)
    return child.pid


def not_ready(child: Child) -> CliError:
    """Make the error that says what became of a process."""
    message = f"{child.program.name} did not become ready: {child.reason}. Its last lines:"
    return CliError("\n".join([message, *_last_lines(child)]))


def _last_lines(child: Child) -> list[str]:
    return [f"  {readable(child.program.name, line).plain}" for line in child.tail] or ["  (it wrote nothing)"]


@asynccontextmanager
async def prepared(folder: Path, cores: Cores, progress: Progress) -> AsyncIterator[Ground]:
    """Hold the ground while the context is open; its data is in the folder."""
    progress.step("Starting the broker")
    passwords = {user: secrets.token_urlsafe(32) for user in USERS}
    broker = EmbeddedBroker(folder / "nats", passwords=passwords)
    try:
        broker.start()
        pid = broker.pid
        if pid is None:
            message = "nats-server ended at once."
            raise CliError(message)
        login = {"nats_user": OPERATOR, "nats_password": passwords[OPERATOR]}
        settings = Settings.model_validate({"nats_url": broker.url} | login)
        async with connected(settings, "bench") as nc, Store(nc) as store, crowd() as told:
            await provision(nc)
            yield Ground(folder, cores, broker, pid, nc, store, told, progress, secrets.token_urlsafe(32), passwords)
    finally:
        broker.stop()


def attach_path(thread: str, query: str = "") -> Stream:
    """Name the gateway's stream of a thread."""
    return Stream(thread=thread, path=f"/{ORG}/decopilot/attach/{thread}{query and '?'}{query}")


async def say(server: Server, saying: Saying) -> Expected:
    """Let the bare server say something to all its clients; returns what they have seen then."""
    timeout = aiohttp.ClientTimeout(total=None)
    url = f"http://{HOST}:{server.door.port}/say"
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(url, data=saying.model_dump_json()) as response,
    ):
        return Expected.model_validate_json(await response.read())
