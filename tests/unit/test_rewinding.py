"""What of a resumed run a viewer is to get, against the plain sets that the ranges stand for."""

from hypothesis import given
from hypothesis import strategies as st

from decopilot.contracts.frames import Ranges
from decopilot_gateway.rewinding import covers, cut, is_tainted


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
def test_of_events_all_is_left_but_void_ones(void: Ranges, place: tuple[int, int]) -> None:
    index, count = place
    wanted = [number for number in range(index, index + count) if number not in _set(void)]
    assert b"".join(b"data: %d\n\n" % number for number in wanted) == cut(_events(index, count), index, void)


@given(RANGES, FRAMES)
def test_events_of_which_none_is_void_are_those_that_all_share(void: Ranges, place: tuple[int, int]) -> None:
    index, count = place
    events = _events(index, count)
    is_cut = bool(_set(void) & set(range(index, index + count)))
    assert is_cut == (cut(events, index, void) is not events)


@given(RANGES, RANGES)
def test_ranges_cover_others_where_they_hold_every_chunk_of_them(known: Ranges, void: Ranges) -> None:
    assert (_set(void) <= _set(known)) == covers(known, void)


@given(RANGES, st.integers(0, 30))
def test_a_client_is_tainted_from_the_first_void_chunk_to_the_fence_and_not_behind(void: Ranges, last: int) -> None:
    fences = {end for _, end in void}
    assert (last in _set(void) | fences) == is_tainted(last, void)


def _set(ranges: Ranges) -> set[int]:
    return {index for start, end in ranges for index in range(start, end)}


def _events(index: int, count: int) -> bytes:
    return b"".join(b"data: %d\n\n" % number for number in range(index, index + count))
