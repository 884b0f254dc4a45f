"""Framing of Server-Sent Events, and who is to hear which type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.contracts.chunks import encode_chunk
from decopilot.contracts.frames import Cursor, Frame
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot_gateway import sse
from decopilot_gateway.watching import matches

TEXTS = st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5)


@given(TEXTS)
def test_whatever_a_chunk_says_it_is_one_event_of_one_line_with_its_cursor(texts: list[str]) -> None:
    lines = [encode_chunk({"type": "text-delta", "id": "t", "delta": text}) for text in texts]
    events = sse.chunk_events(_frame(lines)).split(b"\n\n")
    assert [b"id: 7-%d\ndata: %s" % (index, line) for index, line in enumerate(lines)] == events[:-1]
    assert b"" == events[-1]


@given(TEXTS, st.integers(-1, 6))
def test_behind_an_index_only_the_rest_of_the_frame_is_left(texts: list[str], after: int) -> None:
    frame = _frame([encode_chunk({"type": "text-delta", "id": "t", "delta": text}) for text in texts])
    whole = sse.chunk_events(frame)
    rest = sse.behind(whole, after)
    assert whole.endswith(rest)
    assert max(0, len(texts) - after - 1) == rest.count(b"\ndata: ")


@given(TEXTS)
def test_events_can_be_taken_apart_again(texts: list[str]) -> None:
    chunks = [{"type": "text-delta", "id": "t", "delta": text} for text in texts]
    events = sse.chunk_events(_frame([encode_chunk(chunk) for chunk in chunks]))
    assert len(texts) == sse.count(events) == len(sse.split(events))
    assert events == b"".join(sse.split(events))
    assert chunks == sse.chunks_of(events)
    assert [Cursor(7, index) for index in range(len(texts))] == [sse.cursor_of(event) for event in sse.split(events)]


def test_an_event_has_its_id_its_name_and_its_data() -> None:
    assert b"id: 5\nevent: decopilot.step\ndata: {}\n\n" == sse.event(b"{}", id_="5", name="decopilot.step")
    assert b"data: {}\n\n" == sse.event(b"{}")


def test_a_reset_is_a_transient_chunk_whose_id_is_the_cursor_that_it_names() -> None:
    wanted = b'id: 3-1\ndata: {"type":"data-thread-reset","data":{"cursor":"3-1","reason":"hole"},"transient":true}\n\n'
    assert wanted == sse.reset_event(Cursor(3, 1), "hole")


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        ([], True),
        (["decopilot.*"], True),
        (["decopilot.thread.*"], True),
        (["decopilot.thread.status"], True),
        (["x", "decopilot.thread.status"], True),
        (["*"], False),
        (["decopilot"], False),
        (["decopilot.thread"], False),
        (["decopilot.thread.status.*"], False),
        (["decopilot.*.status"], False),
        (["deco.*"], False),
    ],
)
def test_a_type_is_heard_by_its_name_by_its_prefix_or_when_nothing_is_asked_for(
    patterns: list[str], *, wanted: bool
) -> None:
    assert wanted == matches("decopilot.thread.status", patterns)


def _frame(lines: list[bytes]) -> Frame:
    return Frame(OrgId("o"), ThreadId("t"), RunId("r"), 7, "f", 1, 0, 0, b"\n".join(lines))
