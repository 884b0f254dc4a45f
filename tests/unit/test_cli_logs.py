import io
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from decopilot.cli.logs import Entry, Journal, clean, clean_json, parse, readable, render

NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def line(**fields: object) -> str:
    return json.dumps({"timestamp": "2025-01-02T07:08:09.123456Z", "level": "info", "event": "run_started"} | fields)


def journal() -> tuple[Journal, io.StringIO]:
    screen = io.StringIO()
    return Journal(Console(file=screen, width=40)), screen


def test_a_json_line_becomes_time_source_event_and_fields() -> None:
    text = readable("runner#1", line(run_id="r1", steps=3))

    assert text.plain == "07:08:09 runner#1 run_started run_id=r1 steps=3"


def test_a_value_with_spaces_is_quoted_and_a_structure_stays_json() -> None:
    text = readable("runner#1", line(reason="no such model", usage={"tokens": [1, 2]}, gone=None))

    assert text.plain.endswith('reason="no such model" usage={"tokens":[1,2]} gone=null')


def test_a_service_that_names_itself_is_not_named_twice() -> None:
    assert readable("runner#1", line(service="runner")).plain == "07:08:09 runner#1 run_started"


def test_warnings_say_their_level_in_words_and_in_colour() -> None:
    text = readable("gateway#2", line(level="warning", event="slow_client"))

    assert text.plain == "07:08:09 gateway#2 slow_client level=warning"
    assert "yellow" in {str(span.style) for span in text.spans}


def test_a_traceback_is_shown_below_its_line() -> None:
    text = readable("command#1", line(level="error", exception="Traceback:\n  boom"))

    assert text.plain == "07:08:09 command#1 run_started level=error\nTraceback:\n  boom"


@pytest.mark.parametrize("text", ["Traceback (most recent call last):", "{not json", "[1]", '{"no": "event"}', ""])
def test_a_line_that_is_no_log_entry_stays_as_it_is(text: str) -> None:
    assert readable("runner#1", text).plain == text


@pytest.mark.parametrize("stamp", ["yesterday", None, 1e300, [1]])
def test_an_entry_without_a_readable_time_gets_the_time_it_was_read(stamp: object) -> None:
    entry = parse(line(timestamp=stamp), NOW)

    assert entry is not None
    assert entry.at == NOW


def test_control_characters_from_a_model_never_reach_the_terminal() -> None:
    text = render("runner#1", Entry(NOW, "info", "said\x1b[2J", {"text": "\x1b]0;owned\x07"}))

    assert "\x1b" not in text.plain
    assert "\x07" not in text.plain
    assert "\x1b" not in readable("runner#1", "\x1b[31mred").plain


def test_the_broker_is_heard_from_warnings_on_only() -> None:
    quiet, screen = journal()

    quiet.line("nats#1", "[12] 2025/01/02 07:08:09.123456 [INF] Server is ready")
    quiet.line("nats#1", "[12] 2025/01/02 07:08:09.123456 [INF]")
    quiet.line("nats#1", "[12] 2025/01/02 07:08:09.123456 [ERR] disk is full")

    assert screen.getvalue() == "07:08:09 nats#1 disk is full level=error\n"


def test_what_nats_server_warns_of_at_every_start_is_left_out() -> None:
    quiet, screen = journal()

    quiet.line("nats#1", "[1] 2025/01/02 07:08:09.1 [WRN] Plaintext passwords detected, use nkeys or bcrypt")
    quiet.line("nats#1", "[1] 2025/01/02 07:08:09.1 [WRN] Disk is slow")

    assert screen.getvalue() == "07:08:09 nats#1 Disk is slow level=warning\n"


def test_a_long_line_is_never_broken() -> None:
    wide, screen = journal()

    wide.line("runner#1", line(text="x" * 200))

    assert screen.getvalue().count("\n") == 1


def test_markup_in_a_log_line_is_only_text() -> None:
    plain, screen = journal()

    plain.line("runner#1", "[bold]not markup[/nothing] :smile:")

    assert screen.getvalue() == "[bold]not markup[/nothing] :smile:\n"


def test_a_terminal_that_is_gone_does_not_stop_the_supervisor() -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(5, "Input/output error")

    Journal(Console(file=Gone())).say("info", "ending")


@given(st.text())
def test_no_line_whatsoever_breaks_the_reader(text: str) -> None:
    readable("runner#1", text)
    readable("runner#1", "{" + text)
    readable("runner#1", json.dumps({"event": text, "timestamp": text, "level": text, text: text}))


def test_what_turns_a_texts_direction_around_is_not_shown() -> None:
    assert "rm txt" == clean("rm \u202etxt\u2066")


def test_json_on_a_terminal_holds_nothing_that_drives_it_and_is_the_same_value() -> None:
    value = {"text": "\x1b[2J \x9b31m \x7f \u202e häß\n"}
    line = clean_json(value)
    assert line.isprintable()
    assert value == json.loads(line)
