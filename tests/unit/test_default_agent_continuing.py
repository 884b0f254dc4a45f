import contextlib
from pathlib import Path

import pytest
from pydantic_ai import Tool
from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart
from pydantic_ai.models.function import DeltaThinkingPart

from decopilot.agent import Agent, AgentError, AgentRequest
from decopilot.contracts.ids import RunId
from decopilot.contracts.interactions import Approval
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot.domain.interactions import pending_in, with_verdicts
from decopilot.domain.outcome import usage_of
from decopilot_runner.default_agent import STEPS
from decopilot_runner.default_agent.asking import INTERRUPTED, destructive, read_only
from decopilot_runner.default_agent.encoder import UNFINISHED
from decopilot_runner.default_agent.history import DENIED, NOT_REPEATED
from support.demo import demo_agent
from support.driven import (
    ANSWER,
    ORG,
    READONLY,
    THREAD,
    Driven,
    KilledError,
    Toolbox,
    agent_of,
    asked,
    call,
    calls_of,
    kinds,
    noted,
    of,
    says,
    verdicts,
)

IDEMPOTENT = {"annotations": {"idempotentHint": True}}


def states(message: UIMessage) -> dict[str, str]:
    return {part["toolCallId"]: part["state"] for part in calls_of(message)}


def at(run: Driven, kind: str, nth: int = 1) -> int:
    """Tell which chunk of the last attempt is the nth of its kind."""
    return [n for n, chunk in enumerate(run.chunks, 1) if chunk["type"] == kind][nth - 1]


async def whole(run: Driven) -> Driven:
    await run.attempt()
    return run


@pytest.mark.parametrize("loses", [0, 1])
async def test_whenever_a_run_is_killed_what_was_done_is_not_done_again_and_its_message_is_the_same(
    tmp_path: Path, loses: int
) -> None:
    def make(folder: int) -> Driven:
        return Driven(demo_agent(delay_ms=0, demo_dir=tmp_path / str(folder)), "/steps 3 /note milk")

    whole = make(0)
    assert "completed" == (await whole.attempt()).status
    assert ["milk 1", "milk 2", "milk 3"] == noted(tmp_path / "0")
    asked_at: set[int] = set()
    for kill_at in range(1 + loses, len(whole.chunks) + 1):
        run, folder = make(kill_at), tmp_path / str(kill_at)
        await run.killed_at(kill_at, loses=loses)
        before = noted(folder)
        outcome = await run.attempt()
        if waiting := pending_in(run.message):
            # One call was under way: whether it is to be done is asked, and nothing is done meanwhile.
            asked_at.add(kill_at - loses)
            assert ("requires_action", "tool-calls") == (outcome.status, outcome.finish_reason)
            assert before == noted(folder)
            (asked,) = waiting
            data = {"toolCallId": asked.tool_call_id, "text": INTERRUPTED}
            assert of(run.chunks, "data-interrupted-call", "tool-approval-request") == [
                {"type": "data-interrupted-call", "id": asked.tool_call_id, "data": data},
                {"type": "tool-approval-request", "toolCallId": asked.tool_call_id, "approvalId": asked.id},
            ]
            rest = run.gone_on_with(*verdicts(run.message))
            assert "completed" == (await rest.attempt()).status
            assert {"output-available"} == {part["state"] for part in calls_of(rest.message)}
            assert loses == len(noted(folder)) - 3
            assert {"milk 1", "milk 2", "milk 3"} == set(noted(folder))
            assert whole.message.text == rest.message.text
        else:
            assert ["milk 1", "milk 2", "milk 3"] == noted(folder)
            assert whole.message == run.message
            assert whole.stored() == run.stored()
    inputs = [n for n, chunk in enumerate(whole.chunks, 1) if chunk["type"] == "tool-input-available"]
    assert set(inputs) == asked_at


@pytest.mark.parametrize("text", ["/steps 2", "/weather Oslo", "/think of rain", "/length", "hello", "/ask Which"])
@pytest.mark.parametrize("loses", [0, 1])
async def test_a_run_that_only_reads_ends_as_if_nobody_had_killed_it(text: str, loses: int) -> None:
    agent = demo_agent(delay_ms=0)
    undisturbed = Driven(agent, text)
    outcome = await undisturbed.attempt()
    for kill_at in range(1 + loses, len(undisturbed.chunks) + 1):
        run = Driven(agent, text)
        await run.killed_at(kill_at, loses=loses)

        assert outcome == await run.attempt()
        assert undisturbed.message == run.message
        assert undisturbed.stored() == run.stored()


async def test_a_run_that_is_killed_again_and_again_notes_nothing_twice(tmp_path: Path) -> None:
    undisturbed = await whole(Driven(demo_agent(delay_ms=0, demo_dir=tmp_path), "/steps 2 /note x"))
    for first in range(2, len(undisturbed.chunks), 5):
        for second in range(2, len(undisturbed.chunks), 7):
            folder = tmp_path / f"{first}-{second}"
            run = Driven(demo_agent(delay_ms=0, demo_dir=folder), "/steps 2 /note x")
            await run.killed_at(first, loses=1)
            # It may come to its end before.
            with contextlib.suppress(KilledError):
                await run.attempt(kill_at=second, loses=1)
            await run.attempt()

            assert len(noted(folder)) == len(set(noted(folder)))
            if not pending_in(run.message):
                assert undisturbed.stored() == run.stored()


async def test_a_model_that_failed_is_not_taken_for_one_that_came_to_its_end() -> None:
    agent = demo_agent(delay_ms=0)
    failed = Driven(agent, "/fail 3")
    with pytest.raises(AgentError):
        await failed.attempt()
    for kill_at in range(1, len(failed.chunks)):
        run = Driven(agent, "/fail 3")
        await run.killed_at(kill_at)
        with pytest.raises(AgentError):
            await run.attempt()

    run = Driven(agent, "/fail 3")
    await run.killed_at(len(failed.chunks))
    outcome = await run.attempt()
    assert ("failed", "error") == (outcome.status, outcome.finish_reason)


def batch(box: Toolbox) -> Agent:
    """Make an agent that calls tools of every kind at once, and then says so."""
    tools = {"read": read_only(), "put": IDEMPOTENT, "act": None, "drop": destructive()}
    calls = [call(name, number) for number, name in enumerate(["read", "put", "act", "drop", "read"])]
    return agent_of(says(calls, ["done"]), *(box.tool(name, metadata) for name, metadata in tools.items()))


async def test_of_a_batch_that_was_cut_what_may_be_repeated_is_and_the_user_is_asked_about_the_rest() -> None:
    box = Toolbox()
    cut = at(await whole(Driven(batch(Toolbox()), "go")), "tool-output-available")
    run = Driven(batch(box), "go")
    await run.killed_at(cut)
    (done,) = [call_id for call_id, state in states(run.message).items() if state == "output-available"]
    assert done == "c0"
    box.called.clear()

    outcome = await run.attempt()

    assert ["c1", "c4"] == box.called
    assert "requires_action" == outcome.status
    assert kinds(run.chunks) == [
        "tool-output-available",
        "tool-output-available",
        "data-interrupted-call",
        "tool-approval-request",
        "data-interrupted-call",
        "tool-approval-request",
        "message-metadata",
        "finish-step",
        "finish",
    ]
    rest = run.gone_on_with(
        Approval(approval_id="c2:1", approved=False, reason="No need."), Approval(approval_id="c3:1", approved=True)
    )
    await rest.attempt()
    assert ["c1", "c4", "c3"] == box.called
    assert kinds(rest.chunks)[:2] == ["tool-output-available", "start-step"]
    assert {"c0", "c1", "c3", "c4"} == {
        id_ for id_, state in states(rest.message).items() if state == "output-available"
    }
    assert "output-denied" == states(rest.message)["c2"]


async def test_an_approved_call_that_an_attempt_died_in_is_asked_for_anew_under_another_id() -> None:
    box = Toolbox()
    first = Driven(agent_of(says([call("act", 0)], ["done"]), box.tool("act")), "go", config=READONLY)
    await first.attempt()
    run = first.gone_on_with(*verdicts(first.message))
    await run.killed_at(1, loses=1)
    assert ["c0"] == box.called

    outcome = await run.attempt()

    assert ["c0"] == box.called
    assert "requires_action" == outcome.status
    assert run.chunks == [
        {"type": "data-interrupted-call", "id": "c0", "data": {"toolCallId": "c0", "text": INTERRUPTED}},
        {"type": "tool-approval-request", "toolCallId": "c0", "approvalId": "c0:2"},
        {"type": "finish", "finishReason": "tool-calls"},
    ]
    third = run.gone_on_with(*verdicts(run.message))
    await third.killed_at(1, loses=1)
    await third.attempt()
    assert ["c0:3"] == [found.id for found in pending_in(third.message)]
    assert "completed" == (await third.gone_on_with(*verdicts(third.message)).attempt()).status
    assert ["c0", "c0", "c0"] == box.called


async def test_an_approved_call_that_may_be_repeated_is_repeated() -> None:
    box = Toolbox()
    first = await whole(
        Driven(agent_of(says([call("put", 0)], ["done"]), box.tool("put", IDEMPOTENT)), "go", config=READONLY)
    )
    run = first.gone_on_with(*verdicts(first.message))
    await run.killed_at(1, loses=1)

    assert "completed" == (await run.attempt()).status
    assert ["c0", "c0"] == box.called


async def test_a_call_that_was_never_approved_is_asked_for_without_doubt_when_its_attempt_died() -> None:
    box = Toolbox()
    own = box.tool("own", read_only(), requires_approval=True)
    calls = [call("act", 0), call("own", 1), call("asks", 2)]
    agent = agent_of(says(calls, ["done"]), box.tool("act"), own, box.asking("asks"))
    undisturbed = await whole(Driven(agent, "go", config=READONLY))
    run = Driven(agent, "go", config=READONLY)
    await run.killed_at(at(undisturbed, "tool-input-available", 3))

    await run.attempt()

    assert [] == box.called
    assert [] == of(run.chunks, "data-interrupted-call")
    assert ["c0", "c1", "c2"] == sorted(asked["toolCallId"] for asked in of(run.chunks, "tool-approval-request"))
    assert states(undisturbed.message) == states(run.message)
    await run.gone_on_with(*verdicts(run.message)).attempt()
    assert ["c0", "c1", "c2"] == sorted(box.called)


async def test_what_was_asked_for_before_the_runner_died_is_not_asked_for_twice() -> None:
    box = Toolbox()
    agent = agent_of(says([call("act", 0)], ["done"]), box.tool("act"))
    undisturbed = await whole(Driven(agent, "go", config=READONLY))
    run = Driven(agent, "go", config=READONLY)
    await run.killed_at(at(undisturbed, "finish-step"))

    outcome = await run.attempt()

    assert "requires_action" == outcome.status
    assert [{"type": "finish", "finishReason": "tool-calls"}] == run.chunks
    assert [] == box.called


async def test_a_denied_call_is_told_to_the_model_with_the_reason() -> None:
    for reason, in_doubt, told in (
        ("Too early.", False, "Too early."),
        (None, False, DENIED),
        (None, True, NOT_REPEATED),
        ("I did it.", True, f"{NOT_REPEATED} I did it."),
    ):
        heard: list[ModelMessage] = []
        agent = agent_of(says([call("act", 0)], ["done"], heard=heard), Toolbox().tool("act"))
        first = Driven(agent, "go", config=RunConfig() if in_doubt else READONLY)
        if in_doubt:
            await first.killed_at(at(await whole(Driven(agent, "go")), "tool-input-available"))
        await first.attempt()
        run = first.gone_on_with(*verdicts(first.message, approved=False, reason=reason))
        await run.attempt()

        assert isinstance(heard[-1], ModelRequest)
        (part,) = heard[-1].parts
        assert isinstance(part, ToolReturnPart)
        assert (told, "denied") == (part.content, part.outcome)
        assert "done" == run.message.text
        assert kinds(run.chunks)[0] == "start-step"


async def test_a_denial_that_nobody_told_yet_is_told_by_the_agent() -> None:
    agent = agent_of(says([call("act", 0)], ["done"]), Toolbox().tool("act"))
    first = await whole(Driven(agent, "go", config=READONLY))
    told = with_verdicts(first.message, verdicts(first.message, approved=False))
    request = AgentRequest(ORG, THREAD, RunId("run+"), ANSWER, [asked("go")], READONLY, told)
    chunks = [chunk async for chunk in agent(request)]

    assert chunks[0] == {"type": "tool-output-denied", "toolCallId": "c0"}
    assert chunks[1] == {"type": "start-step"}


async def test_a_tool_that_ends_the_run_in_a_continuation_leaves_nothing_open() -> None:
    def explode() -> None:
        raise AgentError("quota", "none left")

    first = await whole(Driven(agent_of(says([call("explode", 0)]), Tool(explode)), "go", config=READONLY))
    run = first.gone_on_with(*verdicts(first.message))
    with pytest.raises(AgentError):
        await run.attempt()

    assert [{"type": "tool-output-error", "toolCallId": "c0", "errorText": UNFINISHED}] == run.chunks


async def test_a_run_that_a_tool_ended_is_not_gone_on_with_by_the_next_runner() -> None:
    def explode() -> None:
        raise AgentError("quota", "none left")

    agent = agent_of(says([call("explode", 0)], ["done"]), Tool(explode, metadata=read_only()))
    undisturbed = Driven(agent, "go")
    with pytest.raises(AgentError):
        await undisturbed.attempt()
    run = Driven(agent, "go")
    await run.killed_at(at(undisturbed, "finish-step"))
    outcome = await run.attempt()

    assert ("failed", "error") == (outcome.status, outcome.finish_reason)
    assert [{"type": "finish", "finishReason": "error"}] == run.chunks


async def test_a_call_with_broken_input_is_refused_as_it_was_made_when_it_is_gone_on_with() -> None:
    def double(number: int = 1) -> int:
        return number * 2

    for args in ("[1]", '{"number": ', '{"number": null}', '"x"'):
        agent = agent_of(says([call("double", 0, args)], ["sorry"]), Tool(double, metadata=read_only()))
        undisturbed = await whole(Driven(agent, "go"))
        run = Driven(agent, "go")
        await run.killed_at(at(undisturbed, "tool-input-available"))
        await run.attempt()

        assert {"c0": "output-error"} == states(run.message)
        assert "sorry" == run.message.text


async def test_usage_and_steps_add_up_over_runs_and_the_limit_is_one_of_the_whole_answer() -> None:
    box = Toolbox()
    forever = [[call("act", number)] for number in range(STEPS + 2)]
    run = Driven(agent_of(says(*forever), box.tool("act")), "go", config=READONLY)
    used = 0
    while (await run.attempt()).status == "requires_action":
        assert len(calls_of(run.message)) == sum(part["type"] == "step-start" for part in run.message.parts)
        assert used < usage_of(run.message).input_tokens
        used = usage_of(run.message).input_tokens
        run = run.gone_on_with(*verdicts(run.message))

    assert STEPS == len(calls_of(run.message)) == len(box.called)
    assert [{"type": "finish", "finishReason": "tool-calls"}] == run.chunks[-1:]


async def test_a_run_at_its_limit_of_steps_that_is_taken_over_is_still_there() -> None:
    box = Toolbox()
    agent = agent_of(says(*[[call("read", number)] for number in range(STEPS + 2)]), box.tool("read", read_only()))
    undisturbed = await whole(Driven(agent, "go"))
    for kill_at in range(len(undisturbed.chunks) - 6, len(undisturbed.chunks) + 1):
        run = Driven(agent, "go")
        await run.killed_at(kill_at)
        await run.attempt()
        assert undisturbed.stored() == run.stored()


async def test_ids_of_parts_go_on_counting_over_a_message() -> None:
    thought = {0: DeltaThinkingPart(content="hm")}
    model = says([thought, "One.", call("act", 2)], [thought, "Two."])
    first = await whole(Driven(agent_of(model, Toolbox().tool("act")), "go", config=READONLY))
    run = await whole(first.gone_on_with(*verdicts(first.message)))

    ids = [chunk["id"] for chunk in of(first.chunks + run.chunks, "text-start", "reasoning-start")]
    assert ["reasoning-0", "text-0", "reasoning-1", "text-1"] == ids


async def test_every_step_of_a_run_is_finished_once_whoever_does_it() -> None:
    agent = agent_of(says([call("read", 0)], [call("act", 1)], ["done"]), *(Toolbox().tool(n) for n in ("read", "act")))
    first = await whole(Driven(agent, "go", config=READONLY))
    runs = [first]
    while pending_in(runs[-1].message):
        run = runs[-1].gone_on_with(*verdicts(runs[-1].message))
        await run.killed_at(2, loses=1)
        await run.attempt()
        runs.append(run)

    chunks = [chunk for run in runs for chunk in run.stored()]
    assert 3 == kinds(chunks).count("start-step") == kinds(chunks).count("finish-step")
