"""The load client reads the same, however the network cuts up what comes."""

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.cli.bench.parsing import Body, Chunked, Events, Transcript
from decopilot.cli.bench.saying import delta, said_at
from decopilot.cli.bench.viewers import has_id
from decopilot.contracts.chunks import encode_chunk
from decopilot_gateway import sse

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
TEXTS = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1), max_size=5)
SIZES = st.lists(st.integers(0, 9))


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


def chunked(body: bytes, sizes: list[int]) -> bytes:
    pieces = [piece for piece in cut(body, sizes) if piece]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


@given(texts=TEXTS, coding=SIZES, sizes=SIZES, is_chunked=st.booleans())
def test_however_a_stream_is_coded_and_cut_the_same_events_come_out(
    texts: list[str], coding: list[int], sizes: list[int], *, is_chunked: bool
) -> None:
    said = [sse.event(text.encode(), id_=f"7-{index}") for index, text in enumerate(texts)]
    body = sse.retry(1000) + b"".join(sse.KEEPALIVE + event for event in said)
    response = (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, coding) if is_chunked else HEAD + b"\r\n" + body
    )
    parser, events, transcript = Body(), Events(), Transcript()
    found = [event for piece in cut(response, sizes) for event in events.feed(parser.feed(piece))]
    data = [taken for event in found if (taken := transcript.take(event))]
    assert 200 == parser.status
    assert [text.encode() for text in texts] == data
    assert (len(texts), crc32("".join(texts).encode()), True) == (
        transcript.count,
        transcript.crc,
        transcript.is_ordered,
    )


@given(st.binary(max_size=40), SIZES, SIZES)
def test_the_chunked_coding_comes_off_and_its_end_is_noticed(body: bytes, coding: list[int], sizes: list[int]) -> None:
    parser = Chunked()
    pieces = cut(chunked(body, coding) + b"0\r\n\r\n", sizes)
    assert body == b"".join(map(parser.feed, pieces))
    assert parser.ended


@pytest.mark.parametrize(
    ("seen", "is_ordered"),
    [
        pytest.param(["1-0", "1-1", "1-1", "2-0"], False, id="doubled"),
        pytest.param(["1-1", "1-0", "2-0"], False, id="reordered"),
        pytest.param(["1-0", "2-0"], True, id="lost"),
    ],
)
def test_what_is_doubled_reordered_or_lost_makes_another_transcript(seen: list[str], *, is_ordered: bool) -> None:
    written, found = Transcript(), Transcript()
    for cursor in ("1-0", "1-1", "2-0"):
        written.add(cursor.encode())
    for cursor in seen:
        found.take(b"id: %s\ndata: %s" % (cursor.encode(), cursor.encode()))
    assert is_ordered == found.is_ordered
    assert written.crc != found.crc


def test_a_chunk_tells_when_it_was_said_and_others_do_not() -> None:
    before, after = said_at(encode_chunk(delta(1))), said_at(encode_chunk(delta(2, padding=100)))
    assert before is not None
    assert after is not None
    assert before <= after
    assert said_at(b'{"type":"finish"}') is None
    assert said_at(b"") is None


@pytest.mark.parametrize(
    ("body", "holds"),
    [
        (b"", False),
        (b"retry: 1000\n\ndata: {}\n\n", False),
        (b"retry: 1000\n\nid: 1-0\ndata: {}\n", False),
        (b"retry: 1000\n\nid: 1-0\ndata: {}\n\n", True),
        (b"id: 1-0\ndata: {}\n\n", True),
    ],
)
def test_a_compacted_state_ends_with_the_first_event_that_has_an_id(body: bytes, *, holds: bool) -> None:
    assert holds == has_id(body)
