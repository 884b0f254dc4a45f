"""What viewers see when the leader of three brokers steps down or is killed while much is written."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from decopilot.contracts import subjects
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.store import UNCERTAIN, Store
from decopilot.log.topology import Sizes, provision
from support.cluster import Cluster, clustered
from support.gateways import GatewayProcess, gateway_process, until
from support.load import Load, Property

STREAM = subjects.CHUNKS_STREAM


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with clustered(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def replicated(cluster: Cluster) -> AsyncIterator[Store]:
    """The log's room over the cluster, every message of it on all three nodes."""
    async with connected(Settings(nats_url=cluster.url), "test") as nc, Store(nc) as store:

        async def is_provisioned() -> bool:
            try:
                await provision(nc, Sizes(replicas=3))
            except UNCERTAIN:
                return False  # the nodes have yet to find one another
            return True

        await until(is_provisioned, deadline_s=40)
        yield store


@pytest.fixture
async def doors(cluster: Cluster, replicated: Store, tmp_path: Path) -> AsyncIterator[list[GatewayProcess]]:
    del replicated
    async with AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(gateway_process(cluster.url, tmp_path)) for _ in range(2)]
        for gateway in gateways:
            await until(partial(gateway.answers, 200), deadline_s=20)
        yield gateways


async def test_leaders_step_down_and_are_killed_and_every_chunk_is_seen_once(
    cluster: Cluster,
    replicated: Store,
    doors: list[GatewayProcess],
    chance: random.Random,
    record_property: Property,
) -> None:
    load = Load.on(replicated, [gateway.url for gateway in doors], chance)

    async def disturb() -> None:
        for _ in range(3):
            await cluster.step_down(replicated, STREAM)
            await load.flows()
        record_property("longest_silences_over_step_downs_s", load.silences_s)
        leader = cluster.nodes[await cluster.leader_of(replicated, STREAM)]
        await asyncio.to_thread(leader.kill)
        await load.flows()
        await asyncio.to_thread(leader.start)
        await load.flows()

    await load.through(disturb, record_property)
