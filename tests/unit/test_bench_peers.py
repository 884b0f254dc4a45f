"""Peers are counted alike: what a reader has of a run, read from any event stream in pieces of any size."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.peers.reading import Events, Seen, take
from bench.peers.results import Counted, Drops, FanOut, Found, Kill, Kills, Replay, Report, Spread
from bench.peers.saying import STEP, delta
from bench.peers.table import table
from bench.peers.tally import NOTHING, Tally, tally
from decopilot.contracts.chunks import encode_chunk


def said(*numbers: int) -> bytes:
    return b",".join(encode_chunk(delta(number)) for number in numbers)


def seen_of(body: bytes) -> Seen:
    seen = Seen()
    for event in Events().feed(body):
        take(seen, event, 0)
    return seen


def test_a_run_that_came_once_and_in_order_is_exact() -> None:
    assert Tally(3, 0, 0, 0) == tally([0, 1, 2], 3)
    assert tally([0, 1, 2], 3).is_exact


def test_what_is_lost_doubled_and_out_of_order_is_counted_apart() -> None:
    assert Tally(6, lost=2, doubled=1, disordered=1) == tally([0, 2, 2, 1, 5], 6)


@given(st.lists(st.integers(0, 20)))
def test_lost_and_doubled_add_up_to_what_came(numbers: list[int]) -> None:
    told = tally(numbers, 21)

    assert len(numbers) == told.expected - told.lost + told.doubled


def test_tallies_of_several_readers_add_up() -> None:
    assert Tally(4, lost=1, doubled=1, disordered=0) == NOTHING + tally([0], 2) + tally([0, 1, 1], 2)


@given(st.lists(st.integers(0, 200), max_size=3), st.sampled_from([b"\n", b"\r\n"]))
def test_events_are_the_same_whatever_ends_their_lines_and_however_they_are_cut(cuts: list[int], line: bytes) -> None:
    body = line.join(
        [b"id: 1-0", b"data: " + said(0), b"", b": keepalive", b"", b"data: " + said(1), b"id: 2-0", b"", b""]
    )
    places = sorted({0, *(min(cut, len(body)) for cut in cuts), len(body)})
    events, found = Events(), []
    for begin, end in pairwise(places):
        found += events.feed(body[begin:end])

    assert seen_of(body.replace(b"\r", b"")).numbers == seen_of(b"".join(one + b"\n\n" for one in found)).numbers
    assert 3 == len(found)
    assert "2-0" == seen_of(b"".join(one + b"\n\n" for one in found)).last_id


def test_data_counts_once_the_control_event_behind_it_is_there() -> None:
    data, control = b"event: data\ndata:[" + said(0, 1) + b"]\n\n", b'event: control\ndata:{"streamNextOffset":"7"}\n\n'

    assert [] == list(seen_of(data).numbers)
    assert [0, 1] == list(seen_of(data + control).numbers)
    assert b'{"streamNextOffset":"7"}' == seen_of(data + control).control


def test_what_a_rewind_takes_back_is_not_doubled_when_it_is_said_anew() -> None:
    kept = "".join(str(delta(number)["delta"]) for number in range(2))
    rewind = b'data: {"type":"data-run-rewind","data":{"message":"%s"}}\n\n' % kept.encode()
    body = b"".join(b"data: " + said(number) + b"\n\n" for number in range(4)) + rewind + b"data: " + said(2) + b"\n\n"

    assert [0, 1, 2] == list(seen_of(body).numbers)


def test_the_end_of_a_run_is_its_finish_chunk() -> None:
    assert seen_of(b'data: {"type":"finish"}\n\n').finished
    assert not seen_of(b'data: {"type":"finish-step"}\n\ndata: [DONE]\n\n').finished


def test_steps_are_those_that_a_resumed_agent_counts() -> None:
    assert f"t{1}" == delta(STEP)["id"]


def test_what_a_peer_cannot_do_is_told_with_its_reason_and_never_as_zero() -> None:
    told = {"name": "one", "version": "1", "docs": "its README", "durability": "never", "hops": "a → b"}
    exact, flawed = (Counted(expected=10, lost=lost, doubled=0, disordered=0) for lost in (0, 3))
    found = Found(
        **told,
        cant={"replay_ended": "it forgets", "store": "there is none"},
        fanout=(
            FanOut(readers=1, rate=50, latency_ms=Spread.of([1.0]), cpu_percent=5, client_cpu_percent=1, counted=exact),
        ),
        replays=(Replay(chunks=10, when="open", chunks_s=(5.0,), first_event_ms=(1.0,), counted=flawed),),
        drops=(Drops(pace="slow", drops=2, counted=exact, end="told"),),
        kills=(Kills(part="front", process="it", kills=(Kill(silence_s=None, counted=flawed, end="not told"),)),),
    )
    skipped = Found(**told | {"name": "two"}, cant={}, skipped="redis-server is missing")
    text = table(Report(at="now", machine="m", took_s=60, sizes={}, peers=(found, skipped)))

    for piece in (
        "—, because it forgets",
        "—, because there is none",
        "it: nothing new came, 3 lost of 10, end not told",
        "5 chunks/s (3 lost of 10)",
        "2 drops: exact",
        "**not measured**: redis-server is missing",
    ):
        assert piece in text
