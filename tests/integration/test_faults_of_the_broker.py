"""Faults of the broker bite, and are over at their end: its store is full, or a node of a cluster is gone."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import HTTPError

import pytest
from nats.js.errors import ServiceUnavailableError

from decopilot.cli.broker import EmbeddedBroker
from decopilot.cli.chaos.faults.disk import BALLAST, StoreFull, StoreTooLargeError
from decopilot.cli.chaos.faults.nodes import NodeKill, NodeStop, leader_of
from decopilot.cli.chaos.faults.ways import way_to
from decopilot.cli.tokens import Role, issue_token
from decopilot.contracts import subjects
from decopilot.contracts.events import RunCompleted
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.journal import Journal
from decopilot.log.store import UNCERTAIN, Store, patiently
from decopilot.log.topology import Sizes, provision
from decopilot.log.views import Views
from support.brokers import embedded
from support.cluster import clustered
from support.in_one import SECRET, all_services
from support.services import until
from support.viewer import Api, Viewer

MIB = 1 << 20
ROOM = 32 * MIB
PATIENCE_S = 60.0


@pytest.fixture
def small_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with embedded(tmp_path / "nats", config={"jetstream": {"max_file_store": ROOM}}) as broker:
        yield broker


@pytest.fixture
async def small_store(small_broker: EmbeddedBroker) -> AsyncIterator[Store]:
    async with connected(Settings(nats_url=small_broker.url), "test") as nc, Store(nc) as store:
        await provision(nc, Sizes(chunks_max_bytes=ROOM // 2))
        yield store


async def test_with_a_full_store_messages_are_refused_and_runs_wait_and_go_on_once_there_is_room(
    small_broker: EmbeddedBroker, small_store: Store
) -> None:
    fault = StoreFull(small_store, free_bytes=ROOM)
    token = issue_token(SECRET, org="local", user="me", role=Role.OWNER, hours=1, now=datetime.now(UTC))
    async with asyncio.timeout(PATIENCE_S * 2), all_services(Settings(nats_url=small_broker.url)) as url:
        api, viewer = Api(url, token), Viewer(url, token, "running")
        async with viewer.attached() as chunks:
            status, begun = await api.post("running", "/count 60 100")
            assert 202 == status
            async for chunk in chunks:
                if chunk["type"] == "text-delta":
                    break
            await fault.begin()
            for stream, subject in (
                (subjects.EVENTS_STREAM, subjects.event(OrgId("o"), ThreadId("t"), "run_requested")),
                (subjects.CHUNKS_STREAM, subjects.chunks(OrgId("o"), ThreadId("t"), RunId("r"))),
            ):
                with pytest.raises(ServiceUnavailableError):
                    await small_store.publish(stream, subject, bytes(4096))
            status, problem = await api.post("refused", "Is there room?", message_id="m1")
            assert (503, "broker_unavailable") == (status, problem["code"])
            await fault.end()
            await fault.end()
            async for chunk in chunks:
                if chunk["type"] == "finish":
                    break
        assert " ".join(map(str, range(1, 61))) == viewer.text
        journal = Journal(small_store, Views(small_store))

        async def ends() -> list[object]:
            known = await journal.events(OrgId("local"), ThreadId("running"), after=0)
            return [recorded.event for recorded in known if isinstance(recorded.event, RunCompleted)]

        (end,) = await until(ends, PATIENCE_S)
        assert isinstance(end, RunCompleted)
        assert begun["runId"] == end.run_id
        # What was refused may be said again, and is one run, whether or not it had been stored.
        assert 202 == (await api.post("refused", "Is there room?", message_id="m1"))[0]
    names = [stream.config.name for stream in await small_store.js.streams_info()]
    assert BALLAST not in names


async def test_a_store_without_a_limit_is_not_filled(store: Store) -> None:
    with pytest.raises(StoreTooLargeError, match="no limit"):
        await StoreFull(store, free_bytes=None).begin()


@dataclass(frozen=True, slots=True)
class EmbeddedNode:
    """A node that nobody supervises."""

    name: str
    broker: EmbeddedBroker

    @property
    def pid(self) -> int | None:
        return self.broker.pid

    async def be_up(self) -> None:
        if self.pid is None:
            self.broker.start()


async def test_a_node_that_leads_is_killed_and_one_that_follows_stands_still_and_each_is_back_at_the_end(
    tmp_path: Path,
) -> None:
    with clustered(tmp_path) as cluster:
        async with connected(Settings(nats_url=cluster.url), "test") as nc, Store(nc) as store:

            async def is_provisioned() -> bool:
                try:
                    await provision(nc, Sizes(replicas=3))
                except UNCERTAIN:
                    return False  # the nodes have yet to find one another
                return True

            await until(is_provisioned, PATIENCE_S)
            nodes = {name: EmbeddedNode(name, broker) for name, broker in cluster.nodes.items()}
            first = await leader_of(store, subjects.EVENTS_STREAM)
            kill = NodeKill(nodes[first])
            assert ("node-kill", first) == (kill.kind, kill.target)
            await kill.begin()
            assert first != await another_leads(store, first)
            await append(store, 1)
            assert nodes[first].pid is None
            await kill.end()
            await kill.end()
            await all_follow(store)
            leader = await leader_of(store, subjects.EVENTS_STREAM)
            follower = next(node for name, node in nodes.items() if name != leader)
            stop = NodeStop(follower)
            await stop.begin()
            await append(store, 2)
            await until(lambda: stands_still(follower.broker), PATIENCE_S)
            await stop.end()
            await stop.end()
            await all_follow(store)
        # Whoever is led over a way is told of no other.
        node = cluster.nodes["n0"]
        async with way_to(node.port) as way, connected(Settings(nats_url=f"nats://{way.address}"), "led") as led:
            assert [f"nats://{way.address}"] == [server.netloc and server.geturl() for server in led.servers]
            assert [] == led.discovered_servers


async def stands_still(broker: EmbeddedBroker) -> bool:
    """Tell whether nothing is answered: a process stops only once the disk has answered its main thread."""
    try:
        await asyncio.to_thread(lambda: urllib.request.urlopen(broker.health_url, timeout=0.5).close())
    except HTTPError:
        return False
    except OSError as error:
        return "timed out" in str(error)
    return False


async def another_leads(store: Store, one: str) -> str:
    async with asyncio.timeout(PATIENCE_S):
        while (leader := await leader_of(store, subjects.EVENTS_STREAM)) == one:
            await asyncio.sleep(0.05)
    return leader


async def append(store: Store, number: int) -> None:
    subject = subjects.event(OrgId("o"), ThreadId(f"t{number}"), "run_requested")
    async with asyncio.timeout(PATIENCE_S):
        await patiently(lambda: store.publish(subjects.EVENTS_STREAM, subject, b"{}"))


async def all_follow(store: Store) -> None:
    async def look() -> bool:
        cluster = (await patiently(lambda: store.js.stream_info(subjects.EVENTS_STREAM))).cluster
        replicas = [] if cluster is None else cluster.replicas or []
        return len(replicas) == 2 and all(replica.current and not replica.offline for replica in replicas)

    await until(look, PATIENCE_S)
