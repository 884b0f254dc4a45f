import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decopilot.contracts.chunks import Chunk
from decopilot.contracts.ids import MessageId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.fold import Fold, FoldError, fold
from decopilot.domain.partial_json import parse_partial
from support.streams import valid_stream

CORPUS = sorted((Path(__file__).parents[1] / "corpus").glob("*.ndjson"), key=lambda path: path.name)
ID = MessageId("msg_1")
START: Chunk = {"type": "start", "messageId": ID}
CALL: Chunk = {"toolCallId": "c1", "toolName": "search"}
ASKED: Chunk = {"type": "tool-approval-request", "approvalId": "a1", "toolCallId": "c1"}
FINISH: Chunk = {"type": "finish", "finishReason": "stop"}
AVAILABLE: Chunk = {"type": "tool-input-available", "input": {}} | CALL
OF_PROVIDER: Chunk = AVAILABLE | {"providerExecuted": True}
STREAMING: Chunk = {"type": "tool-input-start"} | CALL
BROKEN: Chunk = {"type": "tool-output-error", "toolCallId": "c1", "errorText": "Over."}
DENIED: Chunk = {"type": "tool-output-denied", "toolCallId": "c1"}
YES: Chunk = {"type": "tool-approval-response", "approvalId": "a1", "approved": True}
NO: Chunk = YES | {"approved": False}
REFUSED: Chunk = {"type": "tool-input-error", "input": None, "errorText": "Over."} | CALL
PRELIMINARY: Chunk = {"type": "tool-output-available", "toolCallId": "c1", "output": 1, "preliminary": True}

streams = st.randoms(use_true_random=False).map(lambda rng: valid_stream(rng, ID))


def folded(*chunks: Chunk) -> Fold:
    growing = Fold(ID)
    for chunk in chunks:
        growing.add(chunk)
    return growing


def parts(*chunks: Chunk) -> list[dict[str, object]]:
    return folded(*chunks).message().parts


def rewind(message: UIMessage) -> Chunk:
    told = message.model_dump(mode="json", exclude_none=True)
    return {"type": "data-run-rewind", "data": {"message": told}, "transient": True}


def text(*deltas: str) -> list[Chunk]:
    return [
        {"type": "text-start", "id": "t1"},
        *({"type": "text-delta", "id": "t1", "delta": delta} for delta in deltas),
    ]


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name.removesuffix(".ndjson"))
def test_every_stream_of_the_corpus_folds(path: Path) -> None:
    chunks = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]

    assert ID == fold(ID, chunks).id


@given(streams)
def test_a_valid_stream_folds_at_every_point(chunks: list[Chunk]) -> None:
    growing = Fold(ID)
    for chunk in chunks:
        growing.add(chunk)
        growing.message()

    assert fold(ID, chunks) == growing.message()
    assert (True, chunks[-1]["finishReason"]) == (growing.finished, growing.finish_reason)


@given(streams)
def test_a_stream_that_ended_well_leaves_nothing_to_close(chunks: list[Chunk]) -> None:
    assert [] == folded(*chunks).closing_chunks("Cancelled.")


@given(streams, st.data())
def test_a_stream_cut_anywhere_can_be_closed(chunks: list[Chunk], data: st.DataObject) -> None:
    growing = folded(*chunks[: data.draw(st.integers(1, len(chunks)))])
    for chunk in growing.closing_chunks("Cancelled."):
        growing.add(chunk)

    states = {part["state"] for part in growing.message().parts if "state" in part}
    assert states <= {"done", "output-available", "output-error"}
    assert not any(part.get("preliminary") for part in growing.message().parts)
    assert [] == growing.closing_chunks("Cancelled.")


@given(streams, st.data())
def test_a_message_does_not_change_when_more_is_added(chunks: list[Chunk], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(chunks)))
    growing = folded(*chunks[:cut])
    message = growing.message()
    before = message.model_dump_json()
    for chunk in chunks[cut:]:
        growing.add(chunk)

    assert before == message.model_dump_json()


@given(streams)
def test_chunks_are_left_as_they_were(chunks: list[Chunk]) -> None:
    before = json.dumps(chunks)
    growing = folded(*chunks)
    growing.message()

    assert before == json.dumps(chunks)


@given(streams, st.data())
@settings(max_examples=50)
def test_looking_on_the_way_does_not_change_the_message(chunks: list[Chunk], data: st.DataObject) -> None:
    growing = Fold(ID)
    for chunk in chunks:
        growing.add(chunk)
        if data.draw(st.booleans()):
            growing.message()
            growing.closing_chunks("Cancelled.")

    assert fold(ID, chunks) == growing.message()


@pytest.mark.parametrize(
    ("before", "chunk", "rule"),
    [
        ([], {"type": "text-delta", "id": "x", "delta": ""}, "a delta comes between its start and its end"),
        (text(), {"type": "reasoning-delta", "id": "t1", "delta": ""}, "a delta comes between its start and its end"),
        ([], {"type": "text-end", "id": "x"}, "an end comes after its start"),
        ([], {"type": "reasoning-end", "id": "x"}, "an end comes after its start"),
        (
            [],
            {"type": "tool-input-delta", "toolCallId": "x", "inputTextDelta": ""},
            "a delta comes after the tool-input-start of its call",
        ),
        ([], {"type": "tool-output-available", "toolCallId": "x", "output": 1}, "the message has a call of this id"),
        ([], {"type": "tool-output-error", "toolCallId": "x", "errorText": ""}, "the message has a call of this id"),
        ([], {"type": "tool-output-denied", "toolCallId": "x"}, "the message has a call of this id"),
        ([], ASKED | {"toolCallId": "x"}, "the message has a call of this id"),
        (
            [],
            {"type": "tool-approval-response", "approvalId": "x", "approved": True},
            "an answer comes after the request for approval",
        ),
    ],
)
def test_a_chunk_out_of_order_is_refused_and_changes_nothing(before: list[Chunk], chunk: Chunk, rule: str) -> None:
    growing = folded(START, *before)
    message = growing.message()

    with pytest.raises(FoldError) as refused:
        growing.add(chunk)

    error = refused.value
    ref = next(chunk[name] for name in ("approvalId", "id", "toolCallId") if error.ref == chunk.get(name))
    assert (chunk["type"], ref, rule) == (error.chunk_type, error.ref, error.rule)
    assert message == growing.message()


@pytest.mark.parametrize(
    ("chunk", "field"),
    [
        ({"type": "text-start"}, "id"),
        ({"type": "text-delta", "id": "t1"}, "delta"),
        ({"type": "reasoning-start"}, "id"),
        ({"type": "tool-input-start", "toolCallId": "c9"}, "toolName"),
        ({"type": "tool-input-delta", "toolCallId": "c1"}, "inputTextDelta"),
        ({"type": "tool-input-available"} | CALL, "input"),
        ({"type": "tool-input-error", "input": 1} | CALL, "errorText"),
        ({"type": "tool-output-available", "toolCallId": "c1"}, "output"),
        ({"type": "tool-output-error", "toolCallId": "c1"}, "errorText"),
        ({"type": "tool-approval-request", "toolCallId": "c1"}, "approvalId"),
        ({"type": "tool-approval-response", "approvalId": "c1"}, "approved"),
        ({"type": "data-x"}, "data"),
        ({"type": "start", "messageId": "msg_2", "messageMetadata": 1}, "messageMetadata"),
        ({"type": "finish", "messageMetadata": "x"}, "messageMetadata"),
        ({"type": "message-metadata", "messageMetadata": []}, "messageMetadata"),
    ],
)
def test_an_incomplete_chunk_is_refused_and_changes_nothing(chunk: Chunk, field: str) -> None:
    growing = folded(START, *text("so far"), {"type": "tool-input-start"} | CALL)
    message = growing.message()

    with pytest.raises(FoldError) as refused:
        growing.add(chunk)

    assert (chunk["type"], field) == (refused.value.chunk_type, refused.value.ref)
    assert message == growing.message()


def test_an_error_tells_its_chunk_and_the_broken_rule() -> None:
    assert "text-end 't1': an end comes after its start" == str(
        FoldError("text-end", "t1", "an end comes after its start")
    )


def test_unknown_chunks_error_and_abort_say_nothing_about_the_message() -> None:
    told: list[Chunk] = [
        {"type": "error", "errorText": "x"},
        {"type": "abort"},
        {"type": "tool-new"},
        {"type": "new"},
        {},
    ]

    assert folded(START).message() == folded(START, *told).message()


def test_a_run_is_finished_until_the_next_one_starts() -> None:
    growing = Fold(ID)
    seen = []
    for chunk in (START, FINISH, START, {"type": "finish", "finishReason": "length"}):
        growing.add(chunk)
        seen.append((growing.finished, growing.finish_reason))

    assert [(False, None), (True, "stop"), (False, "stop"), (True, "length")] == seen


def test_what_is_open_is_closed_in_an_order_that_every_client_takes() -> None:
    growing = folded(
        START,
        {"type": "start-step"},
        {"type": "reasoning-start", "id": "r1"},
        *text("Hel"),
        {"type": "tool-input-start"} | CALL,
        {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '{"q": "ha'},
        {"type": "tool-input-available", "toolCallId": "c2", "toolName": "search", "input": {}},
        {"type": "tool-output-available", "toolCallId": "c2", "output": 1, "preliminary": True},
        {"type": "tool-input-available", "toolCallId": "c3", "toolName": "any", "input": {}, "dynamic": True},
        {"type": "tool-input-start", "toolCallId": "c4", "toolName": "any", "dynamic": True},
    )

    expected: list[Chunk] = [
        {"type": "text-end", "id": "t1"},
        {"type": "reasoning-end", "id": "r1"},
        {"type": "tool-input-error", "input": {"q": "ha"}, "errorText": "Cancelled."} | CALL,
        {"type": "tool-output-error", "toolCallId": "c2", "errorText": "Cancelled."},
        {"type": "tool-output-error", "toolCallId": "c3", "errorText": "Cancelled.", "dynamic": True},
        {
            "type": "tool-input-error",
            "toolCallId": "c4",
            "toolName": "any",
            "input": None,
            "errorText": "Cancelled.",
            "dynamic": True,
        },
        {"type": "finish-step"},
    ]
    assert expected == growing.closing_chunks("Cancelled.")


@pytest.mark.parametrize(
    ("said", "ended", "waiting"),
    [
        ([STREAMING], [REFUSED], [REFUSED]),
        ([AVAILABLE], [BROKEN], []),
        ([AVAILABLE, ASKED], [DENIED], []),
        ([AVAILABLE, ASKED, YES], [BROKEN], [BROKEN]),
        ([AVAILABLE, ASKED, NO], [DENIED], [DENIED]),
        ([AVAILABLE, PRELIMINARY], [BROKEN], [BROKEN]),
        ([OF_PROVIDER], [BROKEN], [BROKEN]),
        ([OF_PROVIDER, ASKED], [DENIED], [DENIED]),
        ([AVAILABLE, DENIED], [], []),
        ([AVAILABLE, BROKEN], [], []),
        ([AVAILABLE, PRELIMINARY | {"preliminary": False}], [], []),
    ],
)
def test_a_call_is_closed_by_what_it_lacks_and_stays_open_where_its_run_waits_for_it(
    said: list[Chunk], ended: list[Chunk], waiting: list[Chunk]
) -> None:
    assert ended == folded(START, *said).closing_chunks("Over.")
    assert waiting == folded(START, *said).closing_chunks("Over.", waits=True)


def test_a_run_that_waits_closes_its_text_and_its_step_all_the_same() -> None:
    said = [START, {"type": "start-step"}, *text("Hm"), AVAILABLE, ASKED]

    closing = folded(*said).closing_chunks("Over.", waits=True)
    assert [{"type": "text-end", "id": "t1"}, {"type": "finish-step"}] == closing


@given(streams, st.data())
def test_a_message_is_gone_on_with_as_if_its_chunks_had_been_folded(chunks: list[Chunk], data: st.DataObject) -> None:
    growing = Fold(ID)
    settled = [0]
    for index, chunk in enumerate(chunks):
        growing.add(chunk)
        if growing.is_settled:
            settled.append(index + 1)
    cut = data.draw(st.sampled_from(settled))
    restored = Fold(ID)
    restored.restore(fold(ID, chunks[:cut]))
    assert fold(ID, chunks[:cut]) == restored.message()
    for chunk in chunks[cut:]:
        restored.add(chunk)

    assert growing.message() == restored.message()


@given(streams, streams, st.data())
def test_a_rewind_takes_the_place_of_what_was_folded(
    chunks: list[Chunk], others: list[Chunk], data: st.DataObject
) -> None:
    told = fold(ID, others)
    growing = folded(*chunks[: data.draw(st.integers(0, len(chunks)))], rewind(told))

    assert told == growing.message()
    assert growing.is_settled


@given(streams, st.data())
def test_a_rewind_to_what_is_there_changes_nothing(chunks: list[Chunk], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(chunks)))
    before = folded(*chunks[:cut])
    after = folded(*chunks[:cut], rewind(before.message()))

    assert (before.in_step, before.is_settled) == (after.in_step, after.is_settled)
    assert before.closing_chunks("Over.") == after.closing_chunks("Over.")
    for chunk in chunks[cut:]:
        before.add(chunk)
        after.add(chunk)
    assert before.message() == after.message()


@pytest.mark.parametrize("data", [{"message": {"id": "m"}}, {"message": None}, {}, None, [], "x"])
def test_a_rewind_without_its_message_is_refused_and_changes_nothing(data: object) -> None:
    growing = folded(START, *text("so far"))
    message = growing.message()
    with pytest.raises(FoldError) as refused:
        growing.add({"type": "data-run-rewind", "data": data, "transient": True})

    assert "data-run-rewind" == refused.value.chunk_type
    assert message == growing.message()


def test_data_of_a_message_that_is_gone_on_with_is_replaced_by_id() -> None:
    growing = folded(START, {"type": "data-x", "id": "d1", "data": 1})
    again = Fold(ID)
    again.restore(growing.message())
    again.add({"type": "data-x", "id": "d1", "data": 2})

    assert [{"type": "data-x", "id": "d1", "data": 2}] == again.message().parts
    assert [{"type": "data-x", "id": "d1", "data": 1}] == growing.message().parts


def test_what_is_reset_in_a_message_that_is_gone_on_with_is_its_last_step() -> None:
    step: list[Chunk] = [{"type": "start-step"}, AVAILABLE]
    growing = Fold(ID)
    growing.restore(folded(START, *step, PRELIMINARY | {"preliminary": False}, *step).message())
    growing.add({"type": "reset-step"})

    assert ["step-start", "tool-search", "step-start"] == [part["type"] for part in growing.message().parts]


def test_a_step_is_open_from_its_start_to_its_finish() -> None:
    growing = Fold(ID)
    seen = []
    for chunk in (START, {"type": "start-step"}, *text("Hi"), {"type": "finish-step"}):
        growing.add(chunk)
        seen.append((growing.in_step, growing.is_settled))

    assert [(False, True), (True, True), (True, False), (True, False), (False, False)] == seen


@pytest.mark.parametrize(
    ("approved", "closing"),
    [
        (True, {"type": "tool-output-error", "toolCallId": "c1", "errorText": "Cancelled."}),
        (False, {"type": "tool-output-denied", "toolCallId": "c1"}),
    ],
)
def test_an_answered_approval_is_closed_as_it_was_answered(*, approved: bool, closing: Chunk) -> None:
    answer: Chunk = {"type": "tool-approval-response", "approvalId": "a1", "approved": approved}
    answered = [START, {"type": "tool-input-available", "input": {}} | CALL, ASKED, answer]

    assert [closing] == folded(*answered).closing_chunks("Cancelled.")


def test_a_long_text_is_joined_when_somebody_looks() -> None:
    growing = folded(START, *text(*(str(n % 10) for n in range(20_000))))

    assert "0123456789" * 2_000 == growing.message().text


@pytest.mark.parametrize(
    ("beginning", "value"),
    [
        ('{"a": tr', {"a": True}),
        ("[1, fal", [1, False]),
        ('{"a": n', {"a": None}),
        ("-12.", -12),
        ('{"a": 1.5E+', {"a": 1.5}),
        ('{"a": 1, "b', {"a": 1}),
        ('{"a": 1, "b":', {"a": 1}),
        ('["x, t', ["x, t"]),
        ('{"v": "1: 2.', {"v": "1: 2."}),
        ('{"x, t', {}),
        ('"t', "t"),
        ('"é\\u00e', "é"),
    ],
)
def test_json_that_is_still_written_is_read_as_far_as_it_goes(beginning: str, value: object) -> None:
    assert value == parse_partial(beginning)


@pytest.mark.parametrize("beginning", ["", "  ", "-", "{x", "nope", '{"a": NaN}'])
def test_what_can_not_become_json_is_no_input(beginning: str) -> None:
    delta: Chunk = {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": beginning}

    expected = {"type": "tool-search", "toolCallId": "c1", "state": "input-streaming", "rawInput": beginning}
    assert [expected] == parts({"type": "tool-input-start"} | CALL, delta)
