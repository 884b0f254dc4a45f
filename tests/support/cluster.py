"""Three brokers that are one: a JetStream cluster on this machine, whose nodes a test may kill and start again."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from decopilot.cli.broker import EmbeddedBroker
from decopilot.log.store import UNCERTAIN, Store
from support.brokers import embedded
from support.stack import free_port

NODES = 3


@dataclass(frozen=True, slots=True)
class Cluster:
    """The nodes, by the names under which they lead streams."""

    nodes: dict[str, EmbeddedBroker]

    @property
    def url(self) -> str:
        """Every node."""
        return ",".join(node.url for node in self.nodes.values())

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

    async def step_down(self, store: Store, stream: str) -> None:
        """Have another node lead a stream."""
        before = await self.leader_of(store, stream)
        await store.nc.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", timeout=10)
        async with asyncio.timeout(30):
            while await self.leader_of(store, stream) == before:
                await asyncio.sleep(0.05)


@contextmanager
def clustered(folder: Path) -> Iterator[Cluster]:
    """Run a cluster while the context is open."""
    routes = [free_port() for _ in range(NODES)]
    nodes: dict[str, EmbeddedBroker] = {}
    with ExitStack() as stack:
        for number, port in enumerate(routes):
            config = {
                "server_name": f"n{number}",
                "cluster": {
                    "name": "test",
                    "listen": f"127.0.0.1:{port}",
                    # Else it leads clients past whatever a test has put before it.
                    "no_advertise": True,
                    "routes": [f"nats://127.0.0.1:{other}" for other in routes if other != port],
                },
            }
            nodes[f"n{number}"] = stack.enter_context(embedded(folder / f"n{number}", config=config))
        yield Cluster(nodes)
