"""What a message waits for, the facts that resolve it, and the message as it stands then."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from decopilot.contracts.chunks import Chunk
from decopilot.contracts.ids import MessageId
from decopilot.contracts.interactions import Answer, Approval, Interaction, Resolution
from decopilot.contracts.messages import Part, UIMessage
from decopilot.domain.fold import Fold
from decopilot.domain.interactions import (
    NOT_ANSWERED,
    NOT_APPROVED,
    pending_in,
    resolution_chunks,
    tool_name,
    with_verdicts,
    without_unanswered,
)
from support.deciding import answer, approve

RESOLUTION: TypeAdapter[Resolution] = TypeAdapter(Resolution)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
RESOLUTIONS = st.builds(
    Approval, approval_id=st.text("abc", min_size=1), approved=st.booleans(), reason=st.none() | st.text(max_size=9)
) | st.builds(Answer, tool_call_id=st.text("abc", min_size=1), output=JSON, error_text=st.none() | st.text(max_size=9))

TEXT: Part = {"type": "text", "text": "Shall I?"}
ASKS: Part = {
    "type": "tool-delete",
    "toolCallId": "c1",
    "state": "approval-requested",
    "input": {},
    "approval": {"id": "a1", "requestReason": "It is a lot."},
}
OPEN: Part = {"type": "dynamic-tool", "toolName": "ask", "toolCallId": "c2", "state": "input-available", "input": {}}
DONE: Part = {"type": "tool-search", "toolCallId": "c0", "state": "output-available", "input": {}, "output": 1}
A1 = Interaction(kind="approval", id="a1", tool_call_id="c1", tool_name="delete")
C2 = Interaction(kind="answer", id="c2", tool_call_id="c2", tool_name="ask")


def message(*parts: Part) -> UIMessage:
    return UIMessage(id=MessageId("answer-r1"), role="assistant", parts=list(parts))


def after(said: UIMessage, chunks: list[Chunk]) -> list[Part]:
    growing = Fold(said.id)
    growing.restore(said)
    for chunk in chunks:
        growing.add(chunk)
    return growing.message().parts


@given(resolution=RESOLUTIONS, bare=st.booleans())
def test_a_resolution_reads_back_with_its_defaults_or_without(resolution: Resolution, *, bare: bool) -> None:
    assert resolution == RESOLUTION.validate_json(RESOLUTION.dump_json(resolution, exclude_defaults=bare))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "approval"},
        {"kind": "approval", "approval_id": "a1"},
        {"kind": "approval", "tool_call_id": "c1"},
        {"kind": "answer", "approval_id": "a1", "approved": True},
        {"approval_id": "", "approved": True},
        {"approval_id": "a" * 257, "approved": True},
        {"tool_call_id": "c1", "error_text": "x" * 2001},
        {"approval_id": "a1", "approved": True, "reason": "x" * 2001},
        [],
        None,
    ],
)
def test_what_is_no_resolution_is_refused(body: object) -> None:
    with pytest.raises(ValidationError):
        RESOLUTION.validate_python(body)


def test_a_resolution_has_the_key_of_what_it_resolves() -> None:
    assert (A1.key, C2.key) == (approve().key, answer().key)
    assert ("a1", "c2") == (approve().id, answer().id)
    assert ["approved", "denied", "answered"] == [
        resolution.verdict for resolution in (approve(), approve(approved=False), answer())
    ]


def test_an_approval_and_an_answer_of_one_id_are_two_things() -> None:
    assert approve("x").key != answer("x").key


@given(RESOLUTIONS, RESOLUTIONS)
def test_a_digest_is_the_same_for_the_same_content_only(one: Resolution, other: Resolution) -> None:
    assert one.digest == RESOLUTION.validate_json(one.model_dump_json()).digest
    assert one == other or one.digest != other.digest


def test_a_digest_knows_no_order_of_keys() -> None:
    assert answer(output={"a": 1, "b": [2]}).digest == answer(output={"b": [2], "a": 1}).digest
    assert answer(output={"a": [1, 2]}).digest != answer(output={"a": [2, 1]}).digest


@pytest.mark.parametrize(
    ("part", "name"), [(ASKS, "delete"), (OPEN, "ask"), (TEXT, None), ({"type": "tool-like", "text": "x"}, None)]
)
def test_a_call_is_named_by_its_tool(part: Part, name: str | None) -> None:
    assert name == tool_name(part)


def test_a_message_waits_for_approvals_and_for_outputs_that_it_has_not() -> None:
    assert (A1, C2) == pending_in(message(TEXT, DONE, ASKS, {"type": "step-start"}, OPEN))


@pytest.mark.parametrize("state", ["input-streaming", "approval-responded", "output-error", "output-denied"])
def test_a_call_in_another_state_waits_for_nobody(state: str) -> None:
    assert () == pending_in(message(ASKS | {"state": state}, OPEN | {"state": state}))


def test_what_its_provider_executes_waits_for_nobody() -> None:
    assert () == pending_in(message(OPEN | {"providerExecuted": True}, ASKS | {"providerExecuted": True}))


@pytest.mark.parametrize(
    ("resolution", "told"),
    [
        (approve(), {"approved": True}),
        (approve(reason="Go."), {"approved": True, "reason": "Go."}),
        (approve(approved=False, reason="No."), {"approved": False, "reason": "No."}),
    ],
)
def test_a_continuation_begins_with_its_approvals_answered(resolution: Resolution, told: dict[str, Any]) -> None:
    before = message(TEXT, ASKS, OPEN)
    asked = ASKS["approval"]
    expected = message(TEXT, ASKS | {"state": "approval-responded", "approval": asked | told}, OPEN)
    assert expected == with_verdicts(before, [resolution, answer()])
    assert message(TEXT, ASKS, OPEN) == before


def test_what_nobody_decided_is_asked_still() -> None:
    assert message(ASKS, OPEN) == with_verdicts(message(ASKS, OPEN), [approve("a7"), answer()])


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize(
    ("resolution", "kind", "told"),
    [
        (answer(output=None), "output-available", {"output": None}),
        (answer(output={"a": 1}), "output-available", {"output": {"a": 1}}),
        (Answer(tool_call_id="c2", error_text="It broke."), "output-error", {"errorText": "It broke."}),
    ],
)
def test_an_answer_becomes_its_calls_output(
    resolution: Resolution, kind: str, told: dict[str, Any], *, dynamic: bool
) -> None:
    part = OPEN if dynamic else {name: OPEN[name] for name in ("toolCallId", "state", "input")} | {"type": "tool-ask"}
    flags = {"dynamic": True} if dynamic else {}
    chunks = resolution_chunks(message(part), [resolution])
    assert [{"type": f"tool-{kind}", "toolCallId": "c2"} | told | flags] == chunks
    assert [part | {"state": kind} | told] == after(message(part), chunks)


def test_what_was_denied_is_told_and_what_was_approved_is_yet_to_be_done() -> None:
    verdicts: list[Resolution] = [approve(), approve("a3", approved=False), answer("c4")]
    no = ASKS | {"toolCallId": "c3", "approval": {"id": "a3"}}
    begun = with_verdicts(message(ASKS, no, OPEN, DONE), verdicts)
    chunks = resolution_chunks(begun, verdicts)
    assert [{"type": "tool-output-denied", "toolCallId": "c3"}] == chunks
    assert ["approval-responded", "output-denied", "input-available", "output-available"] == [
        part["state"] for part in after(begun, chunks)
    ]


def test_what_was_told_is_not_told_again() -> None:
    verdicts: list[Resolution] = [approve(approved=False), answer()]
    begun = with_verdicts(message(ASKS, OPEN), verdicts)
    told = message(*after(begun, resolution_chunks(begun, verdicts)))
    assert [] == resolution_chunks(told, verdicts)


def test_history_shows_what_nobody_will_answer_as_denied() -> None:
    shown = without_unanswered(message(TEXT, DONE, ASKS, OPEN), ())
    denied = ASKS["approval"] | {"approved": False, "reason": NOT_APPROVED}
    assert (
        message(
            TEXT,
            DONE,
            ASKS | {"state": "output-denied", "approval": denied},
            OPEN | {"state": "output-error", "errorText": NOT_ANSWERED},
        )
        == shown
    )
    assert () == pending_in(shown)


@pytest.mark.parametrize(
    ("waits", "left"), [([A1], ["c1"]), ([C2], ["c2"]), ([approve(), answer()], ["c1", "c2"]), ([approve("c2")], [])]
)
def test_history_shows_what_is_waited_for_as_it_is(waits: list[Interaction | Resolution], left: list[str]) -> None:
    shown = without_unanswered(message(ASKS, OPEN), waits)
    assert left == [asked.tool_call_id for asked in pending_in(shown)]


def test_a_message_that_waits_for_nothing_is_shown_as_it_is() -> None:
    whole = message(TEXT, DONE, OPEN | {"providerExecuted": True})
    assert whole is without_unanswered(whole, ())
