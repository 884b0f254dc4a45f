from random import Random

import pytest

from decopilot.contracts.chunks import RUN, Chunk
from decopilot_runner.checking import AnswerTooLargeError, Checker, ProtocolError, RunTooLongError
from support.streams import valid_stream


def an_agents(seed: int) -> list[Chunk]:
    return [chunk for chunk in valid_stream(Random(seed), "m1") if chunk["type"] != RUN]


@pytest.mark.parametrize("seed", range(50))
def test_every_chunk_that_clients_take_passes_as_it_is(seed: int) -> None:
    checker = Checker(1 << 20)
    for chunk in an_agents(seed):
        assert chunk == checker.check(chunk)


@pytest.mark.parametrize("seed", range(50))
def test_a_chunk_with_a_field_more_or_a_null_in_it_is_refused(seed: int) -> None:
    for chunk in an_agents(seed):
        with pytest.raises(ProtocolError, match="must have no field 'more'"):
            Checker(1 << 20).check({**chunk, "more": 1})
        for name in set(chunk) - {"input", "output", "data"}:
            with pytest.raises(ProtocolError):
                Checker(1 << 20).check({**chunk, name: None})


def test_what_is_checked_is_no_longer_the_agents_own() -> None:
    told: Chunk = {"type": "tool-output-available", "toolCallId": "c1", "output": {"n": [1]}}
    checked = Checker(1 << 20).check(told)
    told["output"]["n"].append(2)
    assert {"n": [1]} == checked["output"]


@pytest.mark.parametrize(
    "name", ["data-run", "data-user-message", "data-messages-dropped", "data-thread-reset", "data-", "tool-", ""]
)
def test_what_is_not_an_agents_to_say_is_refused(name: str) -> None:
    with pytest.raises(ProtocolError, match="is no type that agents may send"):
        Checker(1 << 20).check({"type": name, "data": 1})


def test_deltas_add_up_by_their_text_and_transient_chunks_not_at_all() -> None:
    checker = Checker(100)
    delta: Chunk = {"type": "text-delta", "id": "t", "delta": "12345678"}
    passing: Chunk = {"type": "data-progress", "data": "x" * 20, "transient": True}
    for _ in range(10):
        checker.check(passing)
        checker.check(delta)
    with pytest.raises(AnswerTooLargeError, match="an answer has at most 100 bytes"):
        checker.check(delta)


def fits(*chunks: Chunk, limit_bytes: int = 500) -> bool:
    checker = Checker(limit_bytes)
    try:
        for chunk in chunks:
            checker.check(chunk)
    except AnswerTooLargeError:
        return False
    return True


def test_what_the_next_chunk_takes_the_place_of_is_counted_once() -> None:
    called: Chunk = {"type": "tool-input-available", "toolCallId": "c1", "toolName": "t", "input": {}}
    final: Chunk = {"type": "tool-output-available", "toolCallId": "c1", "output": "x" * 60}
    shown: Chunk = final | {"preliminary": True}
    data: Chunk = {"type": "data-web-search", "id": "c1", "data": {"text": "x" * 60}}

    assert fits(*[shown, data] * 20, final)
    # A call whose id was there before is another part, which does not take the place of the first.
    assert not fits(*[called, shown] * 5)
    assert not fits(*[final] * 10)
    note: Chunk = {"type": "data-note", "data": "x" * 60}
    assert not fits(*[note] * 10)


@pytest.mark.parametrize(
    "chunk",
    [
        {"type": "data-progress", "data": "x" * 100, "transient": True},
        {"type": "data-progress", "id": "p", "data": "x" * 100},
        {"type": "tool-output-available", "toolCallId": "c", "output": "x" * 100, "preliminary": True},
        {"type": "text-delta", "id": "t", "delta": ""},
    ],
)
def test_a_run_that_writes_without_end_is_stopped_though_its_message_does_not_grow(chunk: Chunk) -> None:
    checker = Checker(1 << 20, run_bytes=10_000)
    with pytest.raises(RunTooLongError, match="a run writes at most 10000 bytes"):
        [checker.check(chunk) for _ in range(10_000)]
