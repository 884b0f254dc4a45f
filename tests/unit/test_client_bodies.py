"""What a client sends is what the gateway takes."""

import pytest

from decopilot.client import Answer, Approval, ArgumentError, UIMessage
from decopilot.client.bodies import messages_body, resolutions_body, user_message
from decopilot.contracts.ids import MessageId
from decopilot_gateway.posting import MessagesBody


def test_every_option_arrives_under_its_own_name() -> None:
    body = messages_body(
        user_message("hi", "m1"),
        {
            "on_conflict": "reject",
            "agent": "support",
            "tier": "fast",
            "mode": "plan",
            "tool_approval_level": "readonly",
            "temperature": 0.0,
            "window_size": 3,
            "instructions": ("Be short.",),
        },
    )
    taken = MessagesBody.model_validate(body)
    assert "reject" == body["onConflict"]
    assert ("support", "fast", "plan", "readonly") == (
        taken.agent.id,
        taken.tier,
        taken.mode,
        taken.tool_approval_level,
    )
    assert (0.0, 3) == (taken.temperature, taken.memory.window_size)
    assert ["system", "user"] == [message.role for message in taken.messages]


def test_what_is_left_out_is_not_said() -> None:
    assert {"messages"} == messages_body(user_message("hi", "m1"), {}).keys()


def test_a_message_of_a_text_gets_a_new_id_and_a_whole_one_keeps_its_own() -> None:
    assert user_message("hi", None).id != user_message("hi", None).id
    whole = UIMessage(id=MessageId("m1"), role="user", parts=[{"type": "file", "url": "data:,x"}])
    assert whole == user_message(whole, None)


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_a_text_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="empty"):
        user_message(text, None)


def test_resolutions_are_small_facts() -> None:
    wanted = [
        {"approvalId": "p1", "approved": True},
        {"approvalId": "p2", "approved": False, "reason": "no"},
        {"toolCallId": "c1", "output": None},
        {"toolCallId": "c2", "errorText": "gone"},
    ]
    resolutions = (
        Approval(approval_id="p1", approved=True),
        Approval(approval_id="p2", approved=False, reason="no"),
        Answer(tool_call_id="c1", output=None),
        Answer(tool_call_id="c2", error_text="gone"),
    )
    assert {"resolutions": wanted} == resolutions_body(resolutions)
