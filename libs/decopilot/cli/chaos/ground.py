"""The embedded ground: brokers and services of its own, every way between them a proxy that faults can lie in."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError
from rich.console import Console

from decopilot.cli.broker import EmbeddedBroker, broker_environment
from decopilot.cli.chaos.faults.clocks import Clock, Skew, faketime
from decopilot.cli.chaos.faults.disk import StoreFull
from decopilot.cli.chaos.faults.ways import Way, way_to
from decopilot.cli.chaos.sabotage import Breakage
from decopilot.cli.chaos.schedule import Fault
from decopilot.cli.chaos.waylaying import is_felt, on_way
from decopilot.cli.crew import Crew
from decopilot.cli.logs import Journal
from decopilot.cli.plan import service_programs
from decopilot.cli.ports import HOST, random_port
from decopilot.cli.processes import Program
from decopilot.cli.state import ProcessInfo
from decopilot.cli.tokens import Role, issue_token
from decopilot.cli.up import NOT_HANDED_ON, UNLIMITED
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.permissions import OPERATOR, USERS
from decopilot.log.store import Store
from decopilot.log.topology import Sizes, provision

SCALE = {"gateway": 2, "command": 2, "runner": 3, "reactor": 2}
READY_S, AGAIN_S = 240.0, 0.5
HOURS = 24 * 30
SKEWED = {"reactor", "runner", "command"}
OFF_S = (-3600.0, -90.0, -5.0, 5.0, 90.0, 3600.0)
LANES = 4
"""So many ways lead to each gateway: what befalls one hits a part of its clients."""
STORE_BYTES, CHUNKS_BYTES = 256 << 20, 64 << 20
"""What one broker stores at most, and of that the chunks: little enough to be filled in a second or two."""
LOG = "chaos.log"


@dataclass(slots=True)
class Embedded:
    """What runs: a `Ground`."""

    folder: Path
    settings: Settings
    secret: str
    crew: Crew
    ways: dict[str, list[Way]] = field(default_factory=dict)
    """Those of each copy to the brokers, by its name such as `runner#2`."""
    clocks: dict[str, Clock] = field(default_factory=dict)
    """Those of the copies whose clock can be made wrong, by their names."""
    lanes: list[Way] = field(default_factory=list)
    """Those of clients to the gateways."""
    store: StoreFull | None = None
    """What can be filled: the store of one broker, not of a cluster."""

    @property
    def operator(self) -> Settings:
        """Settings that lead to the brokers, as the one who may do everything there."""
        return self.settings

    @property
    def notes(self) -> Path:
        """Where the tools of the demo model leave their marks."""
        return self.folder / "demo" / "notes.jsonl"

    def token(self, org: str, user: str) -> str:
        """A token of an owner of an org."""
        return issue_token(self.secret, org=org, user=user, role=Role.OWNER, hours=HOURS, now=datetime.now(UTC))

    @property
    def doors(self) -> tuple[str, ...]:
        """The URLs that clients go in by."""
        return tuple(f"http://{lane.address}" for lane in self.lanes)

    def breaks(self, fault: Fault, targets: Sequence[int]) -> Breakage | None:
        """Make a fault of the network; those that can't be there now are left out."""
        if fault.service == "viewers":
            number = fault.index % len(self.lanes)
            lane = self.lanes[number]
            return Breakage(0, on_way(fault, f"lane {number}", [lane])) if is_felt(fault, [lane]) else None
        if fault.blow == "FULL":
            return None if self.store is None or self.store.is_begun else Breakage(0, self.store)
        names = {process.pid: f"{process.service}#{process.index}" for process in self.processes()}
        if fault.blow == "CLOCK":
            skewed = ((pid, names[pid], self.clocks[names[pid]]) for pid in targets if names.get(pid) in self.clocks)
            found = next(skewed, None)
            return found and Breakage(found[0], Skew(found[1], found[2], OFF_S[fault.index % len(OFF_S)]))
        for pid in targets:
            if pid in names and is_felt(fault, self.ways[names[pid]]):
                return Breakage(pid, on_way(fault, names[pid], self.ways[names[pid]]))
        return None

    def processes(self) -> Sequence[ProcessInfo]:
        """What runs."""
        return [
            ProcessInfo(
                service=child.program.service,
                index=child.program.index,
                pid=child.pid,
                port=child.program.port,
                health_url=child.program.health_url,
                state=child.state.value,
            )
            for child in self.crew.children
        ]


@asynccontextmanager
async def embedded(
    folder: Path,
    *,
    nodes: int = 1,
    scale: Mapping[str, int] = SCALE,
    environment: Mapping[str, str] | None = None,
    skews: bool = True,
) -> AsyncIterator[Embedded]:
    """Start everything in a folder, and end it when the context is left; what all of them say is in its `chaos.log`.

    `environment` is what the services are told beside where their broker is. Without `skews` no clock is made wrong,
    and none is slower.

    Raises:
        CliError: something does not become ready; the message says what and why.

    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    passwords = {user: secrets.token_urlsafe(32) for user in USERS}
    brokers = _brokers(folder, nodes, passwords)
    with _one_error(), (folder / LOG).open("a", encoding="utf-8") as log:
        journal = Journal(Console(file=log, width=1_000, highlight=False, markup=False, emoji=False))
        async with AsyncExitStack() as ending, asyncio.TaskGroup() as tasks:
            crew = Crew(tasks, journal, lambda: None)
            settings = _settings(brokers, OPERATOR, passwords) | {"replicas": nodes}
            ground = Embedded(folder, Settings.model_validate(settings), secrets.token_urlsafe(32), crew)
            try:
                await crew.ready([crew.start(program) for program in _servers(brokers)], READY_S)
                await _provision(ground.settings)
                if nodes == 1:
                    nc = await ending.enter_async_context(connected(ground.settings, "chaos-ballast"))
                    ground.store = StoreFull(await ending.enter_async_context(Store(nc)), STORE_BYTES)
                told = dict(environment or {}) | {"DECOPILOT_DEMO_DIR": str(ground.notes.parent)}
                programs = await _services(ground, brokers, passwords, scale, told, ending=ending, skews=skews)
                await crew.ready([crew.start(program) for program in programs], READY_S)
                yield ground
            finally:
                await crew.stop()
                for broker in brokers:
                    broker.release()


@contextmanager
def _one_error() -> Iterator[None]:
    """Raise what was raised among tasks as it was, if it was one thing."""
    try:
        yield
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) == 1:
            raise errors.exceptions[0] from None
        raise


def _brokers(folder: Path, nodes: int, passwords: Mapping[str, str]) -> list[EmbeddedBroker]:
    """Make one broker, or those of a cluster that know each other."""
    if nodes == 1:
        config = {"jetstream": {"max_file_store": STORE_BYTES}}
        return [EmbeddedBroker(folder / "nats", port=random_port(), passwords=passwords, config=config)]
    ports: list[int] = []
    for _ in range(2 * nodes):
        ports.append(random_port(set(ports)))
    routes = ports[nodes:]
    return [
        EmbeddedBroker(
            folder / f"nats-{number}",
            port=ports[number - 1],
            passwords=passwords,
            config={
                "server_name": f"nats-{number}",
                "cluster": {
                    "name": "chaos",
                    "listen": f"{HOST}:{route}",
                    # Clients that heard of the others would go past the proxies.
                    "no_advertise": True,
                    "routes": [f"nats://{HOST}:{other}" for other in routes if other != route],
                },
            },
        )
        for number, route in enumerate(routes, 1)
    ]


def _servers(brokers: Sequence[EmbeddedBroker]) -> list[Program]:
    return [
        Program(
            "nats",
            number,
            broker.prepare(),
            dict(os.environ),
            broker.port,
            broker.health_url,
            death_signal=signal.SIGTERM,
            pass_fds=() if broker.lock_descriptor is None else (broker.lock_descriptor,),
        )
        for number, broker in enumerate(brokers, 1)
    ]


def _settings(brokers: Sequence[EmbeddedBroker], user: str, passwords: Mapping[str, str]) -> dict[str, object]:
    urls = ",".join(broker.url for broker in brokers)
    return {"nats_url": urls, "nats_user": user, "nats_password": passwords[user]}


async def _provision(settings: Settings) -> None:
    """Make the streams; a cluster that has only just met may refuse at first."""
    async with asyncio.timeout(READY_S), connected(settings, "chaos") as nc:
        while True:
            try:
                await provision(nc, Sizes(replicas=settings.replicas, chunks_max_bytes=CHUNKS_BYTES))
            except (APIError, NatsTimeoutError):
                await asyncio.sleep(AGAIN_S)
            else:
                return


async def _services(
    ground: Embedded,
    brokers: Sequence[EmbeddedBroker],
    passwords: Mapping[str, str],
    scale: Mapping[str, int],
    told: Mapping[str, str],
    *,
    ending: AsyncExitStack,
    skews: bool,
) -> list[Program]:
    """Make the programs of all copies, each with ways of its own to the brokers, and those of clients to gateways."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(NOT_HANDED_ON)}

    def environment(service: str) -> dict[str, str]:
        own = {"DECOPILOT_JWT_SECRET": ground.secret} if service == "gateway" else {}
        ours = {"DECOPILOT_LOG_FORMAT": "json", "DECOPILOT_PATH_PREFIX": "", "PYTHONUNBUFFERED": "1"}
        return kept | UNLIMITED | ours | dict(told) | own

    taken = {port for broker in brokers for port in (broker.port, broker.monitor_port)}
    programs = []
    for program in service_programs(scale, random_port(taken), taken, environment):
        ways = [await ending.enter_async_context(way_to(broker.port)) for broker in brokers]
        ground.ways[program.name] = ways
        if program.service == "gateway":
            ground.lanes += [await ending.enter_async_context(way_to(program.port)) for _ in range(LANES)]
        url = ",".join(f"nats://{way.address}" for way in ways)
        login = broker_environment(url, program.service, passwords[program.service])
        skewed: Mapping[str, str] = {}
        # It costs time to look up what time it is: one copy of each is enough.
        is_last = program.index == scale.get(program.service, 1)
        if skews and program.service in SKEWED and is_last and faketime() is not None:
            ground.clocks[program.name] = Clock(ground.folder / f"clock-{program.name}")
            skewed = ground.clocks[program.name].environment()
        programs.append(replace(program, environment={**program.environment, **login, **skewed}))
    return programs
