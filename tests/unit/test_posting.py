"""Posting: what a body may say, and the command that comes of it."""

import pytest

from decopilot.contracts.ids import OrgId, ThreadId, UserId
from decopilot_gateway.auth import Caller
from decopilot_gateway.posting import MessagesBody
from decopilot_gateway.problems import ProblemError, problem_response

CALLER = Caller(OrgId("acme"), UserId("ann"), "member")
THREAD = ThreadId("t1")
QUESTION = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Why?"}]}


def test_a_minimal_body_gets_the_defaults_and_an_id() -> None:
    body = MessagesBody.model_validate({"messages": [{"role": "user", "parts": [{"type": "text"}]}]})
    command = body.to_command(CALLER, THREAD)
    assert ("acme", "t1", "ann", "member") == (command.org, command.thread, command.user, command.role)
    assert command.message.id.startswith("msg_")
    config = command.config
    wanted = ("default", "smart", "default", "auto", 0.5, 50, ())
    found = (config.agent_id, config.tier, config.mode, config.tool_approval_level, config.temperature)
    assert wanted == (*found, config.window_size, config.instructions)


def test_a_full_body_becomes_the_configuration_of_the_run() -> None:
    body = MessagesBody.model_validate(
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
            "unknown": "ignored",
        }
    )
    command = body.to_command(CALLER, THREAD)
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


def test_a_code_that_only_a_newer_command_knows_is_told_all_the_same() -> None:
    response = problem_response("from_the_future", "Who knows?")
    assert 500 == response.status
    assert b'"code": "from_the_future"' in (response.body or b"")  # type: ignore[operator]
