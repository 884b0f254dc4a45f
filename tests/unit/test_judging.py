"""When a run is ended from outside: the whole table, and what holds of any run at any time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.contracts.events import RunRequested
from decopilot.contracts.ids import MessageId, RunId, UserId
from decopilot.contracts.messages import RunConfig
from decopilot.domain.judging import EndAsSealed, Limits, Seal, SealBehind, Times, Verdict, Wait, judge
from decopilot.domain.thread import ActiveRun, ThreadState

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LIMITS = Limits(
    attempts=2,
    cancel_deadline_s=3,
    start_limit_s=20,
    idle_limit_s=30,
    run_limit_s=100,
    silence_s=6,
    sealed_s=2,
    look_s=10,
)


def at(second: float) -> datetime:
    return BEGIN + timedelta(seconds=second)


def thread(*, is_deleted: bool = False, **active: Any) -> ThreadState:  # noqa: ANN401  fields of ActiveRun
    requested = RunRequested(
        at=BEGIN, run_id=RunId("r"), user_id=UserId("ann"), assistant_id=MessageId("a"), config=RunConfig()
    )
    return ThreadState(owner="ann", is_deleted=is_deleted, active=ActiveRun(requested=requested, **active))


NEW = thread()
DRIVEN = thread(attempt=1)
LAST = thread(attempt=2, failed=1)
LET_GO = thread(attempt=1, is_let_go=True)
TWICE_LET_GO = thread(attempt=3, failed=1, is_let_go=True)
CANCELLED = thread(attempt=1, cancel="cancelled")
SUPERSEDED = thread(attempt=1, cancel="superseded")
CANCELLED_NEW = thread(cancel="cancelled")
CANCELLED_LET_GO = thread(attempt=1, is_let_go=True, cancel="cancelled")
CRASHED = SealBehind("crashed", unless_held=True)
IDLE = SealBehind("timed_out")
STARTED = Times(driven=at(5))


@pytest.mark.parametrize(
    ("state", "times", "now", "verdict"),
    [
        # Nobody has started it.
        (NEW, Times(), 0, Wait(10)),
        (NEW, Times(), 15, Wait(5)),
        (NEW, Times(), 19.9, Wait(0.1)),
        (NEW, Times(), 20, SealBehind("undeliverable")),
        # There is a frame: of an attempt that began just now, or of a sealer that was cut off.
        (NEW, Times(frame=at(19)), 20, Wait(5)),
        (NEW, Times(frame=at(19)), 25, SealBehind("undeliverable")),
        (NEW, Times(frame=at(1)), 15, Wait(5)),
        (NEW, Times(frame=at(1)), 20, SealBehind("undeliverable")),
        (NEW, Times(), 100, Seal("timed_out")),
        (NEW, Times(), -5, Wait(10)),
        # It is driven: silent since its start, or since its last frame, whichever was later.
        (DRIVEN, STARTED, 20, Wait(10)),
        (DRIVEN, STARTED, 34, Wait(1)),
        (DRIVEN, STARTED, 35, IDLE),
        (DRIVEN, replace(STARTED, frame=at(30)), 35, Wait(10)),
        (DRIVEN, replace(STARTED, frame=at(30)), 60, IDLE),
        (DRIVEN, replace(STARTED, frame=at(1)), 34, Wait(1)),
        (DRIVEN, replace(STARTED, frame=at(99)), 99, Wait(1)),
        (DRIVEN, replace(STARTED, frame=at(99)), 100, Seal("timed_out")),
        (DRIVEN, Times(), 90, Wait(10)),
        # Nobody drives it, by its runner's own word.
        (LET_GO, Times(driven=at(30)), 59, Wait(1)),
        (LET_GO, Times(driven=at(30)), 60, IDLE),
        # All attempts but the present one have failed, and that one may have.
        (LAST, STARTED, 10, Wait(1)),
        (LAST, STARTED, 11, CRASHED),
        (LAST, replace(STARTED, frame=at(10)), 15, Wait(1)),
        (LAST, replace(STARTED, frame=at(10)), 16, CRASHED),
        (LAST, Times(), 90, Wait(10)),
        (TWICE_LET_GO, STARTED, 20, Wait(10)),
        (LAST, replace(STARTED, frame=at(99)), 100, Seal("timed_out")),
        # Its end was asked for.
        (CANCELLED, replace(STARTED, cancel=at(6)), 8, Wait(1)),
        (CANCELLED, replace(STARTED, cancel=at(6)), 9, Seal("cancelled")),
        (SUPERSEDED, replace(STARTED, cancel=at(6)), 9, Seal("superseded")),
        (CANCELLED, Times(), 3, Seal("cancelled")),
        (CANCELLED_NEW, Times(cancel=at(6)), 6, Seal("cancelled")),
        (CANCELLED_LET_GO, Times(driven=at(5), cancel=at(6)), 6, Seal("cancelled")),
        (CANCELLED, replace(STARTED, cancel=at(99)), 100, Seal("timed_out")),
        (CANCELLED, replace(STARTED, cancel=at(90)), 100, Seal("cancelled")),
        # Whoever sealed it has decided.
        (DRIVEN, replace(STARTED, frame=at(10), is_sealed=True), 11.5, Wait(0.5)),
        (DRIVEN, replace(STARTED, frame=at(10), is_sealed=True), 12, EndAsSealed()),
        (DRIVEN, replace(STARTED, frame=at(10), is_sealed=True), 1000, EndAsSealed()),
        (CANCELLED, replace(STARTED, cancel=at(6), frame=at(10), is_sealed=True), 11.5, Wait(0.5)),
        (NEW, Times(frame=at(10), is_sealed=True), 12, EndAsSealed()),
        # Its thread is deleted.
        (thread(is_deleted=True), Times(), 0, Seal("cancelled")),
        (thread(is_deleted=True, attempt=1), replace(STARTED, frame=at(10), is_sealed=True), 10, Seal("cancelled")),
    ],
)
def test_a_run_is_ended_for_the_first_reason_that_is_due(
    state: ThreadState, times: Times, now: float, verdict: Verdict
) -> None:
    found = judge(state, replace(times, requested=BEGIN), at(now), LIMITS)
    if isinstance(verdict, Wait):
        assert isinstance(found, Wait)
        assert verdict.again_s == pytest.approx(found.again_s)
    else:
        assert verdict == found


@pytest.mark.parametrize(
    ("times", "now", "verdict"),
    [
        (STARTED, 34, Wait(1)),
        (STARTED, 35, IDLE),
        (replace(STARTED, frame=at(10)), 39, Wait(1)),
        (replace(STARTED, frame=at(10)), 40, IDLE),
        (replace(STARTED, frame=at(99)), 100, Seal("timed_out")),
    ],
)
def test_a_last_attempt_that_somebody_answers_for_is_ended_like_any_other(
    times: Times, now: float, verdict: Verdict
) -> None:
    assert verdict == judge(LAST, replace(times, requested=BEGIN), at(now), LIMITS, is_held=True)


def test_how_long_a_run_takes_is_told_by_the_brokers_clock_and_by_nobody_else() -> None:
    # The writer's clock may be any.
    assert isinstance(judge(NEW, replace(Times(), requested=at(95)), at(100), LIMITS), Wait)
    assert isinstance(judge(DRIVEN, replace(STARTED, frame=at(1000)), at(1000), LIMITS), Wait)
    assert Seal("timed_out") == judge(DRIVEN, replace(STARTED, frame=at(1000), requested=BEGIN), at(1000), LIMITS)


@pytest.mark.parametrize(("own_s", "limit_s"), [(7, 7), (1_000, 100), (None, 100)])
def test_a_run_may_have_less_time_than_every_run_has_and_not_more(own_s: float | None, limit_s: float) -> None:
    assert DRIVEN.active is not None
    config = RunConfig(time_limit_s=own_s)
    requested = DRIVEN.active.requested.model_copy(update={"config": config})
    state = thread(attempt=1).model_copy(update={"active": DRIVEN.active.model_copy(update={"requested": requested})})
    told = Times(requested=BEGIN, driven=at(5), frame=at(limit_s - 0.5))
    assert Wait(0.5) == judge(state, told, at(limit_s - 0.5), LIMITS)
    assert Seal("timed_out") == judge(state, told, at(limit_s), LIMITS)


def test_a_thread_without_an_active_run_is_not_judged() -> None:
    with pytest.raises(ValueError, match="active"):
        judge(ThreadState(owner="ann"), Times(), BEGIN, LIMITS)


MOMENTS = st.floats(-50, 300).map(at)
PERHAPS = st.none() | MOMENTS
THREADS = st.builds(
    thread,
    attempt=st.integers(0, 4),
    failed=st.integers(0, 2),
    is_let_go=st.booleans(),
    cancel=st.sampled_from([None, "cancelled", "superseded"]),
)
ALWAYS = st.just(value=True)
ASKED = st.just(BEGIN)
TIMES = st.builds(Times, requested=ASKED, driven=PERHAPS, cancel=PERHAPS, frame=PERHAPS) | st.builds(
    Times, requested=ASKED, driven=PERHAPS, cancel=PERHAPS, frame=MOMENTS, is_sealed=ALWAYS
)


@given(THREADS, TIMES, MOMENTS)
def test_a_run_that_is_left_alone_is_looked_at_again_and_every_run_is_ended_in_the_end(
    state: ThreadState, times: Times, now: datetime
) -> None:
    verdict = judge(state, times, now, LIMITS)
    if isinstance(verdict, Wait):
        assert 0 < verdict.again_s <= LIMITS.look_s
    else:
        # What is due stays due, if nothing else happens.
        assert not isinstance(judge(state, times, now + timedelta(seconds=1), LIMITS), Wait)
    assert not isinstance(judge(state, times, at(500), LIMITS), Wait)
