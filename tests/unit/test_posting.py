"""Posting: what a body may say, and the command that comes of it."""

from typing import Any

import pytest

from decopilot.contracts.commands import ResolveInteractions, SendMessage
from decopilot.contracts.ids import OrgId, ThreadId, UserId
from decopilot_gateway.auth import Caller
from decopilot_gateway.posting import MessagesBody
from decopilot_gateway.problems import ProblemError, problem_response

CALLER = Caller(OrgId("acme"), UserId("ann"), "member", 4e9)
THREAD = ThreadId("t1")
QUESTION = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Why?"}]}


def sent(body: dict[str, Any]) -> SendMessage:
    command = MessagesBody.model_validate(body).to_command(CALLER, THREAD)
    assert isinstance(command, SendMessage)
    return command


def resolved(*parts: object) -> ResolveInteractions:
    answer = {"id": "a1", "role": "assistant", "parts": [*parts]}
    command = MessagesBody.model_validate({"messages": [answer]}).to_command(CALLER, THREAD)
    assert isinstance(command, ResolveInteractions)
    return command


def test_a_minimal_body_gets_an_id_and_leaves_to_the_agent_what_it_does_not_say() -> None:
    command = sent({"messages": [{"role": "user", "parts": [{"type": "text"}]}]})
    assert ("acme", "t1", "ann", "member") == (command.org, command.thread, command.user, command.role)
    assert command.message.id.startswith("msg_")
    config = command.config
    assert "queue" == command.on_conflict
    wanted = ("default", None, "default", None, None, 50, ())
    found = (config.agent_id, config.tier, config.mode, config.tool_approval_level, config.temperature)
    assert wanted == (*found, config.window_size, config.instructions)


def test_a_full_body_becomes_the_configuration_of_the_run() -> None:
    command = sent(
        {
            "messages": [
                {"role": "system", "parts": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]},
                QUESTION | {"metadata": {"a": [1, None]}},
                {"role": "system", "parts": [{"type": "file"}]},
            ],
            "agent": {"id": "poet", "more": 1},
            "tier": "fast",
            "mode": "plan",
            "toolApprovalLevel": "readonly",
            "temperature": 2,
            "memory": {"windowSize": 7, "thread_id": "t1"},
            "thread_id": "t1",
            "onConflict": "interrupt",
            "unknown": "ignored",
        }
    )
    assert "interrupt" == command.on_conflict
    assert QUESTION | {"metadata": {"a": [1, None]}} == command.message.model_dump()
    config = command.config
    assert ("poet", "fast", "plan", "readonly") == (
        config.agent_id,
        config.tier,
        config.mode,
        config.tool_approval_level,
    )
    assert (2.0, 7, ("Be\nbrief.", "")) == (config.temperature, config.window_size, config.instructions)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"messages": [QUESTION, QUESTION]}, "invalid_body"),
        ({"messages": [QUESTION | {"role": "system"}]}, "invalid_body"),
        ({"messages": [QUESTION | {"role": "assistant"}]}, "invalid_body"),
        ({"messages": [QUESTION | {"role": "assistant"}, QUESTION]}, "invalid_body"),
        ({"thread_id": "t2"}, "thread_mismatch"),
        ({"thread_id": ""}, "thread_mismatch"),
        ({"memory": {"thread_id": "t2"}}, "thread_mismatch"),
        ({"thread_id": "t1", "memory": {"thread_id": "t2"}}, "thread_mismatch"),
    ],
)
def test_not_one_question_or_another_thread_is_refused(more: dict[str, object], code: str) -> None:
    body = MessagesBody.model_validate({"messages": [QUESTION]} | more)
    with pytest.raises(ProblemError) as refused:
        body.to_command(CALLER, THREAD)
    assert code == refused.value.code


def call(state: str, number: int = 1, **more: object) -> dict[str, object]:
    return {"type": "tool-ask", "toolCallId": f"call_{number}", "state": state, **more}


@pytest.mark.parametrize("texts", [[""], ["  \n\t"], [" ", "\u3000"]])
def test_a_message_of_nothing_but_white_space_is_refused(texts: list[str]) -> None:
    message = {"role": "user", "parts": [{"type": "text", "text": text} for text in texts]}
    with pytest.raises(ProblemError, match="The message is empty"):
        sent({"messages": [message]})
    file = {"type": "file", "url": "https://example.org/a.png", "mediaType": "image/png"}
    assert sent({"messages": [message | {"parts": [*message["parts"], file]}]}).message.parts[-1] == file


def test_of_an_answer_that_is_sent_back_the_facts_are_taken_and_of_each_the_last() -> None:
    command = resolved(
        call("output-available", 1, output="of an earlier step"),
        call("output-available", 2),
        call("approval-responded", 3, approval={"id": "p1", "approved": False, "reason": "No."}),
        call("output-error", 4, errorText="x" * 3_000),
        call("output-available", 1, output={"a": [1, None]}) | {"type": "dynamic-tool"},
    )
    assert ("a1", True) == (command.message_id, command.is_whole_message)
    told = [resolution.model_dump(exclude={"kind"}) for resolution in command.resolutions]
    assert [
        {"tool_call_id": "call_2", "output": None, "error_text": None},
        {"approval_id": "p1", "approved": False, "reason": "No."},
        {"tool_call_id": "call_4", "output": None, "error_text": "x" * 2_000},
        {"tool_call_id": "call_1", "output": {"a": [1, None]}, "error_text": None},
    ] == told


@pytest.mark.parametrize(
    "part",
    [
        call("output-available", output=1, preliminary=True),
        call("output-available", output=1, providerExecuted=True),
        call("output-available", output=1) | {"type": "data-tool"},
        call("output-available", output=1) | {"type": 1},
        call("output-denied", approval={"id": "p1", "approved": False}),
        call("approval-requested", approval={"id": "p1", "approved": True}),
        call("input-available", output=1),
        call("") | {"state": ["output-available"]},
    ],
)
def test_what_is_no_fact_is_ignored(part: dict[str, object]) -> None:
    fact = call("output-available", 7, output=1)
    assert resolved(fact).resolutions == resolved(part, fact, part).resolutions


def test_a_number_that_is_none_is_refused_in_what_a_tool_is_said_to_have_returned() -> None:
    with pytest.raises(ProblemError) as refused:
        resolved(call("output-available", output=[float("inf")]))
    assert "invalid_body" == refused.value.code


def test_a_code_that_only_a_newer_command_knows_is_told_all_the_same() -> None:
    response = problem_response("from_the_future", "Who knows?")
    assert 500 == response.status
    assert b'"code": "from_the_future"' in (response.body or b"")  # type: ignore[operator]
