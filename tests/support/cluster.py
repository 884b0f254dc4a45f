"""Three brokers that are one: a JetStream cluster on this machine, whose nodes a test may kill and start again."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

from decopilot.cli.broker import EmbeddedBroker
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.store import UNCERTAIN, Store
from decopilot.log.topology import Sizes, provision
from support.brokers import embedded
from support.freezing import freeze, thaw
from support.services import health
from support.stack import free_port
from support.wires import Wires

NODES = 3
WHOLE_S = 120.0

ResultT = TypeVar("ResultT")


async def insistently(call: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """Repeat a call until it is not refused: the nodes may have yet to find one another."""
    async with asyncio.timeout(WHOLE_S):
        while True:
            try:
                return await call()
            except UNCERTAIN:
                await asyncio.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The nodes, by the names under which they lead streams."""

    nodes: dict[str, EmbeddedBroker]

    @property
    def url(self) -> str:
        """Every node."""
        return ",".join(node.url for node in self.nodes.values())

    async def provisioned(self) -> None:
        """Have all streams, each of them on every node; waits until the nodes have found one another."""
        async with connected(Settings(nats_url=self.url), "provision") as nc:
            await insistently(lambda: provision(nc, Sizes(replicas=NODES)))

    async def kill(self, name: str) -> None:
        """Kill a node (SIGKILL)."""
        await asyncio.to_thread(self.nodes[name].kill)

    def freeze(self, name: str) -> None:
        """Stop a node where it stands (SIGSTOP)."""
        freeze(self.pid(name))

    def thaw(self, name: str) -> None:
        """Have it go on."""
        thaw(self.pid(name))

    def pid(self, name: str) -> int:
        """The process of a node that runs."""
        pid = self.nodes[name].pid
        assert pid is not None, f"{name} does not run"
        return pid

    async def start(self, name: str) -> None:
        """Start it again, and wait until it has caught up."""
        await asyncio.to_thread(self.nodes[name].start)
        await self.is_whole()

    async def leader_of(self, store: Store, stream: str) -> str:
        """Name the node that leads a stream, once there is one."""
        async with asyncio.timeout(30):
            while True:
                try:
                    found = (await store.js.stream_info(stream)).cluster
                    if found is not None and found.leader:
                        return str(found.leader)
                except UNCERTAIN:
                    pass
                await asyncio.sleep(0.05)

    async def followers_of(self, store: Store, stream: str) -> list[str]:
        """Name the other nodes that hold a stream."""
        leader = await self.leader_of(store, stream)
        return [name for name in self.nodes if name != leader]

    async def is_whole(self) -> None:
        """Wait until every node is well, and has caught up with everything that it holds."""
        async with asyncio.timeout(WHOLE_S):
            for node in self.nodes.values():
                while await health(node.monitor_port, "/healthz") != HTTPStatus.OK:
                    await asyncio.sleep(0.1)

    async def step_down(self, store: Store, stream: str) -> None:
        """Have another node lead a stream."""
        before = await self.leader_of(store, stream)
        await store.nc.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", timeout=10)
        async with asyncio.timeout(30):
            while await self.leader_of(store, stream) == before:
                await asyncio.sleep(0.05)


@contextmanager
def clustered(
    folder: Path, each: Callable[[str], Mapping[str, object]] = lambda _: {}, wires: Wires | None = None
) -> Iterator[Cluster]:
    """Run a cluster while the context is open.

    `each` says what else a node is told, by its name; with `wires` all that nodes say to each other goes through them.
    """
    routes = {f"n{number}": free_port() for number in range(NODES)}
    if wires is not None:
        wires.lay(routes)
    nodes: dict[str, EmbeddedBroker] = {}
    with ExitStack() as stack:
        for name, port in routes.items():
            others = {other: routes[other] for other in routes if other != name}
            ways = others.values() if wires is None else [wires.ports[name, other] for other in others]
            config: dict[str, object] = {
                "server_name": name,
                "cluster": {
                    "name": "test",
                    "listen": f"127.0.0.1:{port}",
                    # Else it leads clients past whatever a test has put before it, and nodes past wires.
                    "no_advertise": True,
                    "routes": [f"nats://127.0.0.1:{way}" for way in ways],
                },
            }
            config |= each(name)
            nodes[name] = stack.enter_context(embedded(folder / name, config=config))
        yield Cluster(nodes)
