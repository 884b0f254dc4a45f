"""What `decopilot answer` makes of its options, for what a thread waits for."""

import pytest

from decopilot.cli.asking import Reply, resolutions_of
from decopilot.cli.errors import CliError
from decopilot.client import Answer, Approval, Interaction, Thread
from decopilot.contracts.commands import ThreadStatus

PAY = Interaction(kind="approval", id="a1", tool_call_id="c1", tool_name="pay")
SHIP = Interaction(kind="approval", id="a2", tool_call_id="c2", tool_name="ship")
LOOK = Interaction(kind="answer", id="c3", tool_call_id="c3", tool_name="look")
ASK = Interaction(kind="answer", id="c4", tool_call_id="c4", tool_name="user_ask")


PLAN = Interaction(kind="answer", id="c5", tool_call_id="c5", tool_name="propose_plan")


def waiting(*pending: Interaction, status: ThreadStatus = "requires_action") -> Thread:
    times = {"created_at": "", "updated_at": ""}
    return Thread(id="t1", title="", status=status, agent_id="default", created_by="me", pending=pending, **times)


def test_all_that_ask_for_approval_get_the_same_one() -> None:
    yes = [Approval(approval_id=id_, approved=True, reason=None) for id_ in ("a1", "a2")]
    assert yes == resolutions_of(Reply(approved=True), waiting(PAY, SHIP, LOOK))


@pytest.mark.parametrize("call", ["a2", "c2"])
def test_one_of_them_is_chosen_by_its_call_or_its_approval(call: str) -> None:
    no = [Approval(approval_id="a2", approved=False, reason="too late")]
    assert no == resolutions_of(Reply(approved=False, reason="too late", call=call), waiting(PAY, SHIP))


def test_a_plan_is_approved_or_not_like_a_call_and_may_be_answered_in_full() -> None:
    yes = [Approval(approval_id="a1", approved=True), Answer(tool_call_id="c5", output={"approved": True})]
    assert yes == resolutions_of(Reply(approved=True), waiting(PAY, PLAN))
    no = [Answer(tool_call_id="c5", output={"approved": False, "reason": "too dear"})]
    assert no == resolutions_of(Reply(approved=False, reason="too dear"), waiting(PLAN))
    told = [Answer(tool_call_id="c5", output={"approved": True, "by": "me"})]
    assert told == resolutions_of(Reply(output='{"approved": true, "by": "me"}'), waiting(PLAN))
    both = [Answer(tool_call_id="c5", output={"approved": True}), Answer(tool_call_id="c3", output="fine")]
    assert both == resolutions_of(Reply(approved=True, output="fine"), waiting(LOOK, PLAN))


def test_approvals_and_an_output_are_given_at_once() -> None:
    both = [Approval(approval_id="a1", approved=True), Answer(tool_call_id="c3", output="fine")]
    assert both == resolutions_of(Reply(approved=True, output="fine"), waiting(PAY, LOOK))


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("fine", "fine"),
        ("", ""),
        ('"5"', "5"),
        ("5", 5),
        ('{"n": 1}', {"n": 1}),
        ("null", None),
        ("{broken", "{broken"),
        ("NaN", "NaN"),
    ],
)
def test_an_output_is_json_or_else_a_text(text: str, output: object) -> None:
    assert [Answer(tool_call_id="c3", output=output)] == resolutions_of(Reply(output=text), waiting(LOOK))


@pytest.mark.parametrize(
    ("text", "output"),
    [("Oslo", {"response": "Oslo"}), ("5", {"response": "5"}), ('{"response": "x"}', {"response": "x"})],
)
def test_a_question_to_the_user_gets_the_answer_in_the_form_that_it_has_in_the_page(text: str, output: object) -> None:
    assert [Answer(tool_call_id="c4", output=output)] == resolutions_of(Reply(output=text), waiting(ASK))


@pytest.mark.parametrize(
    ("reply", "thread", "said"),
    [
        (Reply(approved=True), waiting(status="completed"), "waits for nothing"),
        (Reply(approved=True), waiting(), "asks something. Answer with: decopilot run --thread t1"),
        (Reply(approved=True), waiting(LOOK), "give --output"),
        (Reply(output="x"), waiting(PAY), "give --approve or --deny"),
        (Reply(output="x"), waiting(LOOK, ASK), "choose one with --call, of c3, c4"),
        (Reply(output="x", call="c9"), waiting(LOOK, ASK), "waits for no call 'c9', but for c3, c4"),
    ],
)
def test_what_fits_nothing_is_refused_with_a_word_about_what_does(reply: Reply, thread: Thread, said: str) -> None:
    with pytest.raises(CliError, match=said):
        resolutions_of(reply, thread)


@pytest.mark.parametrize(
    ("reply", "said"), [(Reply(), "Say what to answer"), (Reply(output="x", reason="y"), "A --reason goes with")]
)
def test_a_reply_says_something(reply: Reply, said: str) -> None:
    with pytest.raises(CliError, match=said):
        reply.check()
