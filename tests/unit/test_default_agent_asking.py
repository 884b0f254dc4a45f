import json
from pathlib import Path

import pytest
from pydantic_ai import Tool

from decopilot.contracts.interactions import Answer
from decopilot.contracts.messages import RunConfig
from decopilot.domain.interactions import pending_in
from decopilot_runner.default_agent.asking import destructive, next_approval_id, read_only
from decopilot_runner.default_agent.demo_tools import NOTES
from decopilot_runner.default_agent.tools import USER_ASK
from support.demo import demo_agent
from support.driven import READONLY, Driven, Toolbox, agent_of, call, calls_of, kinds, noted, of, says, verdicts


async def test_at_the_level_readonly_a_tool_that_does_not_only_read_waits_for_approval(tmp_path: Path) -> None:
    agent = demo_agent(delay_ms=0, demo_dir=tmp_path)
    first = Driven(agent, "/note milk", config=READONLY)
    outcome = await first.attempt()

    (asked,) = pending_in(first.message)
    assert ("requires_action", "tool-calls") == (outcome.status, outcome.finish_reason)
    assert ("approval", "note") == (asked.kind, asked.tool_name)
    assert kinds(first.chunks)[-5:] == [
        "tool-input-available",
        "tool-approval-request",
        "message-metadata",
        "finish-step",
        "finish",
    ]
    # Older clients refuse every field that they don't know.
    assert of(first.chunks, "tool-approval-request") == [
        {"type": "tool-approval-request", "toolCallId": asked.tool_call_id, "approvalId": asked.id}
    ]
    assert [] == noted(tmp_path)

    run = first.gone_on_with(*verdicts(first.message))
    outcome = await run.attempt()
    assert ("completed", "stop") == (outcome.status, outcome.finish_reason)
    assert ["milk"] == noted(tmp_path)
    assert "I have noted milk." == run.message.text
    assert kinds(run.chunks)[:2] == ["tool-output-available", "start-step"]


async def test_what_is_denied_is_not_done(tmp_path: Path) -> None:
    first = Driven(demo_agent(delay_ms=0, demo_dir=tmp_path), "/delete list", config=READONLY)
    await first.attempt()
    run = first.gone_on_with(*verdicts(first.message, approved=False))
    await run.attempt()

    assert not (tmp_path / NOTES).exists()
    assert "Nothing was deleted." == run.message.text
    assert ["output-denied"] == [part["state"] for part in calls_of(run.message)]


@pytest.mark.parametrize(
    ("text", "level"), [("/weather Oslo", "readonly"), ("/steps 2", "readonly"), ("/note x", "auto")]
)
async def test_what_only_reads_or_is_left_to_the_agent_is_done_at_once(tmp_path: Path, text: str, level: str) -> None:
    config = RunConfig.model_validate({"tool_approval_level": level})
    run = Driven(demo_agent(delay_ms=0, demo_dir=tmp_path), text, config=config)

    assert "completed" == (await run.attempt()).status


async def test_the_other_calls_of_a_batch_are_done_before_the_run_waits() -> None:
    box = Toolbox()
    batch = [call("act", 0), call("read", 1), call("drop", 2)]
    tools = [box.tool("act"), box.tool("read", read_only()), box.tool("drop", destructive())]
    first = Driven(agent_of(says(batch, ["done"]), *tools), "go", config=READONLY)
    await first.attempt()

    assert ["c1"] == box.called
    asked = of(first.chunks, "tool-output-available", "tool-approval-request")
    assert ["c1", "c0", "c2"] == [chunk["toolCallId"] for chunk in asked]

    approve, deny = verdicts(first.message)[0], verdicts(first.message, approved=False)[1]
    run = first.gone_on_with(approve, deny)
    await run.attempt()
    assert ["c1", "c0"] == box.called
    assert "done" == run.message.text


async def test_a_call_with_input_that_its_tool_refuses_needs_no_approval() -> None:
    def act(number: int) -> int:
        raise AssertionError(number)

    run = Driven(agent_of(says([call("act", 0, '{"number": "x"}')], ["sorry"]), Tool(act)), "go", config=READONLY)

    assert "completed" == (await run.attempt()).status
    assert ["output-error"] == [part["state"] for part in calls_of(run.message)]


@pytest.mark.parametrize("answer", [{"response": "Oslo"}, "Oslo"])
async def test_a_question_ends_the_run_and_the_answer_goes_on_with_it(answer: object) -> None:
    first = Driven(demo_agent(delay_ms=0), "/ask Which city?", config=READONLY)
    outcome = await first.attempt()

    (asked,) = pending_in(first.message)
    assert ("requires_action", "tool-calls") == (outcome.status, outcome.finish_reason)
    assert ("answer", "user_ask") == (asked.kind, asked.tool_name)
    assert [{"prompt": "Which city?", "type": "text"}] == [part["input"] for part in calls_of(first.message)]
    assert "tool-input-available" == kinds(first.chunks)[-4]

    run = first.gone_on_with(Answer(tool_call_id=asked.tool_call_id, output=answer))
    assert "completed" == (await run.attempt()).status
    assert "You answered: Oslo" == run.message.text
    assert "start-step" == kinds(run.chunks)[0]


async def test_a_question_that_got_an_error_for_an_answer_is_reported_as_that() -> None:
    first = Driven(demo_agent(delay_ms=0), "/ask Which city?")
    await first.attempt()
    run = first.gone_on_with(Answer(tool_call_id=pending_in(first.message)[0].tool_call_id, error_text="No idea."))
    await run.attempt()

    assert "You did not answer." == run.message.text


async def test_a_question_and_an_approval_are_waited_for_together() -> None:
    box = Toolbox()
    batch = [call("user_ask", 0, json.dumps({"prompt": "Which?"})), call("act", 1), call("read", 2)]
    tools = [USER_ASK, box.tool("act"), box.tool("read", read_only())]
    first = Driven(agent_of(says(batch, ["done"]), *tools), "go", config=READONLY)
    await first.attempt()

    assert {("answer", "c0"), ("approval", "c1")} == {(one.kind, one.tool_call_id) for one in pending_in(first.message)}
    run = first.gone_on_with(Answer(tool_call_id="c0", output="this"), *verdicts(first.message))
    assert "completed" == (await run.attempt()).status
    assert ["c2", "c1"] == box.called


def test_a_request_has_an_id_of_its_own_each_time_its_call_is_asked_for() -> None:
    assert "c:1" == next_approval_id("c", None)
    assert "c:2" == next_approval_id("c", "c:1")
    assert "c:10" == next_approval_id("c", "c:9")
    assert "c:2" == next_approval_id("c", "anything")
    assert "a:1:1" == next_approval_id("a:1", None)
    assert "a:1:2" == next_approval_id("a:1", "a:1:1")
    assert "a:1:2" == next_approval_id("a:1", "a:1")
