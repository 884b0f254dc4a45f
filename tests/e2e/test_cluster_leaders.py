"""What is left of what was accepted when brokers that lead step down and are killed while runs go on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from decopilot.cli.chaos.evidence import Limits
from decopilot.contracts import subjects
from support.cluster import Cluster, clustered
from support.disturbed import Disturbed, disturbed

STREAMS = (subjects.EVENTS_STREAM, subjects.CHUNKS_STREAM)

# Six services to start, an election or two, and waiting for what is purged in the end.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with clustered(tmp_path / "nats") as running:
        yield running


async def test_what_was_accepted_is_there_once_and_in_order_when_leaders_step_down_and_are_killed(
    cluster: Cluster, tmp_path: Path
) -> None:
    killed = set()

    async def disturb(running: Disturbed) -> None:
        store = running.recorder.store
        for stream in STREAMS:
            await cluster.step_down(store, stream)
        await running.flows()
        for leader in {await cluster.leader_of(store, stream) for stream in STREAMS}:
            await cluster.kill(leader)
            killed.add(leader)
            await running.flows()
            await cluster.start(leader)
            await running.flows()

    async with disturbed(cluster, tmp_path, disturb, Limits(purge_grace_s=2.0, look_s=1.0), threads=1) as running:
        evidence = await running.judged()
    assert [] == running.broken
    assert killed
    ended = [thread.name for thread in evidence.threads.values() for run in thread.runs.values() if run.ends]
    assert set(running.names) == set(ended)
    assert len(running.accepted) <= len(ended)
