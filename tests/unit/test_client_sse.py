"""Events parsed as the gateway frames them, however the network cuts them up."""

from hypothesis import given
from hypothesis import strategies as st

from decopilot.client.sse import EventParser, ServerEvent
from decopilot_gateway import sse

TEXTS = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1), max_size=5)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@given(TEXTS, st.lists(st.integers(0, 9)), st.sampled_from([b"\n", b"\r\n"]))
def test_whatever_is_said_and_however_it_is_cut_the_same_events_come_out(
    texts: list[str], sizes: list[int], line_end: bytes
) -> None:
    said = b"".join(
        sse.retry(1500) + sse.KEEPALIVE + sse.event(text.encode(), id_=f"7-{index}") for index, text in enumerate(texts)
    )
    parser = EventParser()
    pieces = cut(said.replace(b"\n", line_end), sizes)
    found = [event for piece in pieces for event in parser.push(piece)]
    assert [ServerEvent(f"7-{index}", text) for index, text in enumerate(texts)] == found
    assert (1.5 if texts else None) == parser.retry_s


def test_half_an_event_is_none() -> None:
    parser = EventParser()
    assert [] == list(parser.push(b'id: 1-0\ndata: {"type":"finish"}\n'))


def test_the_end_of_a_server_has_the_id_of_what_came_before_it() -> None:
    parser = EventParser()
    *_, done = parser.push(b"id: 3-1\ndata: {}\n\n" + sse.DONE)
    assert ServerEvent("3-1", "[DONE]") == done
