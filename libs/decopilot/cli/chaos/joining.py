"""Joining: the outcomes of several rounds are that of one run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from decopilot.cli.chaos.outcome import Load, Outcome, Progress, Promise, Unchecked

_COUNTED = ("runs", "answers")


def joined(rounds: Sequence[Outcome], *, seed: int, seconds: float, reasons: Mapping[str, str]) -> Outcome:
    """Join rounds that are told by one clock; a promise is unchecked if none of them spoke of it."""
    first = rounds[0]
    promises = tuple(_promise([one.promises[number] for one in rounds]) for number in range(len(first.promises)))
    unchecked = tuple(
        Unchecked(name=one.name, reason=reasons.get(one.name, "nothing that was done or seen spoke of it"))
        for one in promises
        if not one.tries
    )
    counts: Counter[float] = Counter()
    for one in rounds:
        counts.update({second.at_s: second.chunks for second in one.progress})
    return first.model_copy(
        update={
            "seed": seed,
            "seconds": seconds,
            "ended_at": datetime.now(UTC),
            "is_interrupted": any(one.is_interrupted for one in rounds),
            "load": _load([one.load for one in rounds]),
            "faults": tuple(fault for one in rounds for fault in one.faults),
            "promises": promises,
            "unchecked": unchecked,
            "recoveries": tuple(recovery for one in rounds for recovery in one.recoveries),
            "silences": tuple(silence for one in rounds for silence in one.silences),
            "progress": tuple(Progress(at_s=at_s, chunks=chunks) for at_s, chunks in sorted(counts.items())),
        }
    )


def _promise(rounds: Sequence[Promise]) -> Promise:
    worst = [one.worst_recovery_s for one in rounds if one.worst_recovery_s is not None]
    return rounds[0].model_copy(
        update={
            "tries": sum(one.tries for one in rounds),
            "violations": tuple(text for one in rounds for text in one.violations),
            "worst_recovery_s": max(worst, default=None),
        }
    )


def _load(rounds: Sequence[Load]) -> Load:
    told: dict[str, object] = {}
    for name in Load.model_fields:
        if name in _COUNTED:
            counts: Counter[str] = Counter()
            for one in rounds:
                counts.update(getattr(one, name))
            told[name] = dict(counts)
        else:
            told[name] = sum(getattr(one, name) for one in rounds)
    return Load.model_validate(told)
