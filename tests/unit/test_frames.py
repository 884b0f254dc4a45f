"""Frames and cursors: what is written reads back, and what is not one is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.contracts import subjects
from decopilot.contracts.chunks import encode_chunk
from decopilot.contracts.frames import Cursor, Outcome, Ranges, decode_frame, frame_headers
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.contracts.messages import Usage

SUBJECT = subjects.chunks(OrgId("org"), ThreadId("thread"), RunId("run"))
HEADERS = sorted(
    frame_headers("f", 1, 0, 0, Outcome(status="completed", finish_reason="stop"), void=((1, 2),), rewinds=True)
)
NUMBERS = st.integers(0, 10**18 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(NUMBERS, NUMBERS)
def test_a_cursor_reads_back(sequence: int, index: int) -> None:
    cursor = Cursor(sequence, index)
    assert cursor == Cursor.parse(str(cursor))


@given(st.text() | st.from_regex(r"[0-9]{0,20}-?[0-9]{0,20}", fullmatch=True))
def test_any_text_is_a_cursor_or_a_value_error(text: str) -> None:
    try:
        cursor = Cursor.parse(text)
    except ValueError:
        return
    sequence, index = text.split("-")
    assert (int(sequence), int(index)) == (cursor.sequence, cursor.index)
    assert max(cursor.sequence, cursor.index) < 2**63


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "1",
        "1-",
        "-1",
        "1-2-3",
        "1--2",
        "+1-2",
        " 1-2",
        "1-2\n",
        "²-1",
        "\u0661-\u0661",
        "1_0-0",
        "1" * 19 + "-0",
    ],
)
def test_what_only_looks_like_a_cursor_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(text)


@given(
    st.integers(1, 99),
    NUMBERS,
    NUMBERS,
    st.none()
    | st.builds(
        Outcome,
        status=st.sampled_from(["completed", "requires_action", "failed"]),
        finish_reason=st.sampled_from(["stop", "error", "tool-calls"]),
        usage=st.builds(Usage, input_tokens=st.integers(0, 9), output_tokens=st.integers(0, 9)),
        reason=st.none() | st.sampled_from(["cancelled", "crashed"]),
        error_text=st.text(st.characters(codec="utf-8"), max_size=50),
    ),
    st.lists(st.dictionaries(st.text(), JSON), min_size=1, max_size=5),
)
def test_a_frame_reads_back(
    attempt: int, index: int, previous: int, outcome: Outcome | None, chunks: list[dict[str, object]]
) -> None:
    headers = frame_headers("f1", attempt, index, previous, outcome)
    assert all(value.isascii() and "\n" not in value and "\r" not in value for value in headers.values())
    frame = decode_frame(SUBJECT, 42, headers, b"\n".join(map(encode_chunk, chunks)))
    assert ("org", "thread", "run", 42, "f1") == (frame.org, frame.thread, frame.run, frame.sequence, frame.frame_id)
    assert (attempt, index, previous, outcome) == (frame.attempt, frame.index, frame.previous, frame.outcome)
    assert ((), False) == (frame.void, frame.rewinds)
    assert chunks == frame.chunks
    assert Cursor(42, len(chunks) - 1) == frame.end


@given(
    st.text(),
    st.dictionaries(st.sampled_from(HEADERS), st.text("0123456789-,f ") | st.text(max_size=8), max_size=len(HEADERS)),
    st.binary(),
)
def test_anything_else_is_a_key_or_value_error(subject: str, headers: dict[str, str], body: bytes) -> None:
    for where in (subject, SUBJECT):
        try:
            frame = decode_frame(where, 1, headers, body)
        except (KeyError, ValueError):
            continue
        assert headers["Decopilot-Frame"] == frame.frame_id


def test_the_longest_error_text_leaves_room_for_itself_in_the_headers() -> None:
    outcome = Outcome(status="failed", finish_reason="error", error_text="😀" * 2000)
    size = sum(
        len(name) + len(value) + 4 for name, value in frame_headers("f" * 32, 99, 10**9, 10**12, outcome).items()
    )
    assert size < 32 * 1024


@given(void=st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5).map(tuple), rewinds=st.booleans())
def test_what_is_void_reads_back(void: Ranges, rewinds: bool) -> None:  # noqa: FBT001  drawn by name
    headers = frame_headers("f1", 2, 9, 8, None, void=void, rewinds=rewinds)
    frame = decode_frame(SUBJECT, 42, headers, b"{}")
    assert (void, rewinds) == (frame.void, frame.rewinds)


def test_void_ranges_are_said_in_one_line() -> None:
    headers = frame_headers("f1", 2, 9, 8, None, void=((3, 5), (7, 9)), rewinds=True)
    assert ("3-5,7-9", "1") == (headers["Decopilot-Void"], headers["Decopilot-Rewind"])


def test_a_frame_of_a_run_that_nobody_took_over_says_nothing_of_it() -> None:
    assert {"Decopilot-Frame", "Decopilot-Attempt", "Decopilot-Index", "Decopilot-Previous"} == set(
        frame_headers("f1", 1, 0, 0, None)
    )


@pytest.mark.parametrize("void", ["3", "3-", "-5", "a-b", "3-5;7-9", "3-5-7"])
def test_a_frame_whose_void_ranges_can_not_be_read_is_none(void: str) -> None:
    headers = frame_headers("f1", 1, 0, 0, None) | {"Decopilot-Void": void}
    with pytest.raises(ValueError, match=r"invalid literal|not enough values"):
        decode_frame(SUBJECT, 1, headers, b"{}")
