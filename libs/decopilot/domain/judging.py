"""Judging an active run from outside: whether somebody else than its driver is to end it, and when to look again."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from decopilot.contracts.events import FailureReason
from decopilot.domain.thread import ActiveRun, ThreadState


@dataclass(frozen=True, slots=True)
class Limits:
    """How long what may take, in seconds, and how many attempts may fail."""

    attempts: int = 3
    cancel_deadline_s: float = 3.0
    start_limit_s: float = 600.0
    idle_limit_s: float = 600.0
    run_limit_s: float = 5_400.0
    silence_s: float = 6.0
    """After it a runner that died in its last attempt has left nothing that is still on its way, and a frame of a run
    that nobody started is not of an attempt that began just now."""
    sealed_s: float = 2.0
    """So long whoever sealed the run has for its terminal event."""
    look_s: float = 10.0
    """Nothing is left unlooked at for longer."""


@dataclass(frozen=True, slots=True)
class Times:
    """When what happened to the active run, as far as it is known, by the broker's clock.

    `requested` is when it was asked for: only who knows that judges how long it has taken. `driven` is when its present
    attempt began or was handed back: while that is not known, how long the run has been silent is not judged.
    `cancel` is when its end was asked for, `frame` when its last frame was stored, which `is_sealed` says to be the
    closing one.
    """

    requested: datetime | None = None
    driven: datetime | None = None
    cancel: datetime | None = None
    frame: datetime | None = None
    is_sealed: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is due; look again."""

    again_s: float


@dataclass(frozen=True, slots=True)
class EndAsSealed:
    """Its closing frame is there: append what that implies."""


@dataclass(frozen=True, slots=True)
class Seal:
    """End it, whatever its driver does."""

    reason: FailureReason


@dataclass(frozen=True, slots=True)
class SealBehind:
    """End it, if its last frame still is the one that was judged; and, with `unless_held`, if nobody answers for it."""

    reason: FailureReason
    unless_held: bool = False


Verdict = Wait | EndAsSealed | Seal | SealBehind


def judge(state: ThreadState, times: Times, now: datetime, limits: Limits, *, is_held: bool = False) -> Verdict:
    """Tell what is to be done about a thread's active run; of several reasons to end it, the first one counts.

    `now` is a moment before any of it was read. Of two times that speak of one thing the later one counts: clocks
    differ, and none ends a run too early.
    With `is_held` somebody answers for it: it is not lost, however many attempts were.

    Raises:
        ValueError: the thread has no active run.

    """
    if state.active is None:
        msg = "no run is active"
        raise ValueError(msg)
    if state.is_deleted:
        return Seal("cancelled")
    next_s = limits.look_s
    for verdict, since, limit_s in _deadlines(state.active, times, limits, is_held=is_held):
        left_s = (since + timedelta(seconds=limit_s) - now).total_seconds()
        if left_s <= 0:
            return verdict
        next_s = min(next_s, left_s)
    return Wait(next_s)


def _deadlines(
    active: ActiveRun, times: Times, limits: Limits, *, is_held: bool
) -> Iterator[tuple[Verdict, datetime, float]]:
    requested = times.requested or active.requested.at
    if times.is_sealed:
        # Whoever won the closing frame has decided: no other reason counts any more.
        yield EndAsSealed(), times.frame or requested, limits.sealed_s
        return
    if active.cancel is not None:
        is_driven = active.attempt > 0 and not active.is_let_go
        deadline_s = limits.cancel_deadline_s if is_driven else 0.0
        yield Seal(active.cancel), times.cancel or requested, deadline_s
    if times.requested is not None:
        own_s = active.requested.config.time_limit_s
        run_limit_s = limits.run_limit_s if own_s is None else min(own_s, limits.run_limit_s)
        yield Seal("timed_out"), requested, run_limit_s
    if active.attempt == 0:
        if times.requested is not None:
            due = requested + timedelta(seconds=limits.start_limit_s)
            if times.frame is not None:
                # An attempt may have begun since the thread was read; of one whose frame was there before, the thread
                # tells. What is left is a sealer's, which was cut off.
                due = max(due, times.frame + timedelta(seconds=limits.silence_s))
            yield SealBehind("undeliverable"), due, 0.0
        return
    if times.driven is None:
        return
    moved = max(times.driven, times.frame or times.driven)
    if active.failed_attempts >= limits.attempts and not is_held:
        yield SealBehind("crashed", unless_held=True), moved, limits.silence_s
    yield SealBehind("timed_out"), moved, limits.idle_limit_s
