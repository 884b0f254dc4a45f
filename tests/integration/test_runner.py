import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.events import RunCompleted, RunFailed, RunStarted, StepCompleted
from decopilot.contracts.frames import Outcome
from decopilot.contracts.ids import MessageId, ThreadId
from decopilot.contracts.messages import Usage
from decopilot.domain.commands import Start
from decopilot.domain.fold import fold
from decopilot.domain.margins import closing, opening
from decopilot.kit.settings import Settings
from decopilot.log.pump import Pump
from decopilot_runner.app import build
from decopilot_runner.settings import RunnerSettings
from support import agents
from support.brokers import login
from support.freezing import freeze
from support.services import ORG, Record, running, until
from support.stack import free_port

_names = itertools.count()


@pytest.fixture(autouse=True)
def stage() -> agents.Stage:
    agents.stage.__init__()  # type: ignore[misc]  # as new for each test
    return agents.stage


@asynccontextmanager
async def runner(settings: Settings, **more: object) -> AsyncIterator[str]:
    """A runner in this process; yields its id."""
    port, instance = free_port(), f"runner-{next(_names)}"
    told = {"nats_url": settings.nats_url, "instance": instance, "health_port": port} | login("runner")
    program = build(RunnerSettings.model_validate(told | more), Configuration(agent="support.agents:obey"))
    async with running(program, port):
        yield instance


async def test_a_run_leaves_its_steps_one_end_and_a_message_that_is_the_fold_of_its_log(
    settings: Settings, record: Record
) -> None:
    async with runner(settings) as instance:
        run = await record.send("t1", "say Hello there")
        end = await record.end_of("t1", run)
        await record.drained("runner")
    assert ["run_requested", "run_started", "step_completed", "run_completed"] == await record.event_types("t1")
    _, started, step, _ = [recorded.event for recorded in await record.events("t1")]
    assert isinstance(started, RunStarted)
    assert isinstance(step, StepCompleted)
    assert (instance, 1) == (started.runner_id, started.attempt)
    assert (1, Usage(input_tokens=2, output_tokens=2)) == (step.step, step.usage)
    frames = await record.frames_of("t1", run)
    chunks = await record.chunks_of("t1", run)
    assert fold(MessageId("answer-t1-m1"), chunks) == end.message
    assert ["start", "data-run", "data-user-message"] == [chunk["type"] for chunk in chunks[:3]]
    assert [len(chunks) - 1] == [at for at, chunk in enumerate(chunks) if chunk["type"] == "finish"]
    assert [None] * (len(frames) - 1) == [frame.outcome for frame in frames[:-1]]
    assert frames[-1].outcome is not None
    assert (frames[-1].sequence, frames[-1].end.index) == (end.last_frame, end.last_index)
    assert Usage(input_tokens=2, output_tokens=2) == end.usage


async def test_the_closing_frame_is_stored_before_the_terminal_event(settings: Settings, record: Record) -> None:
    async with runner(settings):
        run = await record.send("t1", "say Hello")
        end = await record.end_of("t1", run)
    ended = (await record.events("t1"))[-1]
    closing_at = (await record.store.js.get_msg(subjects.CHUNKS_STREAM, end.last_frame)).time
    ended_at = (await record.store.js.get_msg(subjects.EVENTS_STREAM, ended.sequence)).time
    assert closing_at is not None
    assert ended_at is not None
    assert closing_at < ended_at


@pytest.mark.parametrize("kind", agents.EFFECTS)
async def test_nothing_takes_effect_while_the_broker_has_not_stored_what_comes_before(
    own_broker: EmbeddedBroker, settings: Settings, record: Record, stage: agents.Stage, kind: str
) -> None:
    async def has(what: str) -> bool:
        return what in stage.seen

    assert own_broker.pid is not None
    async with runner(settings):
        run = await record.send("t1", f"wait_then_yield {kind}")
        await until(lambda: has("started"))
        freeze(own_broker.pid)
        try:
            stage.gate.set()
            with pytest.raises(AssertionError, match="still False"):
                await until(lambda: has("effect"), 0.5)
        finally:
            os.kill(own_broker.pid, signal.SIGCONT)
        end = await record.end_of("t1", run)
    assert ("run_completed", ["started", "effect"]) == (end.type, stage.seen)


FAILURES = {
    "raise_error": ("unknown", "The agent failed unexpectedly."),
    "raise_agent_error": ("quota", "There is no quota left. ?"),
    "say_too_much_of_an_error": ("c" * 64, "t" * 2_000),
    "leave the_process": ("unknown", "The agent failed unexpectedly."),
    "leave by_interrupt": ("unknown", "The agent failed unexpectedly."),
    "leave the_generator": ("unknown", "The agent failed unexpectedly."),
    "yield_error": ("unknown", "I can't."),
    "be_no_json": ("protocol", "The agent broke the chunk protocol: chunk 2 (tool-input-available): must be JSON."),
    "be_no_dict": ("protocol", "The agent broke the chunk protocol: chunk 1 (str): must be an object."),
    "know_no_type": (
        "protocol",
        "The agent broke the chunk protocol: chunk 1 (text-begin): is no type that agents may send.",
    ),
    "add_a_field": (
        "protocol",
        "The agent broke the chunk protocol: chunk 1 (text-start): must have no field 'secret'.",
    ),
    "delta_of_no_text": (
        "protocol",
        "The agent broke the chunk protocol: chunk 2 (text-delta): must have 'delta' of type string.",
    ),
    "nest_deeply 300": (
        "protocol",
        "The agent broke the chunk protocol: chunk 3 (tool-output-available): must be JSON.",
    ),
    "delta_of_nothing": (
        "protocol",
        "The agent broke the chunk protocol: chunk 1 (text-delta): 't': a delta comes between its start and its end.",
    ),
    "reset_viewers": (
        "protocol",
        "The agent broke the chunk protocol: chunk 1 (data-thread-reset): is no type that agents may send.",
    ),
    "be_too_large": ("too_large", "The answer is too large: an answer has at most 8257536 bytes."),
    "grow_too_large": ("too_large", "The answer is too large: an answer has at most 8257536 bytes."),
    "write_without_end": ("too_large", "The run does not come to an end: a run writes at most 67108864 bytes."),
}


@pytest.mark.parametrize("act", FAILURES)
async def test_an_agent_that_fails_fails_its_run_with_a_clear_text_and_a_valid_end(
    settings: Settings, record: Record, act: str
) -> None:
    category, words = FAILURES[act]
    async with runner(settings):
        run = await record.send("t1", act)
        end = await record.end_of("t1", run)
        await record.drained("runner")
    assert isinstance(end, RunFailed)
    assert ("error", category, words) == (end.reason, end.error_category, end.error_text)
    chunks = await record.chunks_of("t1", run)
    why = {"finishReason": "error", "failureReason": "error", "errorText": words}
    finish = {"type": "finish", "finishReason": "error", "messageMetadata": why}
    told = {"runId": run, "status": "failed", "reason": "error"}
    ended = {"type": "data-run-end", "data": told, "transient": True}
    assert [ended, {"type": "error", "errorText": words}, finish] == chunks[-3:]
    _is_closed(chunks)
    message = fold(MessageId("answer-t1-m1"), chunks)
    assert (message if message.parts else None) == end.message
    stored = b"".join(frame.body for frame in await record.frames_of("t1", run))
    assert agents.SECRET.encode() not in stored


@pytest.mark.parametrize("act", ["open_more_than_fits", "half_an_input_that_grows"])
async def test_a_run_whose_ending_is_larger_than_the_log_takes_ends_all_the_same(
    settings: Settings, record: Record, act: str
) -> None:
    async with runner(settings):
        run = await record.send("t1", act)
        end = await record.end_of("t1", run)
        await record.drained("runner")
    assert isinstance(end, RunFailed)
    chunks = await record.chunks_of("t1", run)
    assert ["finish"] == [chunk["type"] for chunk in chunks if chunk["type"] == "finish"]
    _is_closed(chunks)


ENDS = {
    "yield_nothing": ("run_completed", "stop"),
    "leave_open": ("run_completed", "stop"),
    "frame_itself": ("run_completed", "stop"),
    "change_what_was_yielded": ("run_completed", "stop"),
    "reach_the_limit": ("run_failed", "length"),
}


@pytest.mark.parametrize("act", ENDS)
async def test_however_an_agent_ends_the_log_is_closed_once_and_folds_to_the_message(
    settings: Settings, record: Record, act: str
) -> None:
    async with runner(settings):
        run = await record.send("t1", act)
        end = await record.end_of("t1", run)
        await record.drained("runner")
    chunks = await record.chunks_of("t1", run)
    assert ENDS[act] == (end.type, end.finish_reason)
    _is_closed(chunks)
    message = fold(MessageId("answer-t1-m1"), chunks)
    assert (message if message.parts else None) == end.message
    assert ["answer-t1-m1"] == [chunk["messageId"] for chunk in chunks if chunk["type"] == "start"]
    if act == "reach_the_limit":
        assert isinstance(end, RunFailed)
        assert ("length", "The answer reached its length limit.") == (end.error_category, end.error_text)
        why = {"finishReason": "length", "failureReason": "error", "errorText": "The answer reached its length limit."}
        assert {"model": "m"} | why == message.metadata


def _is_closed(chunks: list[Chunk]) -> None:
    """Nothing is open at the end, and the end comes once and last."""
    types = [chunk["type"] for chunk in chunks]
    for kind in ("text", "reasoning"):
        assert types.count(f"{kind}-start") == types.count(f"{kind}-end")
    assert types.count("start-step") == types.count("finish-step")
    assert [len(types) - 1] == [at for at, kind in enumerate(types) if kind == "finish"]
    for part in fold(MessageId("m"), chunks).parts:
        assert part.get("state") not in {"streaming", "input-streaming", "input-available"}


async def test_a_run_whose_closing_frame_is_stored_ends_as_that_frame_says(settings: Settings, record: Record) -> None:
    run = await record.send("t1", "say never")
    requested = (await record.events("t1"))[0].event
    thread = ThreadId("t1")
    start = Start(now=requested.at, run_id=run, attempt=1, runner_id="the-dead-one")
    await record.journal.execute(ORG, thread, start)
    outcome = Outcome(status="failed", finish_reason="error", reason="error", error_category="quota", error_text="No.")
    chunks = [*opening(requested, 1), *agents.text("as far as it came")]  # type: ignore[arg-type]  # it is a request
    async with Pump(record.store, ORG, thread, run, attempt=1, previous=0) as pump:
        for chunk in chunks:
            await pump.write(chunk)
        sealed = await pump.close(closing(requested, outcome, {}), outcome)  # type: ignore[arg-type]  # as above
    async with runner(settings):
        end = await record.end_of("t1", run)
        await record.drained("runner")
    assert isinstance(end, RunFailed)
    assert ("error", "quota", "No.") == (end.reason, end.error_category, end.error_text)
    assert (sealed.sequence, sealed.index) == (end.last_frame, end.last_index)
    assert end.message is not None
    assert "asfarasitcame" == end.message.text
    assert ["run_requested", "run_started", "run_failed"] == await record.event_types("t1")


async def test_a_runner_asks_the_holder_before_it_takes_an_item_for_lost(settings: Settings, record: Record) -> None:
    async with runner(settings), runner(settings):
        run = await record.send("t1", "count 60 50")
        await record.frames_reach("t1", run, 3)
        # What the broker does when no heartbeat came in time: hand the item out again.
        await record.store.nc.publish(f"$JS.ACK.{subjects.EVENTS_STREAM}.runner.1.1.1.1.0", b"-NAK")

        async def redelivered() -> bool:
            return await record.deliveries("runner") > 1

        await until(redelivered)
        end = await record.end_of("t1", run)
        await record.drained("runner")
    assert "run_completed" == end.type
    assert ["run_requested", "run_started", "step_completed", "run_completed"] == await record.event_types("t1")


async def test_a_run_outlasts_a_broker_that_is_away_for_longer_than_an_item_waits(
    own_broker: EmbeddedBroker, settings: Settings, record: Record
) -> None:
    async with runner(settings), runner(settings):
        run = await record.send("t1", "count 150 50")
        await record.frames_reach("t1", run, 5)
        own_broker.kill()
        await asyncio.sleep(8)  # not to wait for something: this long the broker is away
        await asyncio.to_thread(own_broker.start)
        end = await record.end_of("t1", run, 30)
        await record.drained("runner")
    assert isinstance(end, RunCompleted)
    assert end.message is not None
    assert "".join(f"{number} " for number in range(150)) == end.message.text
    assert ["run_requested", "run_started", "step_completed", "run_completed"] == await record.event_types("t1")


async def test_thirty_two_runs_share_one_runner(settings: Settings, record: Record) -> None:
    async with runner(settings):
        runs = {f"t{n}": await record.send(f"t{n}", "count 20 50") for n in range(32)}

        async def all_started() -> bool:
            return all([len(await record.frames_of(thread, run)) > 1 for thread, run in runs.items()])

        await until(all_started)
        ends = [await record.end_of(thread, run) for thread, run in runs.items()]
        await record.drained("runner")
    assert ["run_completed"] * 32 == [end.type for end in ends]


async def test_what_a_full_runner_does_not_take_an_idle_one_has_at_once(settings: Settings, record: Record) -> None:
    async with runner(settings, runs_at_once=1) as first:
        busy = await record.send("t1", "count 200 50")
        await record.frames_reach("t1", busy, 3)
        async with runner(settings, runs_at_once=1) as second:
            run = await record.send("t2", "say hello")
            await record.end_of("t2", run, 2)
    started = {
        recorded.event.run_id: recorded.event.runner_id
        for thread in ("t1", "t2")
        for recorded in await record.events(thread)
        if isinstance(recorded.event, RunStarted)
    }
    assert {busy: first, run: second} == started


async def test_an_agent_that_ignores_its_cancellation_does_not_keep_the_runner_from_leaving(
    settings: Settings, record: Record, stage: agents.Stage
) -> None:
    async def started() -> bool:
        return bool(stage.seen)

    async with runner(settings):
        await record.send("t1", "ignore_cancellation")
        await until(started)
        before = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - before < 5
    assert ["started", "cancelled"] == stage.seen
    assert ["run_requested", "run_started", "run_handed_back"] == await record.event_types("t1")


async def test_a_runner_that_left_leaves_no_task_behind(
    settings: Settings, record: Record, stage: agents.Stage
) -> None:
    async def started() -> bool:
        return bool(stage.seen)

    async def all_left() -> bool:
        return asyncio.all_tasks() <= before

    before = asyncio.all_tasks()
    async with runner(settings):
        run = await record.send("t1", "say hello")
        await record.end_of("t1", run)
        await record.send("t2", "wait_then_yield finish-step")
        await until(started)
    await until(all_left, 2)
