import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts.events import RunFailed, RunStarted
from decopilot.contracts.ids import MessageId, RunId
from decopilot.domain.fold import fold
from decopilot.log.store import Store
from decopilot.log.topology import ACK_WAIT_S
from decopilot_runner.heartbeats import HEARTBEAT_S
from support.services import Record, Service, Services, until

SLOW = "count 2000 20"


@pytest.fixture
def record(store: Store) -> Record:
    return Record.of(store)


@pytest.fixture
def services(own_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Services]:
    started = Services(tmp_path, own_broker.url)
    yield started
    started.end()


async def two_runners(services: Services) -> list[Service]:
    pair = [services.start("runner", agent="support.agents:obey") for _ in range(2)]
    for service in pair:
        await service.ready()
    return pair


async def driver_of(record: Record, pair: list[Service], run: RunId) -> tuple[Service, Service]:
    """The runner that drives the run, in mid-run, and the other one."""
    await record.frames_reach("t1", run, 10)
    started = next(r.event for r in await record.events("t1") if isinstance(r.event, RunStarted))
    return tuple(sorted(pair, key=lambda service: service.name != started.runner_id))  # type: ignore[return-value]


async def is_ended_as_crashed(record: Record, run: RunId, end: object) -> None:
    assert isinstance(end, RunFailed)
    assert ("crashed", "The run was interrupted.") == (end.reason, end.error_text)
    chunks = await record.chunks_of("t1", run)
    message = fold(MessageId("answer-t1-m1"), chunks)
    assert message == end.message
    assert ["step-start", "tool-counter", "text"] == [part["type"] for part in message.parts]
    assert ["output-error", "done"] == [part["state"] for part in message.parts[1:]]
    assert [len(chunks) - 1] == [at for at, chunk in enumerate(chunks) if chunk["type"] == "finish"]
    assert ["run_requested", "run_started", "run_failed"] == await record.event_types("t1")


async def test_a_killed_runners_run_is_closed_by_the_next_one_within_seconds(
    record: Record, services: Services
) -> None:
    pair = await two_runners(services)
    run = await record.send("t1", SLOW)
    driving, other = await driver_of(record, pair, run)
    driving.send(signal.SIGKILL)
    killed_at = time.monotonic()
    end = await record.end_of("t1", run)
    took_s = time.monotonic() - killed_at
    await record.drained("runner")
    await is_ended_as_crashed(record, run, end)
    assert took_s < 6.5
    assert [] == other.complaints()


async def test_a_runner_told_to_leave_hands_its_runs_back_at_once(record: Record, services: Services) -> None:
    pair = await two_runners(services)
    run = await record.send("t1", SLOW)
    leaving, other = await driver_of(record, pair, run)
    leaving.send(signal.SIGTERM)
    told_at = time.monotonic()
    end = await record.end_of("t1", run)
    took_s = time.monotonic() - told_at
    assert 0 == await leaving.ended()
    await record.drained("runner")
    await is_ended_as_crashed(record, run, end)
    # Had it not been handed back, the other would have had it no sooner. (It looks twice: it has just come itself.)
    assert took_s < ACK_WAIT_S - HEARTBEAT_S
    assert [[], []] == [leaving.complaints(), other.complaints()]


async def test_a_runner_that_wakes_up_after_its_run_was_closed_writes_nothing_more(
    record: Record, services: Services
) -> None:
    pair = await two_runners(services)
    run = await record.send("t1", SLOW)
    stopped, other = await driver_of(record, pair, run)
    stopped.send(signal.SIGSTOP)
    end = await record.end_of("t1", run)
    frames = len(await record.frames_of("t1", run))
    stopped.send(signal.SIGCONT)

    async def has_noticed() -> bool:
        return any(line.get("event") == "run_lost" for line in stopped.lines())

    await until(has_noticed)
    await record.drained("runner")
    await is_ended_as_crashed(record, run, end)
    assert frames == len(await record.frames_of("t1", run))
    again = await record.send("t1", "say well", "m2")
    assert "run_completed" == (await record.end_of("t1", again)).type
    assert [[], []] == [stopped.complaints(), other.complaints()]


async def test_many_runs_survive_runners_that_come_and_go(record: Record, services: Services) -> None:
    (first, second) = await two_runners(services)
    runs = {f"t{n}": await record.send(f"t{n}", "count 50 20") for n in range(40)}
    first.send(signal.SIGTERM)
    assert 0 == await first.ended()
    await services.start("runner", agent="support.agents:obey").ready()
    second.send(signal.SIGTERM)
    assert 0 == await second.ended()
    ends = await asyncio.gather(*(record.end_of(thread, run) for thread, run in runs.items()))
    await record.drained("runner")
    assert {"run_completed", "run_failed"} >= {end.type for end in ends}
    for thread in runs:
        types = await record.event_types(thread)
        assert 1 == sum(kind in {"run_completed", "run_failed"} for kind in types)
        assert types[-1] in {"run_completed", "run_failed"}
    assert [[], [], []] == [service.complaints() for service in services.started]


async def test_a_runner_told_to_leave_in_mid_run_leaves_without_a_broker_too(
    own_broker: EmbeddedBroker, record: Record, services: Services
) -> None:
    service = services.start("runner", agent="support.agents:obey")
    await service.ready()
    run = await record.send("t1", SLOW)
    await record.frames_reach("t1", run, 10)
    own_broker.kill()
    service.send(signal.SIGTERM)
    told_at = time.monotonic()
    assert 0 == await service.ended()
    assert time.monotonic() - told_at < 5
    assert [] == service.complaints()
    await asyncio.to_thread(own_broker.start)
    await services.start("runner", agent="support.agents:obey").ready()
    await is_ended_as_crashed(record, run, await record.end_of("t1", run))


async def test_an_agent_that_is_not_there_ends_the_runner_with_a_clear_word(services: Services) -> None:
    service = services.start("runner", agent="support.agents:nobody")
    assert 0 != await service.ended()
    assert "DECOPILOT_AGENT=support.agents:nobody" in service.log.read_text()
