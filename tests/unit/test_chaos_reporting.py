"""What a chaos run found is told whole, to programs and to people, whatever it holds."""

import io
import json
import re

import pytest
from rich.console import Console

from decopilot.cli.chaos.outcome import Outcome
from decopilot.cli.chaos.reporting import page_of, show
from decopilot.cli.chaos.verdict import PROMISES
from support.chaos_outcome import made_up

ALL = len(PROMISES)
HOSTILE = 'chaos-1: <script>alert(1)</script> & "quoted" [red]\'s \x1b[2J\u202etxt'
VIOLATIONS = (("NO-GAP", "chaos-1/steady misses (4, 2)"), ("NO-GAP", HOSTILE), ("RESUME", "run_1 has steps [1, 1]"))


def shown(outcome: Outcome) -> str:
    out = io.StringIO()
    show(outcome, Console(file=out, width=100))
    return out.getvalue()


@pytest.mark.parametrize("outcome", [made_up(), made_up(*VIOLATIONS, unchecked=("DELETE",), is_interrupted=True)])
def test_an_outcome_is_the_same_after_it_was_written_and_read(outcome: Outcome) -> None:
    written = outcome.to_json()
    assert outcome == Outcome.model_validate_json(written)
    assert 1 == json.loads(written)["schema"]


def test_an_outcome_of_a_later_version_is_read_without_what_is_new_and_one_of_another_schema_is_not() -> None:
    told = json.loads(made_up().to_json())
    assert made_up() == Outcome.model_validate(told | {"moon_phase": "full"})
    with pytest.raises(ValueError, match="schema"):
        Outcome.model_validate(told | {"schema": 2})


@pytest.mark.parametrize(
    ("outcome", "verdict", "sentence"),
    [
        (made_up(), "kept", f"Kept: {ALL} promises, tried"),
        (made_up(*VIOLATIONS), "broken", f"Broken: 2 promises of {ALL}, 3 violations."),
        (made_up(*VIOLATIONS, is_interrupted=True), "broken", f"Broken: 2 promises of {ALL}, 3 violations."),
        (made_up(is_interrupted=True), "unproven", "Not proven: interrupted"),
        (made_up().model_copy(update={"faults": ()}), "unproven", "Not proven: no fault struck"),
        (made_up(unchecked=("DELETE",)), "unproven", f"Not proven: {ALL - 1} of {ALL} promises kept"),
    ],
)
def test_the_verdict_is_kept_only_where_all_was_tried_and_nothing_was_found(
    outcome: Outcome, verdict: str, sentence: str
) -> None:
    assert verdict == outcome.verdict
    assert shown(outcome).splitlines()[-1].startswith(sentence)
    assert f">{sentence}" in page_of(outcome)


def test_the_table_tells_promises_faults_recoveries_and_violations() -> None:
    text = shown(made_up(*VIOLATIONS))
    assert re.search(r"^ *NO-GAP +1,234 +2 +\d+\.\d+ s *$", text, re.MULTILINE)
    assert re.search(r"^ *ORDER +1,234 +0 +– *$", text, re.MULTILINE)  # noqa: RUF001  as it is shown
    assert re.search(r"^ *nats STOP +12 +\d\.\d\d s *$", text, re.MULTILINE)
    assert re.search(r"^ *RESUME, driver KILL +12( +\d+\.\d+ s){3} *$", text, re.MULTILINE)
    assert "NO-GAP: chaos-1/steady misses (4, 2)" in text
    assert "Again: decopilot chaos --seed 7 --seconds 80" in text


def test_a_terminal_is_driven_by_nothing_that_a_violation_holds() -> None:
    text = shown(made_up(*VIOLATIONS))
    assert "[red]'s [2Jtxt" in text
    assert text.replace("\n", "").isprintable()


def test_the_page_holds_every_violation_and_nothing_of_it_is_markup() -> None:
    page = page_of(made_up(*VIOLATIONS))
    assert page.count("<li><pre>") == len(VIOLATIONS)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in page
    assert "<script" not in page
    assert "\u202e" not in page


def test_the_page_asks_nobody_for_anything() -> None:
    page = page_of(made_up(*VIOLATIONS))
    assert [] == re.findall(r"(?:src|href)=\"(?!#)|https?://|url\(|@import", page)


def test_a_run_in_which_nothing_happened_is_reported_too() -> None:
    outcome = made_up(is_interrupted=True).model_copy(
        update={"faults": (), "recoveries": (), "silences": (), "progress": ()}
    )
    assert "there was none." in page_of(outcome)
    assert "Not proven" in shown(outcome)
