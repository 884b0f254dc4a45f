"""What of a resumed run a viewer is to get, against the plain sets that the ranges stand for."""

from hypothesis import given
from hypothesis import strategies as st

from decopilot.contracts.frames import Frame, Ranges
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot_gateway import sse
from decopilot_gateway.rewinding import covers, is_cut, is_tainted


def _ranges(numbers: list[tuple[int, int]]) -> Ranges:
    """Make ranges as takeovers leave them: behind each stand a fence and what rewinds."""
    ranges: list[tuple[int, int]] = []
    at = 0
    for gap, length in numbers:
        start = at + gap
        ranges.append((start, start + length))
        at = start + length + 2
    return tuple(ranges)


RANGES = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), max_size=3).map(_ranges)
FRAMES = st.tuples(st.integers(0, 25), st.integers(1, 5))


@given(RANGES, FRAMES)
def test_a_frame_is_cut_where_any_of_its_chunks_is_void(void: Ranges, place: tuple[int, int]) -> None:
    index, count = place
    assert bool(_set(void) & set(range(index, index + count))) == is_cut(_frame(index, count), void)


@given(RANGES, FRAMES, st.integers(-1, 5))
def test_of_a_frame_all_is_left_but_void_chunks_and_those_that_were_seen(
    void: Ranges, place: tuple[int, int], after: int
) -> None:
    index, count = place
    frame = _frame(index, count)
    wanted = [number for number in range(after + 1, count) if index + number not in _set(void)]
    assert b"".join(b"id: 7-%d\ndata: %d\n\n" % (n, n) for n in wanted) == sse.chunk_events(
        frame, after=after, void=void
    )


@given(RANGES, FRAMES)
def test_a_frame_that_is_not_cut_shares_its_encoding(void: Ranges, place: tuple[int, int]) -> None:
    encoded = sse.EncodedFrame(_frame(*place))
    living = encoded.living_events(void)
    assert sse.chunk_events(encoded.frame, void=void) == living
    assert (not is_cut(encoded.frame, void)) == (living is encoded.events)


@given(RANGES, RANGES)
def test_ranges_cover_others_where_they_hold_every_chunk_of_them(known: Ranges, void: Ranges) -> None:
    assert (_set(void) <= _set(known)) == covers(known, void)


@given(RANGES, st.integers(0, 30))
def test_a_client_is_tainted_from_the_first_void_chunk_to_the_fence_and_not_behind(void: Ranges, last: int) -> None:
    fences = {end for _, end in void}
    assert (last in _set(void) | fences) == is_tainted(last, void)


def _set(ranges: Ranges) -> set[int]:
    return {index for start, end in ranges for index in range(start, end)}


def _frame(index: int, count: int) -> Frame:
    body = b"\n".join(b"%d" % number for number in range(count))
    return Frame(OrgId("o"), ThreadId("t"), RunId("r"), 7, "f", 1, index, 0, body)
