"""What the terminal chat shows of messages, and what it reads from answers."""

import json
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.cli.chat.commands import HELP, Line, help_text, parse
from decopilot.cli.chat.showing import Card, Shown, card, pieces
from decopilot.client import Answer, Approval, Interaction, RunEnd, UIMessage
from decopilot.contracts.ids import MessageId
from decopilot.contracts.interactions import Resolution

OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
HOSTILE = st.text(st.sampled_from("ab\x1b[]\x07\x9b\x00\r\u202e\u2066\n"))


def message(*parts: dict[str, object]) -> UIMessage:
    return UIMessage(id=MessageId("a1"), role="assistant", parts=list(parts))


def call(name: str = "rm", **more: object) -> dict[str, object]:
    return {"type": f"tool-{name}", "toolCallId": "c1", "state": "input-available", "input": {"x": 1}} | more


def approval_card() -> Card:
    asked = Interaction(kind="approval", id="p1", tool_call_id="c1", tool_name="rm")
    return card(asked, message(call(state="approval-requested", approval={"id": "p1"})))


def answer_card(name: str, **given_: object) -> Card:
    asked = Interaction(kind="answer", id="c1", tool_call_id="c1", tool_name=name)
    return card(asked, message(call(name, input=given_)))


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        ({"type": "text", "text": "**hi**"}, Shown("markdown", "**hi**")),
        ({"type": "reasoning", "text": " hm "}, Shown("thought", "hm")),
        (call(), Shown("tool", '… rm({"x": 1})')),
        (call(state="output-available", output=[1]), Shown("tool", '✓ rm({"x": 1})\n  → [1]')),
        (call(state="output-error", errorText="no"), Shown("tool", '✗ rm({"x": 1})\n  failed: no')),
        (
            call(state="output-denied", approval={"approved": False, "reason": "not mine"}),
            Shown("tool", '✗ rm({"x": 1})\n  denied: not mine'),
        ),
        ({"type": "file", "filename": "a.png", "mediaType": "image/png"}, Shown("note", "file: a.png")),
        ({"type": "source-url", "url": "https://a", "title": "A"}, Shown("note", "source: A https://a")),
        ({"type": "data-mcp-unavailable", "data": {"text": "gone"}}, Shown("note", "gone")),
    ],
)
def test_each_part_is_shown_in_its_way(part: dict[str, object], wanted: Shown) -> None:
    assert [wanted] == list(pieces(message(part)))


@pytest.mark.parametrize("part", [{"type": "step-start"}, {"type": "data-x", "data": 1}, {"type": "text", "text": ""}])
def test_what_there_is_nothing_to_see_of_is_left_out(part: dict[str, object]) -> None:
    assert [] == list(pieces(message(part)))


def test_an_answer_that_went_wrong_says_so_at_its_end() -> None:
    end = RunEnd(MessageId("a1"), "failed", None, "timed_out", "It took too long.")
    assert [Shown("error", "Timed_out: It took too long.")] == list(pieces(message(), end))
    cut = RunEnd(MessageId("a1"), "completed", "length")
    assert ["error"] == [shown.kind for shown in pieces(message(), cut)]


@given(HOSTILE)
def test_nothing_that_is_said_holds_what_a_terminal_obeys(text: str) -> None:
    parts: list[dict[str, object]] = [
        {"type": "text", "text": text},
        {"type": "reasoning", "text": text},
        call(text or "x", input={text: text}, state="output-available", output=text),
        call(state="output-error", errorText=text),
        call(state="output-denied", approval={"reason": text}),
        {"type": "file", "filename": text, "mediaType": text},
        {"type": "source-url", "url": text, "title": text},
        {"type": "data-mcp-unavailable", "data": {"text": text}},
    ]
    shown = list(pieces(message(*parts), RunEnd(MessageId("a1"), "failed", None, "error", text)))
    cards = [
        answer_card(text or "x", prompt=text),
        answer_card("user_ask", prompt=text, options=[text], default=text),
        answer_card("propose_plan", plan=text),
    ]
    texts = [one.text for one in shown] + [text for one in cards for text in (one.title, one.body, one.hint)]
    assert [] == [found for one in texts for found in OBEYED.findall(one)]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("y", Approval(approval_id="p1", approved=True)),
        ("YES", Approval(approval_id="p1", approved=True)),
        ("n", Approval(approval_id="p1", approved=False)),
        ("no, not mine", Approval(approval_id="p1", approved=False, reason="not mine")),
        ("", None),
        ("maybe", None),
    ],
)
def test_an_approval_is_given_in_so_many_words(said: str, wanted: Resolution | None) -> None:
    assert wanted == approval_card().resolution(said)


@pytest.mark.parametrize(
    ("said", "wanted"), [("2", "blue"), ("green", "green"), ("3", "3"), ("", "red"), ("²", "²"), (" 1 ", "red")]
)
def test_a_question_is_answered_by_number_by_words_or_as_it_suggests(said: str, wanted: str) -> None:
    asked = answer_card("user_ask", prompt="Which?", type="choice", options=["red", "blue"], default="red")
    assert "Which?\n  1. red\n  2. blue" == asked.body
    assert Answer(tool_call_id="c1", output={"response": wanted}) == asked.resolution(said)


def test_a_question_without_a_suggestion_is_not_answered_by_nothing() -> None:
    assert answer_card("user_ask", prompt="Which?").resolution(" ") is None


def test_a_plan_is_approved_or_sent_back_with_what_to_change() -> None:
    plan = answer_card("propose_plan", plan="1. Tidy up")
    assert "1. Tidy up" == plan.body
    assert Answer(tool_call_id="c1", output={"approved": True}) == plan.resolution("y")
    wanted = Answer(tool_call_id="c1", output={"approved": False, "reason": "less"})
    assert wanted == plan.resolution("n less")


def test_another_tool_that_waits_takes_json_or_a_text() -> None:
    assert Answer(tool_call_id="c1", output={"a": 1}) == answer_card("other").resolution('{"a": 1}')
    assert Answer(tool_call_id="c1", output="hello") == answer_card("other").resolution("hello")


def test_arguments_are_shown_whole_or_it_is_said_how_much_is_missing() -> None:
    shown = answer_card("other", text="x" * 10_000).body
    assert shown.startswith('{\n  "text": "xxx')
    assert re.search(r"… and \d+ more characters$", shown)


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("hello", Line("", "hello")),
        (" /count 5 ", Line("", "/count 5")),
        ("/open t1", Line("open", "t1")),
        ("/threads", Line("threads", "")),
        ("//threads", Line("", "/threads")),
        ("/interrupt go  on", Line("interrupt", "go  on")),
        ("/newer", Line("", "/newer")),
        ("", Line("", "")),
    ],
)
def test_a_line_is_a_command_only_where_it_begins_with_one_of_ours(typed: str, wanted: Line) -> None:
    assert wanted == parse(typed)


def test_the_help_tells_every_command() -> None:
    assert all(form in help_text() for form in HELP)


def test_the_command_line_is_there_without_waiting_for_the_chat() -> None:
    program = "import sys, json, decopilot.cli; print(json.dumps([n for n in sys.modules if n.startswith('textual')]))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [] == json.loads(ran.stdout)
