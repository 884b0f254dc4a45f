"""The interleavings that the takeover is worded for, each forced: by fault points, or a hand between two steps."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.events import RunCompleted, RunFailed, RunStarted, StepCompleted, run_of
from decopilot.contracts.frames import Frame
from decopilot.contracts.ids import MessageId, RunId, ThreadId
from decopilot.domain.fold import fold
from decopilot.domain.margins import opening
from decopilot.log.ending import Attempt, Ender
from decopilot.log.history import Histories
from decopilot.log.pump import FencedError
from support import agents
from support.freezing import freeze
from support.services import ORG, Record, Service, Services, until

THREAD = ThreadId("t1")
STEPS = "steps 12 40"


@pytest.fixture
def services(own_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Services]:
    started = Services(tmp_path, own_broker.url)
    yield started
    started.end()


@pytest.fixture
def fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that is there once the fault has struck; runners started from now on take notes, too."""
    struck = tmp_path / "struck"
    monkeypatch.setenv("FAULT_ONCE", str(struck))
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    return struck


async def runners(services: Services, count: int, **more: object) -> list[Service]:
    started = [services.start("runner", agent="support.agents:obey", **more) for _ in range(count)]
    for service in started:
        await service.ready()
    return started


async def strikes(fault: Path) -> None:
    async def has_struck() -> bool:
        return await asyncio.to_thread(fault.exists)

    await until(has_struck)


async def attempts(record: Record) -> list[int]:
    return [r.event.attempt for r in await record.events("t1") if isinstance(r.event, RunStarted)]


async def is_closed_once(record: Record, run: RunId) -> None:
    chunks = await record.chunks_of("t1", run)
    assert [len(chunks) - 1] == [at for at, chunk in enumerate(chunks) if chunk["type"] == "finish"]
    ended = {"run_completed", "run_failed", "run_requires_action"}
    assert 1 == sum(r.event.type in ended and run_of(r.event) == run for r in await record.events("t1"))


async def present(record: Record) -> Attempt:
    return Attempt.of(ORG, THREAD, (await record.journal.load(ORG, THREAD)).state)


def ender_of(record: Record) -> Ender:
    return Ender(record.store, record.journal, Histories(record.journal, record.views))


async def test_a_frame_that_lands_between_the_read_and_the_takeover_frame_is_taken_into_account(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await record.send("t1", "say hello")
    old = await present(record)
    ender = ender_of(record)
    async with ender.pump(old) as zombie:
        await zombie.frame(opening(old.requested, 1))
        read = ender._chunks.last_of_run  # noqa: SLF001  between its answer and what is done with it
        late = iter(agents.text("said late"))

        async def overtaken(*where: object) -> Frame | None:
            found = await read(*where)  # type: ignore[arg-type]
            if (chunk := next(late, None)) is not None:
                await zombie.frame([chunk])
            return found

        monkeypatch.setattr(ender._chunks, "last_of_run", overtaken)  # noqa: SLF001
        newer = Attempt(old.org, old.thread, old.requested, 2, old.previous)
        async with ender.fencing_pump(newer) as (_, fence):
            assert fence is not None
            with pytest.raises(FencedError):
                await zombie.frame([{"type": "text-start", "id": "z"}])
            frames = await record.frames_of("t1", run)
    # All that landed before the fence, in order, and nothing behind it.
    assert [1, 1, 1, 1, 1, 2] == [frame.attempt for frame in frames]
    assert frames[-1].sequence == fence.sequence


async def test_a_seal_wins_against_a_runner_that_goes_on_writing(record: Record) -> None:
    run = await record.send("t1", "say hello")
    attempt = await present(record)
    ender = ender_of(record)
    async with AsyncExitStack() as stack:
        pump = await stack.enter_async_context(ender.pump(attempt))
        await pump.frame([*opening(attempt.requested, 1), {"type": "text-start", "id": "t"}])

        async def go_on() -> None:
            while True:
                await pump.frame([{"type": "text-delta", "id": "t", "delta": "x"}])

        writing = asyncio.create_task(go_on())
        async with asyncio.timeout(20):
            await ender.seal(attempt, "timed_out")
        with pytest.raises(FencedError):
            await writing
    end = await record.end_of("t1", run)
    assert isinstance(end, RunFailed)
    assert "timed_out" == end.reason
    assert fold(MessageId("answer-t1-m1"), await record.chunks_of("t1", run)) == end.message
    await is_closed_once(record, run)


async def test_neither_ack_nor_nak_of_a_stalled_runner_touches_the_item_of_a_newer_attempt(
    record: Record, services: Services
) -> None:
    first, second = await runners(services, 2)
    run = await record.send("t1", "steps 30 40")
    await record.frames_reach("t1", run, 5)
    started = next(r.event for r in await record.events("t1") if isinstance(r.event, RunStarted))
    stalled, other = (first, second) if first.name == started.runner_id else (second, first)
    stalled.send(signal.SIGSTOP)

    async def is_taken_over() -> bool:
        return await attempts(record) == [1, 2]

    await until(is_taken_over)
    delivered = await record.deliveries("runner")
    stalled.send(signal.SIGCONT)

    async def has_let_go() -> bool:
        return any(line.get("event") == "run_lost" for line in stalled.lines())

    await until(has_let_go)
    info = await record.consumer("runner")
    # It was neither acknowledged nor handed out anew.
    assert (1, delivered) == (info.num_ack_pending, await record.deliveries("runner"))
    # And is still there for a third attempt.
    other.send(signal.SIGKILL)
    assert "run_completed" == (await record.end_of("t1", run)).type
    assert [1, 2, 3] == await attempts(record)
    await record.drained("runner")


async def test_no_living_runner_loses_its_run_when_the_broker_gives_no_acks_for_eight_seconds(
    own_broker: EmbeddedBroker, record: Record, services: Services
) -> None:
    await runners(services, 2)
    run = await record.send("t1", "count 300 40")
    await record.frames_reach("t1", run, 5)
    assert own_broker.pid is not None
    freeze(own_broker.pid)
    await asyncio.sleep(8)  # not to wait for something: this long no ack comes
    os.kill(own_broker.pid, signal.SIGCONT)
    end = await record.end_of("t1", run, 40)
    assert isinstance(end, RunCompleted)
    assert [1] == await attempts(record)
    await record.drained("runner")


async def test_a_step_whose_event_is_missing_is_counted_by_the_next_attempt_once(
    record: Record, services: Services, fault: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as armed:
        armed.setenv("FAULT", "decopilot_runner.pumping:AgentPump.complete_step:SIGKILL")
        await runners(services, 1)
    run = await record.send("t1", STEPS)
    await strikes(fault)
    await runners(services, 1)
    end = await record.end_of("t1", run)
    assert "run_completed" == end.type
    steps = [(r.event.step, r.event.attempt) for r in await record.events("t1") if isinstance(r.event, StepCompleted)]
    assert [(step, 2) for step in range(1, 13)] == steps
    notes = (await asyncio.to_thread((fault.parent / "notes").read_text)).split()
    assert [f"c{number}" for number in range(12)] == notes


@pytest.mark.parametrize("number", ["SIGKILL", "SIGSTOP"])
async def test_a_runner_that_dies_or_stalls_before_its_terminal_event_ends_its_run_as_its_closing_frame_says(
    record: Record, services: Services, fault: Path, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    with monkeypatch.context() as armed:
        armed.setenv("FAULT", f"decopilot.log.ending:Ender._append:{number}")
        (hit,) = await runners(services, 1)
    run = await record.send("t1", "say well done")
    await strikes(fault)
    # Cancelled meanwhile: too late, the closing frame is there.
    await record.cancel("t1", run)
    await runners(services, 1)
    end = await record.end_of("t1", run)
    assert "run_completed" == end.type
    hit.send(signal.SIGCONT)
    await record.drained("runner")
    await is_closed_once(record, run)
    assert [1] == await attempts(record)


async def test_a_queue_whose_head_was_not_promoted_by_the_runner_that_died_waits_for_the_reactor(
    record: Record, services: Services, fault: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as armed:
        armed.setenv("FAULT", "decopilot.log.ending:Ender.promote:SIGKILL")
        await runners(services, 1)
    first = await record.send("t1", "count 20 20")
    second = await record.send("t1", "say next", "m2")
    await strikes(fault)
    assert "run_completed" == (await record.end_of("t1", first)).type
    await runners(services, 1)
    reactor = services.start("reactor")
    await reactor.ready()
    assert "run_completed" == (await record.end_of("t1", second)).type
    await is_closed_once(record, second)
    assert 2 == (await record.event_types("t1")).count("run_requested")


async def test_a_runner_that_slept_since_before_its_first_frame_finds_its_run_sealed(
    record: Record, services: Services, fault: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as armed:
        armed.setenv("FAULT", "decopilot_runner.driving:Driver._open:SIGSTOP")
        (asleep,) = await runners(services, 1)
    run = await record.send("t1", "say hello")
    await strikes(fault)
    await ender_of(record).seal(await present(record), "timed_out")
    subject = subjects.chunks(ORG, THREAD, run)
    await record.store.js.purge_stream(subjects.CHUNKS_STREAM, subject=subject, keep=1)
    sealed = await record.frames_of("t1", run)
    asleep.send(signal.SIGCONT)
    await record.drained("runner")
    assert sealed == await record.frames_of("t1", run)
    assert ["run_requested", "run_started", "run_failed"] == await record.event_types("t1")
