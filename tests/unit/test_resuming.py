"""A run whose attempts died goes on from its frames, and every reader sees the one message."""

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decopilot.contracts.chunks import RUN_REWIND, Chunk
from decopilot.contracts.events import RunRequested
from decopilot.contracts.frames import Frame
from decopilot.contracts.ids import MessageId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.decider import decide
from decopilot.domain.fold import Fold, FoldError, fold
from decopilot.domain.interactions import resolution_chunks, with_verdicts
from decopilot.domain.margins import opening
from decopilot.domain.resuming import LogLostError, Replay, is_cut, is_void, living_chunks, replay, resume_point
from decopilot.domain.thread import INITIAL
from support.crashing import CrashingRun, RunLog, crashing_run
from support.deciding import ASKS, NOW, OPEN, answer, approve, send
from support.streams import valid_stream

ID = MessageId("answer-r1")
CALL: Chunk = {"type": "tool-input-available", "toolCallId": "c1", "toolName": "search", "input": {}}
OUTPUT: Chunk = {"type": "tool-output-available", "toolCallId": "c1", "output": 1}
STEP: Chunk = {"type": "start-step"}
STEPPED: Chunk = {"type": "finish-step"}

# A run takes too many random numbers for Hypothesis to draw each: it draws the seed.
randoms = st.randoms(use_true_random=True)
CRASHES = st.sampled_from([1, 1, 2, 3])


def requested() -> RunRequested:
    event = decide(send(), INITIAL)
    assert isinstance(event, RunRequested)
    return event


REQUESTED = requested()
CONTINUES = RunRequested(
    at=NOW,
    run_id=REQUESTED.run_id,
    user_id=REQUESTED.user_id,
    assistant_id=ID,
    config=REQUESTED.config,
    continues=REQUESTED.run_id,
    resolutions=(approve(), answer(), approve("a3", approved=False, reason="No.")),
)


def runs(rng: Random, crashes: int) -> CrashingRun:
    return crashing_run(rng, REQUESTED, crashes)


def physical(frames: list[Frame]) -> Fold:
    """Fold every chunk that was ever stored, as a viewer was delivered them."""
    viewer = Fold(ID)
    for frame in frames:
        for chunk in frame.chunks:
            viewer.add(chunk)
    return viewer


def stored(*bodies: list[Chunk]) -> list[Frame]:
    """Store frames of one attempt, and the fence of the next."""
    log = RunLog()
    for chunks in (opening(REQUESTED, 1), *bodies):
        log.store(1, chunks)
    log.store(2, [{"type": "data-run", "data": {}, "transient": True}])
    return log.frames


OPENING = len(opening(REQUESTED, 1))


def words(*, ended: bool = True) -> list[Chunk]:
    said: list[Chunk] = [{"type": "text-start", "id": "t1"}, {"type": "text-delta", "id": "t1", "delta": "Hi"}]
    return [*said, {"type": "text-end", "id": "t1"}] if ended else said


@given(randoms, CRASHES)
def test_a_replay_is_the_message_of_the_attempts_that_wrote_it(rng: Random, crashes: int) -> None:
    run = runs(rng, crashes)
    replayed = replay(ID, run.log.frames)
    assert run.fold.message() == replayed.message()
    assert (True, "stop") == (replayed.finished, replayed.finish_reason)
    living = [chunk for _, chunk in living_chunks(run.log.frames)]
    assert run.fold.message() == fold(ID, living)


@given(randoms, CRASHES)
@settings(max_examples=50)
def test_a_viewer_that_heeds_rewinds_sees_the_same_message_at_every_frame(rng: Random, crashes: int) -> None:
    frames = runs(rng, crashes).log.frames
    for count in range(1, len(frames) + 1):
        assert replay(ID, frames[:count]).message() == physical(frames[:count]).message()


@given(randoms, CRASHES)
def test_a_replay_behind_a_takeover_has_open_what_its_writer_had(rng: Random, crashes: int) -> None:
    run = runs(rng, crashes)
    for before in run.before:
        point = resume_point(ID, before)
        rewinds = run.log.frames[len(before)].rewinds
        assert (point.void != before[-1].void) == rewinds
        # With the frame that rewinds, if there is one: nothing of the open step is lost.
        replayed = replay(ID, run.log.frames[: len(before) + rewinds])
        assert point.fold.in_step == replayed.in_step
        assert point.fold.closing_chunks("Over.") == replayed.closing_chunks("Over.")


@given(randoms, CRASHES)
def test_an_attempt_goes_on_where_nothing_is_in_the_middle_of_streaming(rng: Random, crashes: int) -> None:
    for before in runs(rng, crashes).before:
        point = resume_point(ID, before)
        streaming: set[str] = set()
        for index, chunk in living_chunks(before):
            if index < point.cut:
                streaming = _streaming(streaming, chunk)
        assert set() == streaming
        states = {part.get("state") for part in point.fold.message().parts}
        assert not states & {"streaming", "input-streaming"}


def _streaming(open_: set[str], chunk: Chunk) -> set[str]:
    kind, id_ = chunk["type"], chunk.get("toolCallId", chunk.get("id", ""))
    name = f"{kind.split('-')[0]} {id_}"
    if kind in {"text-start", "reasoning-start", "tool-input-start"}:
        return open_ | {name}
    if kind in {"text-end", "reasoning-end", "tool-input-available", "tool-input-error"}:
        return open_ - {name}
    return open_


@given(randoms, CRASHES)
def test_what_was_finished_before_the_last_cut_is_kept_and_nothing_behind_it(rng: Random, crashes: int) -> None:
    for before in runs(rng, crashes).before:
        point = resume_point(ID, before)
        end = before[-1].index
        first_end = before[0].end.index + 1
        streaming: set[str] = set()
        cut, steps = first_end, 0
        found = list(living_chunks(before))
        for index, chunk in found:
            streaming = _streaming(streaming, chunk)
            if first_end <= index < end and is_cut(chunk) and not streaming:
                cut = index + 1
        for index, chunk in found:
            steps += index < cut and chunk["type"] == "finish-step"
        kept = [(index, chunk) for index, chunk in found if index < cut]
        assert (cut, steps) == (point.cut, point.steps)
        assert kept == [(index, chunk) for index, chunk in found if index < end and not is_void(index, point.void)]
        assert fold(ID, [chunk for _, chunk in kept]) == point.fold.message()


@given(randoms, CRASHES)
def test_void_ranges_are_in_order_apart_and_never_of_the_opening(rng: Random, crashes: int) -> None:
    run = runs(rng, crashes)
    bounds = [bound for range_ in run.log.void for bound in range_]
    assert sorted(set(bounds)) == bounds
    assert all(bound >= OPENING for bound in bounds)
    for earlier, later in pairwise(run.log.frames):
        # What is void stays so.
        dead = {index for start, end in earlier.void for index in range(start, end)}
        assert all(is_void(index, later.void) for index in dead)
        assert later.rewinds == (later.void != earlier.void)


@given(randoms, CRASHES)
def test_a_rewind_says_the_message_of_its_resume_point(rng: Random, crashes: int) -> None:
    run = runs(rng, crashes)
    for before in run.before:
        frame = run.log.frames[len(before)]
        if frame.rewinds:
            chunk = frame.chunks[0]
            assert (RUN_REWIND, True) == (chunk["type"], chunk["transient"])
            assert resume_point(ID, before).fold.message() == UIMessage.model_validate(chunk["data"]["message"])


def test_the_runs_above_die_in_every_way_that_matters() -> None:
    """What the properties never see, they don't prove."""
    seen: set[str] = set()
    for number in range(300):
        run = runs(Random(number), 2)
        for before in run.before:
            point = resume_point(ID, before)
            states = {part.get("state") for part in point.fold.message().parts}
            marks = {
                "nothing is void": point.void == before[-1].void,
                "a step is open": point.fold.in_step,
                "a call has no output": "input-available" in states,
                "back to the opening": point.cut == OPENING and point.cut < before[-1].index,
                "two ranges": len(point.void) > 1,
                "a range grew": point.void != before[-1].void and len(point.void) == len(before[-1].void),
                "a fence without a rewind": any(
                    one.attempt == two.attempt and one.lines == two.lines for one, two in pairwise(before)
                ),
            }
            seen |= {name for name, holds in marks.items() if holds}
    assert {
        "nothing is void",
        "a step is open",
        "a call has no output",
        "back to the opening",
        "two ranges",
        "a range grew",
        "a fence without a rewind",
    } == seen


@pytest.mark.parametrize(
    ("said", "kept", "steps"),
    [
        ([], 0, 0),
        ([STEP], 0, 0),
        ([STEP, *words(ended=False)], 0, 0),
        ([STEP, *words()], 0, 0),
        ([STEP, *words(), STEPPED], 5, 1),
        ([STEP, *words(), STEPPED, STEP, *words(ended=False)], 5, 1),
        ([STEP, CALL], 2, 0),
        ([STEP, CALL, OUTPUT | {"preliminary": True}], 2, 0),
        ([STEP, CALL, OUTPUT], 3, 0),
        ([STEP, CALL, {"type": "tool-output-error", "toolCallId": "c1", "errorText": "x"}], 3, 0),
        ([STEP, *words(ended=False), CALL], 0, 0),
        ([STEP, *words(ended=False), CALL, {"type": "text-end", "id": "t1"}, OUTPUT], 6, 0),
        ([STEP, {"type": "tool-input-start", "toolCallId": "c2", "toolName": "search"}, CALL, OUTPUT], 0, 0),
        ([STEP, CALL, {"type": "tool-input-start", "toolCallId": "c2", "toolName": "search"}], 2, 0),
        ([STEP, CALL | {"providerExecuted": True}, OUTPUT | {"providerExecuted": True}], 0, 0),
        ([STEP, CALL, {"type": "tool-approval-request", "approvalId": "a1", "toolCallId": "c1"}], 2, 0),
    ],
)
def test_an_attempt_goes_on_behind_the_last_cut(said: list[Chunk], kept: int, steps: int) -> None:
    frames = stored(*([chunk] for chunk in said))
    point = resume_point(ID, frames)
    cut = OPENING + kept
    void = () if kept == len(said) else ((cut, OPENING + len(said)),)
    assert (cut, steps, void) == (point.cut, point.steps, void)
    assert point.void == void
    assert fold(ID, [*opening(REQUESTED, 1), *said[:kept]]) == point.fold.message()


def test_an_attempt_that_finds_nothing_but_its_own_fence_goes_on_behind_it() -> None:
    frames = stored()
    assert (OPENING, ()) == (resume_point(ID, frames).cut, resume_point(ID, frames).void)


def test_nothing_of_the_first_frame_is_ever_void() -> None:
    log = RunLog()
    log.store(1, [*opening(REQUESTED, 1), STEP, CALL, {"type": "data-note", "data": 1}])
    log.store(1, words(ended=False))
    log.store(2, [{"type": "data-run", "data": {}, "transient": True}])
    end = OPENING + 3
    point = resume_point(ID, log.frames)
    assert (end, ((end, end + 2),)) == (point.cut, point.void)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_log_that_misses_a_frame_is_lost(missing: int) -> None:
    frames = stored([STEP], [CALL])
    del frames[missing]
    for read in (lambda: list(living_chunks(frames)), lambda: replay(ID, frames), lambda: resume_point(ID, frames)):
        with pytest.raises(LogLostError):
            read()


def test_a_log_that_no_fold_takes_says_so() -> None:
    frames = stored([{"type": "text-delta", "id": "none", "delta": "x"}])
    for read in (replay, resume_point):
        with pytest.raises(FoldError):
            read(ID, frames)


@given(randoms, CRASHES)
def test_a_log_that_is_read_bit_by_bit_while_it_grows_folds_as_one_that_is_read_at_once(
    rng: Random, crashes: int
) -> None:
    frames, known, replayed = runs(rng, crashes).log.frames, 0, Replay(ID)
    while known < len(frames):
        there = rng.randint(known + 1, len(frames))
        while known < there:
            read = rng.randint(known + 1, there)
            replayed.add(frames[known:read], frames[there - 1].void)
            known = read
        assert replay(ID, frames[:there]).message() == replayed.fold.message()
    assert frames == replayed.frames


def test_a_log_that_could_not_be_folded_can_be_once_what_is_wrong_with_it_is_void() -> None:
    first, second = stored([STEP, {"type": "text-delta", "id": "nobody's", "delta": "?"}])[:2]
    replayed = Replay(ID)
    with pytest.raises(FoldError):
        replayed.add([first, second], ())
    with pytest.raises(FoldError):
        replayed.add([], ())
    replayed.add([], ((second.index + 1, second.index + 2),))
    assert [{"type": "step-start"}] == replayed.fold.message().parts


def test_a_frame_that_comes_twice_is_no_log() -> None:
    frames = stored([STEP])
    with pytest.raises(LogLostError):
        replay(ID, [frames[0], *frames])


def test_of_an_empty_log_nothing_is_kept() -> None:
    point = resume_point(ID, [])
    assert (0, 0, (), []) == (point.cut, point.steps, point.void, point.fold.message().parts)


def test_half_open_ranges_hold_their_start_and_not_their_end() -> None:
    assert [False, True, True, False, True, False] == [is_void(index, ((2, 4), (5, 6))) for index in range(1, 7)]


def waited(rng: Random) -> UIMessage:
    """Make the message of a run that ended waiting: for two approvals and an answer."""
    before = fold(ID, valid_stream(rng, ID))
    denied = ASKS | {"toolCallId": "c3", "approval": {"id": "a3"}}
    return before.model_copy(update={"parts": [*before.parts, {"type": "step-start"}, ASKS, OPEN, denied]})


@given(randoms)
def test_a_continuation_opens_with_the_message_that_it_goes_on_with(rng: Random) -> None:
    message = waited(rng)
    opened = fold(ID, opening(CONTINUES, 1, message))
    assert with_verdicts(message, CONTINUES.resolutions) == opened


@given(randoms)
def test_a_client_that_ignores_rewinds_sees_the_same_continuation(rng: Random) -> None:
    """It has the message from before, and answered its approvals itself; so a stream of `ai` goes on too."""
    message = waited(rng)
    client, viewer = Fold(ID), Fold(ID)
    client.restore(with_verdicts(message, CONTINUES.resolutions))
    chunks = opening(CONTINUES, 1, message)
    for chunk in chunks:
        viewer.add(chunk)
        if chunk["type"] != RUN_REWIND:
            client.add(chunk)
    for chunk in [*resolution_chunks(viewer.message(), CONTINUES.resolutions), *valid_stream(rng, ID)]:
        viewer.add(chunk)
        client.add(chunk)
    assert client.message() == viewer.message()


@given(randoms, CRASHES)
@settings(max_examples=50)
def test_a_continuation_that_dies_is_resumed_as_any_run(rng: Random, crashes: int) -> None:
    message = waited(rng)
    run = crashing_run(rng, CONTINUES, crashes, message)
    frames = run.log.frames
    assert run.fold.message() == replay(ID, frames).message()
    for count in range(1, len(frames) + 1):
        assert replay(ID, frames[:count]).message() == physical(frames[:count]).message()
    for before in run.before:
        parts = resume_point(ID, before).fold.message().parts
        calls = [part.get("toolCallId") for part in parts[: len(message.parts)]]
        assert [part.get("toolCallId") for part in message.parts] == calls


def test_a_step_that_was_open_at_the_cut_is_open_behind_the_rewind() -> None:
    log = RunLog(stored([STEP, CALL], words(ended=False)))
    point = resume_point(ID, log.frames)
    log.void = point.void
    rewind = {"runId": "r1", "attempt": 2, "message": point.fold.message().model_dump(mode="json", exclude_none=True)}
    log.store(2, [{"type": RUN_REWIND, "data": rewind, "transient": True}], rewinds=True)
    closing: list[Chunk] = [{"type": "tool-output-error", "toolCallId": "c1", "errorText": "Over."}, STEPPED]
    assert (True, closing) == (point.fold.in_step, point.fold.closing_chunks("Over."))
    replayed = replay(ID, log.frames)
    assert (True, closing) == (replayed.in_step, replayed.closing_chunks("Over."))
    assert replayed.message() == physical(log.frames).message()


def test_frames_are_read_by_what_the_last_one_says_is_void() -> None:
    frames = stored([STEP, CALL], words())
    last = replace(frames[-1], void=((OPENING + 2, OPENING + 5),))
    assert [STEP, CALL] == [chunk for index, chunk in living_chunks([*frames[:-1], last]) if index >= OPENING][:-1]
