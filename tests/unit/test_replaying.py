"""Whatever form of a run a client asks for, it has the same message in the end."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decopilot.contracts.chunks import RUN, RUN_END, RUN_REWIND, USER_MESSAGE, Chunk, encode_chunk
from decopilot.contracts.events import FailureReason, RunRequested
from decopilot.contracts.frames import Outcome
from decopilot.contracts.ids import MessageId, RunId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.decider import decide
from decopilot.domain.fold import Fold, FoldError
from decopilot.domain.interactions import resolution_chunks
from decopilot.domain.margins import closing, opening, run_chunk
from decopilot.domain.outcome import forced
from decopilot.domain.replaying import DENIED, V5_NEEDLES, RunSoFar, for_sdk5, whole_message_opening
from decopilot.domain.resuming import living_chunks, replay
from decopilot.domain.thread import INITIAL
from support.crashing import CrashingRun, crashing_run
from support.deciding import NOW, answer, approve, send
from support.replaying import WAITED, as_told, stock
from support.streams import valid_stream

EXCEPT = {"approval-comes-while-input-streams.newest": "no agent of ours asks for approval of half an input"}
CORPUS = sorted(path for path in (Path(__file__).parents[1] / "corpus").glob("*.ndjson") if path.stem not in EXCEPT)
OTHER = MessageId("another")
DELTA: Chunk = {"type": "text-delta", "id": "t1", "delta": "x"}

randoms = st.randoms(use_true_random=True)
CRASHES = st.sampled_from([1, 1, 2])


def requested() -> RunRequested:
    event = decide(send(), INITIAL)
    assert isinstance(event, RunRequested)
    return event


REQUESTED = requested()
ID = REQUESTED.assistant_id
BASE = WAITED.model_copy(update={"id": ID})
OF_RUN = run_chunk(REQUESTED, 1)
CONTINUES = RunRequested(
    at=NOW,
    run_id=RunId("r2"),
    user_id=REQUESTED.user_id,
    assistant_id=ID,
    config=REQUESTED.config,
    continues=REQUESTED.run_id,
    resolutions=(approve("a1"), approve("a2", approved=False, reason="No."), answer("c3"), approve("a5")),
)
FIRST = len(opening(CONTINUES, 1, BASE))
"""So many chunks has a run's first frame."""


def so_far(chunks: Iterable[Chunk]) -> RunSoFar:
    run = RunSoFar()
    for chunk in chunks:
        run.add(chunk)
    return run


def folded(chunks: Iterable[Chunk], begun: Sequence[Chunk] = ()) -> Fold:
    """Fold as a client that takes rewinds and holds what `begun` made."""
    fold = Fold(OTHER)
    for chunk in [*begun, *chunks]:
        fold.add(chunk)
    return fold


def shown(fold: Fold) -> object:
    message = fold.message()
    return [message.id, message.metadata, list(message.parts), fold.finished]


def told(fold: Fold) -> object:
    """Show what parts alone can tell."""
    message = as_told(fold.message())
    return [message.id, message.metadata, message.parts]


def of(chunks: Sequence[Chunk], kind: str) -> list[Chunk]:
    return [chunk for chunk in chunks if chunk["type"] == kind]


def goes_on(chunks: list[Chunk], cuts: Iterable[int], held: Sequence[Chunk] = ()) -> None:
    """At each of these chunks the run so far folds to what the run folds to, at once and at the end, for every client.

    For one that takes rewinds whatever it holds, for any other if it holds nothing.
    """
    whole, fed, run = folded(chunks), 0, RunSoFar()
    for cut in cuts:
        for chunk in chunks[fed:cut]:
            run.add(chunk)
        begun, compacted, rest, fed = folded(chunks[:cut]), run.compacted(), chunks[cut:], cut
        assert shown(begun) == shown(folded(compacted)), chunks[cut - 1]
        assert told(begun) == told(folded(stock(compacted))), chunks[cut - 1]
        assert shown(whole) == shown(folded([*compacted, *rest])), chunks[cut - 1]
        assert told(whole) == told(folded(stock([*compacted, *rest]))), chunks[cut - 1]
        assert not held or shown(whole) == shown(folded([*compacted, *rest], held)), chunks[cut - 1]


def some_cuts(rng: Random, first: int, last: int) -> list[int]:
    return sorted(rng.sample(range(first, last + 1), min(6, last + 1 - first)))


def some_of(rng: Random, chunks: list[Chunk]) -> list[Chunk]:
    return chunks[: rng.randint(0, len(chunks))]


def continuation(rng: Random) -> list[Chunk]:
    """Make a run that goes on with an answer: what its person decided, what was approved, and more steps."""
    begun = opening(CONTINUES, 1, BASE)
    fold = folded(begun)
    resolved = resolution_chunks(fold.message(), CONTINUES.resolutions)
    done: list[Chunk] = [{"type": "tool-output-available", "toolCallId": call, "output": 1} for call in ("c1", "c5")]
    rng.shuffle(done)
    said = [chunk for chunk in valid_stream(rng, ID) if chunk["type"] not in {"start", "finish"}]
    outcome = Outcome(status="completed", finish_reason="stop")
    return [*begun, *resolved, *done, *said, *closing(CONTINUES, outcome, {"usage": {}})]


def runs(rng: Random, crashes: int, *, continues: bool = False) -> CrashingRun:
    if continues:
        return crashing_run(rng, CONTINUES, crashes, BASE)
    return crashing_run(rng, REQUESTED, crashes)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_corpus_goes_on_from_wherever_it_is_compacted(path: Path) -> None:
    chunks = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    begun = next(index for index, chunk in enumerate(chunks) if chunk["type"] == "start") + 1
    goes_on([*chunks[:begun], OF_RUN, *chunks[begun:]], range(begun, len(chunks) + 2))


@given(randoms)
@settings(max_examples=60, deadline=None)
def test_a_run_goes_on_from_wherever_it_is_compacted_whatever_a_client_holds(rng: Random) -> None:
    chunks = [*opening(REQUESTED, 1), *valid_stream(rng, ID)[1:]]
    goes_on(chunks, some_cuts(rng, 2, len(chunks)), some_of(rng, valid_stream(rng, ID)))


@given(randoms)
@settings(max_examples=60, deadline=None)
def test_a_continuation_goes_on_from_wherever_it_is_compacted_whatever_a_client_holds(rng: Random) -> None:
    chunks = continuation(rng)
    held = some_of(rng, rng.choice((chunks, valid_stream(rng, ID))))
    goes_on(chunks, some_cuts(rng, FIRST, len(chunks)), held)


@given(randoms, CRASHES, st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_resumed_run_goes_on_from_wherever_it_is_compacted(rng: Random, crashes: int, continues: bool) -> None:  # noqa: FBT001  a draw
    frames = runs(rng, crashes, continues=continues).log.frames
    living = [chunk for _, chunk in living_chunks(frames)]
    physical = [chunk for frame in frames for chunk in frame.chunks]
    goes_on(living, some_cuts(rng, FIRST, len(living)), some_of(rng, physical))


@given(randoms, CRASHES, st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_run_that_is_fed_as_it_is_stored_drops_what_becomes_void(rng: Random, crashes: int, continues: bool) -> None:  # noqa: FBT001  a draw
    frames = runs(rng, crashes, continues=continues).log.frames
    run = RunSoFar()
    for count, frame in enumerate(frames, 1):
        for chunk in frame.chunks:
            run.add(chunk)
        assert replay(ID, frames[:count]).message() == folded(run.compacted()).message()


@given(randoms)
@settings(max_examples=30, deadline=None)
def test_what_was_compacted_does_not_change_when_more_is_added(rng: Random) -> None:
    run, before = RunSoFar(), list[tuple[list[Chunk], str]]()
    for chunk in continuation(rng):
        run.add(chunk)
        compacted = run.compacted()
        before.append((compacted, json.dumps(compacted)))

    assert all(json.dumps(compacted) == text for compacted, text in before)


def test_a_run_so_far_opens_with_its_start_its_newest_attempt_its_question_and_an_empty_rewind() -> None:
    run = [*opening(REQUESTED, 1), {"type": "data-run", "data": {"runId": "r1", "attempt": 2}, "transient": True}]
    chunks = so_far([*run, {"type": "message-metadata", "messageMetadata": {"a": 1}}, {"type": "start-step"}])

    start, of_run, question, rewind, metadata, step = chunks.compacted()
    assert run[0] == start
    assert run[-1] == of_run
    assert run[2] == question
    emptied = {"id": ID, "role": "assistant", "parts": []}
    assert {
        "type": RUN_REWIND,
        "data": {"runId": "r1", "attempt": 2, "message": emptied},
        "transient": True,
    } == rewind
    assert {"type": "message-metadata", "messageMetadata": {"a": 1}} == metadata
    assert {"type": "start-step"} == step


@given(randoms, CRASHES, st.booleans(), st.data())
@settings(max_examples=60, deadline=None)
def test_the_transient_opening_stands_between_the_start_and_everything_else(
    rng: Random,
    crashes: int,
    continues: bool,  # noqa: FBT001  a draw
    data: st.DataObject,
) -> None:
    living = [chunk for _, chunk in living_chunks(runs(rng, crashes, continues=continues).log.frames)]
    cut = data.draw(st.integers(2 if continues else 3, len(living)))
    compacted = so_far(living[:cut]).compacted()

    wanted = ["start", RUN, RUN_REWIND] if continues else ["start", RUN, USER_MESSAGE, RUN_REWIND]
    assert wanted == [chunk["type"] for chunk in compacted[: len(wanted)]]
    assert of(living[:cut], RUN)[-1] == compacted[1]
    assert [] == compacted[len(wanted) - 1]["data"]["message"]["parts"]
    for kind in ("start", RUN, USER_MESSAGE):
        assert len(of(compacted, kind)) == (kind in wanted)
    UIMessage.model_validate(compacted[len(wanted) - 1]["data"]["message"])


def test_before_its_start_a_run_has_what_was_said_of_it() -> None:
    _, of_run, question = opening(REQUESTED, 1)

    assert [] == RunSoFar().compacted()
    assert [of_run, question] == so_far([question, of_run]).compacted()


@pytest.mark.parametrize("chunk", [DELTA, {"type": "start"}, {"type": "finish"}])
def test_a_run_begins_with_a_start_that_names_its_message(chunk: Chunk) -> None:
    run = RunSoFar()
    with pytest.raises(FoldError):
        run.add(chunk)

    assert [] == run.compacted()


def test_a_chunk_that_does_not_fit_leaves_a_run_as_it_was() -> None:
    run = so_far(opening(REQUESTED, 1))
    before = run.compacted()
    for chunk in (DELTA, {"type": "finish", "messageMetadata": 1}):
        with pytest.raises(FoldError):
            run.add(chunk)

    assert before == run.compacted()


@pytest.mark.parametrize("reason", ["cancelled", "error", None])
def test_a_run_that_has_ended_says_so_behind_its_parts_and_finishes_once(reason: FailureReason | None) -> None:
    said = valid_stream(Random(1), ID)[1:-1]
    chunks = [*opening(REQUESTED, 1), *said]
    outcome = Outcome(status="completed", finish_reason="stop")
    if reason is not None:
        outcome = forced(folded(chunks).message(), reason)
    end = closing(REQUESTED, outcome, {"usage": {"inputTokens": 1}})
    compacted = so_far([*chunks, *end]).compacted()

    assert end == compacted[-len(end) :]
    for kind in ("finish", RUN_END):
        assert 1 == len(of(compacted, kind))


def test_a_long_text_is_few_chunks() -> None:
    run = so_far([*opening(REQUESTED, 1), {"type": "start-step"}, {"type": "text-start", "id": "t1"}, *[DELTA] * 9])

    kinds = [chunk["type"] for chunk in run.compacted()]
    assert ["start", RUN, USER_MESSAGE, RUN_REWIND, "start-step", "text-start", "text-delta"] == kinds
    run.add(DELTA)
    assert DELTA | {"delta": "x" * 10} == run.compacted()[-1]


def test_a_call_that_was_approved_does_not_ask_again() -> None:
    chunks = so_far(opening(CONTINUES, 1, BASE)).compacted()

    assert ["c2"] == [chunk["toolCallId"] for chunk in of(chunks, "tool-approval-request")]
    assert ["c2"] == [chunk["toolCallId"] for chunk in of(chunks, "tool-output-denied")]


def test_a_verdict_is_not_told_at_the_price_of_what_streams_before_it() -> None:
    call: Chunk = {"toolCallId": "c1"}
    chunks: list[Chunk] = [
        *opening(REQUESTED, 1),
        DELTA | {"type": "text-start"},
        {"type": "tool-input-available", "toolName": "act", "input": {}} | call,
        {"type": "tool-approval-request", "approvalId": "a1"} | call,
        {"type": "tool-approval-response", "approvalId": "a1", "approved": True},
    ]
    run = so_far(chunks)

    assert 1 == len(of(run.compacted(), RUN_REWIND))
    assert "x" == folded([*run.compacted(), DELTA]).message().text


def test_a_run_that_goes_on_with_nothing_opens_as_it_is() -> None:
    chunks = opening(REQUESTED, 1)

    assert chunks == whole_message_opening(chunks)


def test_the_whole_message_opens_with_one_start_and_is_told_before_the_rewind_that_judges() -> None:
    chunks = [*opening(CONTINUES, 1, BASE), DELTA]
    start, of_run, step, *parts, rewind, rest = whole_message_opening(chunks)

    assert {"type": "start", "messageId": ID, "messageMetadata": BASE.metadata} == start
    assert chunks[1] == of_run
    assert {"type": "start-step"} == step
    assert {"type": "finish-step"} == parts[-1]
    assert not any(chunk.get("transient") or chunk["type"] == "start" for chunk in parts)
    assert chunks[-2:] == [rewind, rest]


@given(randoms, st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_client_with_nothing_folds_a_continuation_from_its_whole_message(rng: Random, crashes: bool) -> None:  # noqa: FBT001  a draw
    chunks = continuation(rng)
    if crashes:
        chunks = [chunk for _, chunk in living_chunks(runs(rng, 1, continues=True).log.frames)]
    opened = whole_message_opening(chunks[:FIRST])
    for cut in (FIRST, *some_cuts(rng, FIRST, len(chunks)), len(chunks)):
        wanted = folded(chunks[:cut])
        assert told(wanted) == told(folded(stock([*opened, *chunks[FIRST:cut]])))
        assert shown(wanted) == shown(folded([*opened, *chunks[FIRST:cut]]))


NAMES = ("type", "title", "toolMetadata", "providerMetadata", "inputEncoding", "citations", "reason", "finishReason")
KINDS = (
    *("text-start", "text-delta", "text-end", "tool-input-start", "tool-input-available", "tool-input-error"),
    *("tool-output-available", "tool-output-error", "tool-output-denied", "tool-approval-request", "reset-step"),
    *("tool-approval-response", "reasoning-file", "custom", "steering-message", "abort", "finish", "data-x", "error"),
)
jsons = st.recursive(
    st.none() | st.booleans() | st.text() | st.sampled_from(["stop", "interrupted", *NAMES]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=5,
)
some_chunks = st.builds(
    lambda kind, fields: {**fields, "type": kind, "toolCallId": "c1"},
    st.sampled_from(KINDS) | st.text(),
    st.dictionaries(st.sampled_from(NAMES) | st.text(), jsons, max_size=4),
)


@given(some_chunks)
@settings(max_examples=300)
def test_a_chunk_without_any_needle_is_the_same_for_ai_5(chunk: Chunk) -> None:
    line = encode_chunk(chunk)
    if not any(needle in line for needle in V5_NEEDLES):
        assert for_sdk5(chunk)[0] is chunk


@given(some_chunks)
def test_what_ai_5_gets_is_what_it_gets_of_that(chunk: Chunk) -> None:
    before = json.dumps(chunk)
    given = for_sdk5(chunk)

    assert given == [again for one in given for again in for_sdk5(one)]
    assert before == json.dumps(chunk)


@pytest.mark.parametrize("needle", V5_NEEDLES, ids=bytes.decode)
def test_every_needle_is_of_a_chunk_that_ai_5_gets_otherwise(needle: bytes) -> None:
    name = needle.decode().strip('"')
    samples: list[Chunk] = [{"type": kind, "toolCallId": "c1", name: "x"} for kind in KINDS]
    samples.append({"type": name, "toolCallId": "c1"})

    assert any([chunk] != for_sdk5(chunk) and needle in encode_chunk(chunk) for chunk in samples)


def test_a_client_of_ai_5_sees_an_error_for_a_denial_and_no_approvals() -> None:
    asked: Chunk = {"type": "tool-approval-request", "toolCallId": "c1", "approvalId": "a1"}
    denied: Chunk = {"type": "tool-output-denied", "toolCallId": "c1"}
    titled: Chunk = {"type": "source-url", "sourceId": "s", "url": "https://example.org/", "title": "Example"}

    assert [] == for_sdk5(asked)
    assert [{"type": "tool-output-error", "toolCallId": "c1", "errorText": DENIED}] == for_sdk5(denied)
    assert [titled] == for_sdk5(titled)
    assert [{"type": "finish", "finishReason": "other"}] == for_sdk5({"type": "finish", "finishReason": "interrupted"})
