"""What runners and reactors are scaled by on Kubernetes: what KEDA's `nats-jetstream` trigger reads of a server.

It asks `/jsz` of an account and takes `num_pending + num_ack_pending` of the consumer; of one that is not there, the
stream's last sequence: a wrong name would scale to the most there may be.
"""

import json
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts.configuration import Configuration
from decopilot.kit.settings import Settings
from decopilot_reactor.app import build as build_reactor
from decopilot_reactor.settings import ReactorSettings
from decopilot_runner.app import build
from decopilot_runner.settings import RunnerSettings
from support import agents
from support.brokers import login
from support.kubernetes import K8S, named
from support.services import Record, running, until
from support.stack import free_port

PRODUCTION = K8S / "overlays" / "production"


@pytest.fixture(autouse=True)
def stage() -> agents.Stage:
    agents.stage.__init__()  # type: ignore[misc]  # as new for each test
    return agents.stage


def trigger(name: str) -> dict[str, str]:
    (found,) = named(PRODUCTION, "ScaledObject", f"decopilot-{name}")["spec"]["triggers"]
    assert "nats-jetstream" == found["type"]
    metadata: dict[str, str] = found["metadata"]
    return metadata


def lag(broker: EmbeddedBroker, account: str, stream: str, consumer: str) -> int:
    """Ask as KEDA does."""
    query = urlencode({"acc": account, "consumers": "true", "config": "true"}, safe="$")
    with urlopen(f"{broker.monitor_url}/jsz?{query}") as answer:
        told: dict[str, Any] = json.load(answer)
    (there,) = (each for each in told["account_details"] if each["name"] == account)
    (log,) = (each for each in there["stream_detail"] if each["name"] == stream)
    (found,) = (each for each in log["consumer_detail"] if each["name"] == consumer)
    return int(found["num_pending"]) + int(found["num_ack_pending"])


async def test_runners_lag_by_what_waits_and_what_goes_on_and_by_nothing_else(
    own_broker: EmbeddedBroker, settings: Settings, record: Record
) -> None:
    told = trigger("runner")

    def behind() -> int:
        return lag(own_broker, told["account"], told["stream"], told["consumer"])

    async def is_behind_by(runs: int) -> None:
        async def look() -> bool:
            return behind() == runs

        await until(look)

    assert 0 == behind()
    runs = {
        f"t{number}": await record.send(f"t{number}", "wait_then_yield tool-output-available") for number in range(5)
    }
    assert 5 == behind()
    port = free_port()
    given = {"nats_url": settings.nats_url, "health_port": port, "runs_at_once": 2, "titles": False} | login("runner")
    program = build(RunnerSettings.model_validate(given), Configuration(agent="support.agents:obey"))
    async with running(program, port):

        async def are_driven() -> bool:
            info = await record.consumer("runner")
            return (2, 3) == (info.num_ack_pending, info.num_pending) and 2 == agents.stage.seen.count("started")

        await until(are_driven)
        # Two are in somebody's hands: still there, so that nobody who is busy is scaled away.
        assert 5 == behind()
        agents.stage.gate.set()
        for thread, run in runs.items():
            await record.end_of(thread, run)
        await is_behind_by(0)


async def test_reactors_lag_by_what_the_views_have_not_heard_of_and_not_by_what_waits_for_its_time(
    own_broker: EmbeddedBroker, settings: Settings, record: Record
) -> None:
    told = trigger("reactor")

    def behind(consumer: str) -> int:
        return lag(own_broker, told["account"], told["stream"], consumer)

    assert "reactor" == told["consumer"]
    for number in range(3):
        await record.send(f"t{number}", "say Hello")
    assert 3 == behind("reactor")
    port = free_port()
    given = {"nats_url": settings.nats_url, "health_port": port} | login("reactor")
    async with running(build_reactor(ReactorSettings.model_validate(given), Configuration()), port):

        async def has_caught_up() -> bool:
            return (0, 3) == (behind("reactor"), behind("janitor"))

        # Nobody drives the runs: that is the runners' lag, and what the janitor waits for is no work.
        await until(has_caught_up)
