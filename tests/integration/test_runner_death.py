import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts.events import RunCompleted, RunFailed, RunStarted, StepCompleted
from decopilot.contracts.ids import MessageId, RunId
from decopilot.contracts.messages import RunConfig
from decopilot.domain.fold import fold
from decopilot.domain.resuming import replay
from decopilot.log.heartbeats import HEARTBEAT_S
from decopilot.log.topology import ACK_WAIT_S
from support.services import Record, Service, Services, until

STEPS = 40
SLOW = f"steps {STEPS} 40"


@pytest.fixture
def services(own_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Services]:
    started = Services(tmp_path, own_broker.url)
    yield started
    started.end()


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runners started from now on take their notes."""
    path = tmp_path / "notes"
    monkeypatch.setenv("NOTES", str(path))
    return path


async def until_attempt(record: Record, number: int) -> str:
    """Wait until this attempt has begun; returns whose it is."""

    async def begun() -> list[RunStarted]:
        events = [recorded.event for recorded in await record.events("t1")]
        return [event for event in events if isinstance(event, RunStarted) and event.attempt == number]

    return (await until(begun))[0].runner_id


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


async def is_whole(record: Record, run: RunId, end: object, notes: Path) -> None:
    """The run ended as if nobody had died: every number said once, every note taken at most once."""
    assert isinstance(end, RunCompleted)
    assert end.message is not None
    assert [f"number{n}" for n in range(STEPS)] == end.message.text.split()
    chunks = await record.chunks_of("t1", run)
    assert [len(chunks) - 1] == [at for at, chunk in enumerate(chunks) if chunk["type"] == "finish"]
    frames = await record.frames_of("t1", run)
    assert replay(MessageId("answer-t1-m1"), frames).message() == end.message
    # Who understands rewinds folds what he was delivered, void chunks too, to the same.
    assert fold(MessageId("answer-t1-m1"), chunks) == end.message
    outputs = {part["toolCallId"]: part["output"] for part in end.message.parts if "toolCallId" in part}
    noted = (await asyncio.to_thread(notes.read_text)).split()
    assert len(set(noted)) == len(noted)
    assert {call for call, output in outputs.items() if output == "noted"} <= set(noted)
    events = [recorded.event for recorded in await record.events("t1")]
    assert list(range(1, STEPS + 1)) == [event.step for event in events if isinstance(event, StepCompleted)]


async def test_a_killed_runners_run_is_gone_on_with_by_the_next_one_within_seconds(
    record: Record, services: Services, notes: Path
) -> None:
    pair = await two_runners(services)
    run = await record.send("t1", SLOW)
    driving, other = await driver_of(record, pair, run)
    driving.send(signal.SIGKILL)
    killed_at, killed_with = time.monotonic(), len(await record.frames_of("t1", run))
    await record.frames_reach("t1", run, killed_with + 3)
    took_s = time.monotonic() - killed_at
    end = await record.end_of("t1", run)
    await record.drained("runner")
    await is_whole(record, run, end, notes)
    assert [1, 2] == [r.event.attempt for r in await record.events("t1") if isinstance(r.event, RunStarted)]
    assert took_s < ACK_WAIT_S + 2
    assert [] == other.complaints()


async def test_a_run_outlives_as_many_runners_as_there_are_attempts(
    record: Record, services: Services, notes: Path
) -> None:
    runners = [services.start("runner", agent="support.agents:obey") for _ in range(3)]
    await asyncio.gather(*(runner.ready() for runner in runners))
    run = await record.send("t1", SLOW)
    await record.frames_reach("t1", run, 10)
    for attempt in (1, 2):
        runner_id = await until_attempt(record, attempt)
        next(runner for runner in runners if runner.name == runner_id).send(signal.SIGKILL)
    end = await record.end_of("t1", run)
    await is_whole(record, run, end, notes)
    assert [1, 2, 3] == [r.event.attempt for r in await record.events("t1") if isinstance(r.event, RunStarted)]


async def test_a_run_whose_attempts_are_used_up_ends_as_crashed(record: Record, services: Services) -> None:
    pair = [services.start("runner", agent="support.agents:obey", attempts=1) for _ in range(2)]
    for service in pair:
        await service.ready()
    run = await record.send("t1", SLOW)
    driving, _ = await driver_of(record, pair, run)
    driving.send(signal.SIGKILL)
    end = await record.end_of("t1", run)
    assert isinstance(end, RunFailed)
    assert "crashed" == end.reason
    chunks = await record.chunks_of("t1", run)
    assert ["data-run-end", "error", "finish"] == [chunk["type"] for chunk in chunks[-3:]]
    assert fold(MessageId("answer-t1-m1"), chunks) == end.message


async def test_a_runner_told_to_leave_hands_its_runs_back_at_once_and_the_log_shows_it(
    record: Record, services: Services, notes: Path
) -> None:
    pair = await two_runners(services)
    run = await record.send("t1", SLOW)
    leaving, other = await driver_of(record, pair, run)
    leaving.send(signal.SIGTERM)
    told_at = time.monotonic()
    await until_attempt(record, 2)
    took_s = time.monotonic() - told_at
    end = await record.end_of("t1", run)
    assert 0 == await leaving.ended()
    await record.drained("runner")
    await is_whole(record, run, end, notes)
    assert ["run_started", "run_handed_back", "run_started"] == [
        kind for kind in await record.event_types("t1") if kind in {"run_started", "run_handed_back"}
    ]
    # Had it not been handed back, the other would have had it no sooner than this.
    assert took_s < ACK_WAIT_S - HEARTBEAT_S
    assert [[], []] == [leaving.complaints(), other.complaints()]


async def test_a_runner_that_wakes_up_after_its_run_was_taken_over_writes_nothing_more(
    record: Record, services: Services, notes: Path
) -> None:
    pair = await two_runners(services)
    run = await record.send("t1", SLOW)
    stopped, other = await driver_of(record, pair, run)
    stopped.send(signal.SIGSTOP)
    await until_attempt(record, 2)
    await record.frames_reach("t1", run, len(await record.frames_of("t1", run)) + 3)
    stopped.send(signal.SIGCONT)

    async def has_noticed() -> bool:
        return any(line.get("event") == "run_lost" for line in stopped.lines())

    await until(has_noticed)
    end = await record.end_of("t1", run)
    await record.drained("runner")
    await is_whole(record, run, end, notes)
    attempts = [frame.attempt for frame in await record.frames_of("t1", run)]
    assert sorted(attempts) == attempts
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
    assert {"run_completed"} == {end.type for end in ends}
    for thread in runs:
        types = await record.event_types(thread)
        assert 1 == types.count("run_completed")
        assert "run_completed" == types[-1]
    assert [[], [], []] == [service.complaints() for service in services.started]


async def test_a_runner_told_to_leave_in_mid_run_leaves_without_a_broker_too(
    own_broker: EmbeddedBroker, record: Record, services: Services, notes: Path
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
    await is_whole(record, run, await record.end_of("t1", run), notes)


@pytest.mark.parametrize(
    ("config", "now", "category"),
    [
        ({"agent_id": "support"}, {}, "agent_not_found"),
        ({"model": "openai:gpt-5"}, {"roles": '{"member": ["openai:gpt-5-mini"]}'}, "model_not_allowed"),
    ],
)
async def test_a_run_whose_agent_is_gone_or_whose_model_is_forbidden_by_now_is_not_gone_on_with(
    record: Record, services: Services, config: dict[str, str], now: dict[str, str], category: str
) -> None:
    first = services.start(
        "runner", agent="support.agents:obey", agents='{"support": {"agent": "support.agents:obey"}}'
    )
    await first.ready()
    run = await record.send("t1", SLOW, config=RunConfig.model_validate({"role": "member"} | config))
    await record.frames_reach("t1", run, 10)
    first.send(signal.SIGTERM)
    assert 0 == await first.ended()
    second = services.start("runner", agent="support.agents:obey", **now)
    await second.ready()
    end = await record.end_of("t1", run)
    assert isinstance(end, RunFailed)
    assert ("error", category) == (end.reason, end.error_category)
    assert end.message is not None
    assert end.message.text.startswith("number0")
    assert [] == second.complaints()


async def test_an_agent_that_is_not_there_ends_the_runner_with_a_clear_word(services: Services) -> None:
    service = services.start("runner", agent="support.agents:nobody")
    assert 0 != await service.ended()
    assert "agent support.agents:nobody: " in service.log.read_text()
