"""What users wish of runs, as the runner that drives them meets it: cancel, approve, answer, queue, interrupt."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from decopilot.contracts.commands import OnConflict
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.events import RunCompleted, RunFailed, RunRequiresAction
from decopilot.contracts.ids import MessageId, RunId, ThreadId
from decopilot.contracts.interactions import Answer, Approval, Interaction
from decopilot.domain.commands import RefusedError
from decopilot.domain.fold import fold
from decopilot.kit.settings import Settings
from decopilot.log.ending import Ender
from decopilot_runner.app import build
from decopilot_runner.settings import RunnerSettings
from support import agents
from support.brokers import login
from support.services import ORG, Record, running, until
from support.stack import free_port

_names = itertools.count()
ABORTED = {"finishReason": "other", "failureReason": "cancelled", "errorText": "The run was cancelled."}


@pytest.fixture(autouse=True)
def stage() -> agents.Stage:
    agents.stage.__init__()  # type: ignore[misc]  # as new for each test
    return agents.stage


@asynccontextmanager
async def runner(settings: Settings, **more: object) -> AsyncIterator[str]:
    """A runner in this process; yields its id."""
    port, instance = free_port(), f"wishes-{next(_names)}"
    told = {"nats_url": settings.nats_url, "instance": instance, "health_port": port} | login("runner")
    program = build(RunnerSettings.model_validate(told | more), Configuration(agent="support.agents:obey"))
    async with running(program, port):
        yield instance


async def is_cancelled(record: Record, run: RunId, *, within_s: float = 5) -> RunFailed:
    """Wait for the end of a cancelled run, and check what its viewers get of it."""
    end = await record.end_of("t1", run, within_s)
    assert isinstance(end, RunFailed)
    assert "cancelled" == end.reason
    chunks = await record.chunks_of("t1", run)
    assert [
        {"type": "data-run-end", "data": {"runId": run, "status": "failed", "reason": "cancelled"}, "transient": True},
        {"type": "abort"},
        {"type": "finish", "finishReason": "other", "messageMetadata": ABORTED},
    ] == chunks[-3:]
    message = fold(MessageId("answer-t1-m1"), chunks)
    assert (message if message.parts else None) == end.message
    for part in message.parts:
        assert part.get("state") not in {"streaming", "input-streaming", "input-available", "approval-requested"}
    return end


async def test_a_run_that_is_cancelled_before_a_runner_has_it_never_calls_its_agent(
    settings: Settings, record: Record, stage: agents.Stage
) -> None:
    run = await record.send("t1", "steps 3 0")
    await record.cancel("t1", run)
    async with runner(settings):
        await is_cancelled(record, run)
        await record.drained("runner")
    assert [] == stage.seen
    assert ["run_requested", "run_cancel_requested", "run_failed"] == await record.event_types("t1")


@pytest.mark.parametrize("act", ["count 5000 5", "hang", "ignore_cancellation", "leave_open_and_wait"])
async def test_a_cancelled_run_keeps_what_it_said_and_ends_whatever_its_agent_does(
    settings: Settings, record: Record, act: str
) -> None:
    async with runner(settings):
        run = await record.send("t1", act)
        await record.frames_reach("t1", run, 2)
        await record.cancel("t1", run)
        await record.wake(run)
        end = await is_cancelled(record, run)
        await record.drained("runner")
        # The runner has its hands free again.
        again = await record.send("t1", "say well", "m2")
        assert "run_completed" == (await record.end_of("t1", again)).type
    assert end.message is not None


async def test_a_cancel_that_comes_too_late_changes_nothing(settings: Settings, record: Record) -> None:
    async with runner(settings):
        run = await record.send("t1", "say hello")
        await record.end_of("t1", run)
        await record.cancel("t1", run)
        await record.wake(run)
    assert "run_completed" == (await record.event_types("t1"))[-1]


async def test_a_run_that_waits_for_approval_ends_and_holds_nothing(settings: Settings, record: Record) -> None:
    async with runner(settings, runs_at_once=1):
        run = await record.send("t1", "ask approve answer")
        end = await record.end_of("t1", run)
        other = await record.send("t2", "say well")
        assert "run_completed" == (await record.end_of("t2", other)).type
    assert isinstance(end, RunRequiresAction)
    assert (
        Interaction(kind="approval", id="a0", tool_call_id="c0", tool_name="approve"),
        Interaction(kind="answer", id="c1", tool_call_id="c1", tool_name="answer"),
    ) == end.pending
    chunks = await record.chunks_of("t1", run)
    assert [{"runId": run, "status": "requires_action"}, "tool-calls"] == [
        chunks[-2]["data"],
        chunks[-1]["finishReason"],
    ]


async def test_what_was_resolved_is_gone_on_with_in_the_same_message(
    settings: Settings, record: Record, stage: agents.Stage
) -> None:
    async with runner(settings):
        run = await record.send("t1", "ask approve approve answer")
        first = await record.end_of("t1", run)
        await record.resolve("t1", "x", Approval(approval_id="a0", approved=True))
        await record.resolve("t1", "y", Approval(approval_id="a1", approved=False, reason="Too dear."))
        going_on = await record.resolve("t1", "z", Answer(tool_call_id="c2", output={"n": 5}))
        end = await record.end_of("t1", going_on)
        await record.drained("runner")
    assert isinstance(end, RunCompleted)
    assert end.message is not None
    assert first.message is not None
    assert first.message.id == end.message.id
    calls = {part["toolCallId"]: part for part in end.message.parts if "toolCallId" in part}
    assert ["output-available", "output-denied", "output-available"] == [part["state"] for part in calls.values()]
    assert ["done", {"n": 5}] == [calls["c0"]["output"], calls["c2"]["output"]]
    assert {"id": "a1", "approved": False, "reason": "Too dear."} == calls["c1"]["approval"]
    assert ["c0"] == stage.seen
    chunks = await record.chunks_of("t1", going_on)
    assert ["start", "data-run", "data-run-rewind"] == [chunk["type"] for chunk in chunks[:3]]
    assert first.message.id == chunks[0]["messageId"]
    # From nothing, and by those who hold the message.
    assert fold(MessageId("answer-t1-m1"), chunks) == end.message
    types = await record.event_types("t1")
    assert 2 == types.count("interactions_resolved")
    assert 2 == types.count("run_requested")


async def test_what_a_person_answered_is_kept_though_its_run_was_cancelled_before_it_began(
    settings: Settings, record: Record
) -> None:
    async with runner(settings):
        await record.end_of("t1", await record.send("t1", "ask answer approve"))
    await record.resolve("t1", "y", Answer(tool_call_id="c0", output="my name is Eve"))
    going_on = await record.resolve("t1", "z", Approval(approval_id="a1", approved=False))
    await record.cancel("t1", going_on)
    async with runner(settings):
        end = await record.end_of("t1", going_on)
    assert end.message is not None
    calls = [part for part in end.message.parts if "toolCallId" in part]
    assert ["output-available", "output-denied"] == [part["state"] for part in calls]
    assert "my name is Eve" == calls[0]["output"]
    assert fold(MessageId("answer-t1-m1"), await record.chunks_of("t1", going_on)) == end.message


async def test_an_answer_is_not_taken_for_the_output_of_a_later_call_of_the_same_id(
    settings: Settings, record: Record, stage: agents.Stage
) -> None:
    async def is_paying() -> bool:
        return "paying" in stage.seen

    async with runner(settings):
        await record.end_of("t1", await record.send("t1", "call_by_an_answered_id"))
        going_on = await record.resolve("t1", "z", Answer(tool_call_id="c0", output="my name is Eve"))
        await until(is_paying)
    async with runner(settings):
        end = await record.end_of("t1", going_on)
    assert end.message is not None
    calls = [part for part in end.message.parts if "toolCallId" in part]
    assert [("tool-ask", "my name is Eve"), ("tool-pay", "in doubt: 1")] == [
        (part["type"], part["output"]) for part in calls
    ]


async def test_steps_that_left_something_open_are_closed_and_not_taken_again(
    settings: Settings, record: Record, stage: agents.Stage
) -> None:
    async def is_waiting() -> bool:
        return "waiting" in stage.seen

    async with runner(settings):
        run = await record.send("t1", "leave_texts_open 3")
        await until(is_waiting)
        stage.seen.remove("waiting")
    async with runner(settings):
        await until(is_waiting)
        await record.cancel("t1", run)
        await record.wake(run)
        await is_cancelled(record, run)
    assert ["s0", "s1", "s2"] == [seen for seen in stage.seen if seen.startswith("s")]
    chunks = await record.chunks_of("t1", run)
    assert 3 == sum(chunk["type"] == "text-end" for chunk in chunks)


@pytest.mark.parametrize("on_conflict", ["interrupt", None])
async def test_a_run_that_was_to_end_and_ended_with_a_question_is_not_waited_for(
    settings: Settings, record: Record, on_conflict: OnConflict | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    appending = asyncio.Event()
    append = Ender._append  # noqa: SLF001  between the closing frame and the terminal event

    async def held_up(self: Ender, *told: object) -> None:
        await appending.wait()
        await append(self, *told)  # type: ignore[arg-type]  # as it came

    monkeypatch.setattr(Ender, "_append", held_up)
    async with runner(settings):
        run = await record.send("t1", "ask approve")

        async def is_sealed() -> bool:
            frames = await record.frames_of("t1", run)
            return bool(frames) and frames[-1].outcome is not None

        await until(is_sealed)
        if on_conflict is None:
            await record.cancel("t1", run)
        else:
            instead = await record.send("t1", "say instead", "m2", on_conflict)
        appending.set()
        assert "run_requires_action" == (await record.end_of("t1", run)).type

        async def is_denied() -> bool:
            return "interactions_denied" in await record.event_types("t1")

        await until(is_denied)
        if on_conflict is not None:
            assert "run_completed" == (await record.end_of("t1", instead)).type
    with pytest.raises(RefusedError, match="interaction_resolved"):
        await record.resolve("t1", "z", Approval(approval_id="a0", approved=True))


async def test_a_question_waits_for_the_user_unless_that_is_switched_off(settings: Settings, record: Record) -> None:
    async with runner(settings):
        end = await record.end_of("t1", await record.send("t1", "question"))
        assert ("run_requires_action", ()) == (end.type, getattr(end, "pending", None))
        assert "run_completed" == (await record.end_of("t1", await record.send("t1", "say blue", "m2"))).type
    async with runner(settings, questions_wait=False):
        assert "run_completed" == (await record.end_of("t2", await record.send("t2", "question"))).type


async def test_queued_messages_are_answered_in_their_order_each_once(settings: Settings, record: Record) -> None:
    async with runner(settings):
        runs = [await record.send("t1", "count 20 10")]
        runs += [await record.send("t1", f"say {number}", f"m{number}") for number in range(2, 7)]
        for run in runs:
            assert "run_completed" == (await record.end_of("t1", run)).type
        await record.drained("runner")
    events = [recorded.event for recorded in await record.events("t1")]
    assert runs == [event.run_id for event in events if event.type == "run_requested"]
    assert runs == [event.run_id for event in events if event.type == "run_completed"]
    loaded = await record.journal.load(ORG, ThreadId("t1"))
    assert [f"m{n}" for n in range(1, 7)] == [ref.id for ref in loaded.state.messages if ref.id.startswith("m")]


async def test_an_interrupting_message_takes_the_place_of_the_run_that_goes_on(
    settings: Settings, record: Record
) -> None:
    async with runner(settings):
        first = await record.send("t1", "count 5000 5")
        waiting = await record.send("t1", "say later", "m2")
        await record.frames_reach("t1", first, 3)
        urgent = await record.send("t1", "say now", "m3", "interrupt")
        await record.wake(first)
        end = await record.end_of("t1", first, 5)
        assert isinstance(end, RunFailed)
        assert "superseded" == end.reason
        for run in (urgent, waiting):
            assert "run_completed" == (await record.end_of("t1", run)).type
    events = [recorded.event for recorded in await record.events("t1")]
    assert [first, urgent, waiting] == [event.run_id for event in events if event.type == "run_requested"]


async def test_a_runner_whose_signal_was_lost_finds_the_cancel_by_itself(
    settings: Settings, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decopilot_runner.driving.LOOK_S", 0.2)
    async with runner(settings):
        run = await record.send("t1", "hang")
        await record.frames_reach("t1", run, 2)
        await record.cancel("t1", run)
        await is_cancelled(record, run)
