"""Printing an answer: at once on a terminal, and in a pipe only what nothing can take back."""

import os
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.cli.printing import VOID, Paper, Printer, ReaderGoneError, short
from decopilot.contracts.chunks import Chunk, transient
from decopilot.contracts.ids import MessageId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.fold import fold

START: list[Chunk] = [{"type": "start", "messageId": "a1"}, transient("data-run", {"runId": "r1", "attempt": 1})]
FINISH: list[Chunk] = [{"type": "finish", "finishReason": "stop"}]
RESET = transient("data-thread-reset", {"cursor": "9-0", "reason": "hole"})


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


class Printed:
    """A printer on two sheets of paper, and what stood on the first one after each chunk."""

    def __init__(self, *, terminal: bool) -> None:
        self.out = Terminal() if terminal else StringIO()
        self.err = Terminal() if terminal else StringIO()
        self.printer = Printer(Paper(self.out, self.err))
        self.after: list[str] = []

    def take(self, *chunks: Chunk) -> None:
        for chunk in chunks:
            self.printer.take(chunk)
            self.after.append(self.out.getvalue())

    def end(self, text: str) -> None:
        self.printer.end(UIMessage(id=MessageId("a1"), role="assistant", parts=[{"type": "text", "text": text}]))


def step(*texts: str, at: str = "s", is_done: bool = True) -> list[Chunk]:
    chunks: list[Chunk] = [{"type": "start-step"}]
    for number, text in enumerate(texts):
        id_ = f"{at}{number}"
        chunks.append({"type": "text-start", "id": id_})
        chunks += [{"type": "text-delta", "id": id_, "delta": letter} for letter in text]
        if is_done:
            chunks.append({"type": "text-end", "id": id_})
    return [*chunks, {"type": "finish-step"}] if is_done else chunks


def rewind(chunks: list[Chunk]) -> Chunk:
    message = fold(MessageId("a1"), chunks).model_dump(mode="json", exclude_none=True)
    return transient("data-run-rewind", {"runId": "r1", "attempt": 2, "message": message})


def test_a_terminal_shows_each_delta_at_once() -> None:
    printed = Printed(terminal=True)
    printed.take(*START, *step("abc", is_done=False))
    assert ["", "", "", "", "a", "ab", "abc"] == printed.after


def test_a_pipe_gets_a_step_when_it_is_done_and_the_rest_at_the_end() -> None:
    printed = Printed(terminal=False)
    printed.take(*START, *step("abc", is_done=False))
    assert {""} == set(printed.after)
    printed.take({"type": "text-end", "id": "s0"}, {"type": "finish-step"}, *step("de", is_done=False))
    assert "abc" == printed.out.getvalue()
    printed.end("abc\nde")
    assert "abc\nde\n" == printed.out.getvalue()


def test_after_a_rewind_a_terminal_says_so_and_goes_on_in_a_new_line() -> None:
    printed = Printed(terminal=True)
    kept = [*START, *step("one")]
    printed.take(*kept, *step("vo", at="v", is_done=False), rewind(kept), *step("two", at="w"), *FINISH)
    printed.end("one\ntwo")
    assert "one\nvo\ntwo\n" == printed.out.getvalue()
    assert VOID in printed.err.getvalue()


def test_a_rewind_that_takes_nothing_back_is_not_worth_a_word() -> None:
    printed = Printed(terminal=True)
    kept = [*START, *step("one")]
    printed.take(*kept, rewind(kept), *step("two", at="w"), *FINISH)
    printed.end("one\ntwo")
    assert ("one\ntwo\n", "") == (printed.out.getvalue(), printed.err.getvalue())


def test_a_pipe_never_contains_what_a_rewind_takes_back() -> None:
    printed = Printed(terminal=False)
    kept = [*START, *step("one")]
    printed.take(*kept, *step("void", at="v", is_done=False), rewind(kept), *step("two", at="w"), *FINISH)
    printed.end("one\ntwo")
    assert ("one\ntwo\n", "") == (printed.out.getvalue(), printed.err.getvalue())


def test_a_pipe_never_contains_what_a_step_takes_back_itself() -> None:
    printed = Printed(terminal=False)
    call: Chunk = {"type": "tool-input-available", "toolCallId": "c1", "toolName": "x", "input": {}}
    told = step("void")[:-1]
    printed.take(*START, *told, call, {"type": "reset-step"}, *step("two", at="w")[1:], *FINISH)
    printed.end("two")
    assert "two\n" == printed.out.getvalue()


def test_told_again_from_its_beginning_a_terminal_shows_what_is_new() -> None:
    printed = Printed(terminal=True)
    printed.take(*START, *step("abcd")[:4], RESET, *START, *step("abcd", "ef"), *FINISH)
    printed.end("abcd\nef")
    assert "ab\ncd\nef\n" == printed.out.getvalue()


def test_what_no_chunk_brought_the_end_brings() -> None:
    for terminal in (True, False):
        printed = Printed(terminal=terminal)
        printed.take(*START, *step("abc", is_done=False), RESET)
        printed.end("abc def")
        assert "abcdef" == printed.out.getvalue().replace("\n", "").replace(" ", "")


def test_no_text_is_no_line() -> None:
    printed = Printed(terminal=False)
    printed.take(*START, *FINISH)
    printed.printer.end(None)
    assert "" == printed.out.getvalue()


def test_a_terminal_is_told_of_thoughts_and_tools_and_a_pipe_is_not() -> None:
    chunks: list[Chunk] = [
        *START,
        {"type": "start-step"},
        {"type": "reasoning-start", "id": "r"},
        {"type": "reasoning-delta", "id": "r", "delta": "I wonder."},
        {"type": "reasoning-end", "id": "r"},
        {"type": "tool-input-available", "toolCallId": "c1", "toolName": "weather", "input": {"city": "Oslo"}},
        {"type": "tool-output-available", "toolCallId": "c1", "output": "half", "preliminary": True},
        {"type": "tool-output-available", "toolCallId": "c1", "output": {"sky": "clear"}},
        {"type": "tool-output-error", "toolCallId": "c1", "errorText": "it broke"},
        {"type": "tool-output-denied", "toolCallId": "c1"},
        transient("data-run", {"runId": "r1", "attempt": 2}),
    ]
    watched, piped = Printed(terminal=True), Printed(terminal=False)
    for printed in (watched, piped):
        printed.take(*chunks)
    lines = [line.removeprefix("\x1b[2m").removesuffix("\x1b[0m") for line in watched.err.getvalue().splitlines()]
    assert [
        "I wonder.",
        'weather({"city": "Oslo"})',
        "weather … half",
        'weather → {"sky": "clear"}',
        "weather failed: it broke",
        "weather was denied",
        "Attempt 2",
    ] == lines
    assert "" == piped.err.getvalue()


def test_a_terminal_gets_no_escape_sequences_of_a_model_and_a_pipe_all_bytes() -> None:
    text = "\x1b[2Jgone\x07\x9b1m\ttab"
    for terminal, wanted in ((True, "[2Jgone1m\ttab\n"), (False, text + "\n")):
        printed = Printed(terminal=terminal)
        printed.take(*START, *step(text))
        printed.end(text)
        assert wanted == printed.out.getvalue()


TEXT = st.text("ab\n", max_size=4)


@given(st.lists(st.lists(TEXT, max_size=3), max_size=4), TEXT, st.integers(0, 4))
def test_wherever_a_rewind_comes_a_pipe_holds_exactly_the_text(steps: list[list[str]], void: str, where: int) -> None:
    chunks = list(START)
    printed = Printed(terminal=False)
    printed.take(*START)
    for number, texts in enumerate(steps):
        if number == where:
            printed.take(*step(void, at="v", is_done=False), rewind(chunks))
        more = step(*texts, at=f"s{number}-")
        chunks += more
        printed.take(*more)
    message = fold(MessageId("a1"), [*chunks, *FINISH])
    printed.take(*FINISH)
    assert message.text.startswith(printed.out.getvalue())
    printed.printer.end(message)
    ending = "" if not message.text or message.text.endswith("\n") else "\n"
    assert message.text + ending == printed.out.getvalue()


def test_a_value_is_shown_in_one_short_line() -> None:
    assert "a b" == short("a\n  b")
    assert 200 == len(short(["x" * 300]))


def test_a_step_that_ends_in_the_middle_of_a_text_is_not_printed_before_that_is() -> None:
    printed = Printed(terminal=False)
    printed.take(*START, *step("half", is_done=False), {"type": "finish-step"})
    assert "" == printed.out.getvalue()


def test_where_nobody_reads_any_more_printing_says_so_and_nothing_is_left_to_be_written() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as out:
        paper = Paper(out, StringIO())
        with pytest.raises(ReaderGoneError):
            paper.text("word")
        out.write("what Python would still flush")
