"""What is left of what was accepted when brokers that lead step down and are killed while runs go on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from decopilot.contracts import subjects
from decopilot.log.store import Store
from support.cluster import Cluster, clustered
from support.disturbed import Disturbed, disturbed


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with clustered(tmp_path / "nats") as running:
        yield running


async def test_what_was_accepted_is_there_once_and_in_order_when_leaders_are_killed(
    cluster: Cluster, tmp_path: Path
) -> None:
    async def disturb(running: Disturbed) -> None:
        store: Store = running.recorder.store
        await cluster.step_down(store, subjects.EVENTS_STREAM)
        for stream in (subjects.EVENTS_STREAM, subjects.CHUNKS_STREAM):
            leader = await cluster.leader_of(store, stream)
            await cluster.kill(leader)
            await running.flows()
            await cluster.start(leader)
            await running.flows()

    async with disturbed(cluster, tmp_path, disturb) as running:
        await running.judged()
        assert [] == running.verdict.violations
        assert len(running.accepted) >= 2 * len(running.names)
