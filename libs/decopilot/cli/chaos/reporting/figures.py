"""Figures: what table and page both say."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from decopilot.cli.bench.latency import percentile
from decopilot.cli.chaos.outcome import Fault, Outcome, Recovery


@dataclass(frozen=True, slots=True)
class FaultRow:
    """How often a kind of fault struck."""

    kind: str
    count: int
    longest_s: float | None


@dataclass(frozen=True, slots=True)
class RecoveryRow:
    """How long a promise's recoveries from one kind of fault took."""

    promise: str
    kind: str
    ordered_s: tuple[float, ...]

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self.ordered_s)

    def at(self, percent: float) -> float:
        """Tell a percentile in seconds, by nearest rank."""
        return percentile(self.ordered_s, percent)


def sentence(outcome: Outcome) -> str:
    """Tell the verdict."""
    broken = [promise for promise in outcome.promises if promise.violations]
    if broken:
        count = sum(len(promise.violations) for promise in broken)
        return f"Broken: {_many(len(broken), 'promise')} of {len(outcome.promises)}, {_many(count, 'violation')}."
    tried = sum(promise.tries > 0 for promise in outcome.promises)
    if outcome.is_interrupted:
        return f"Not proven: interrupted; nothing was found to be broken of {_many(tried, 'promise')} tried."
    if outcome.unchecked:
        names = ", ".join(one.name for one in outcome.unchecked)
        return f"Not proven: {tried} of {_many(len(outcome.promises), 'promise')} kept, nothing spoke of {names}."
    if not outcome.faults:
        return f"Not proven: no fault struck; {_many(tried, 'promise')} kept where nothing happened."
    tries = sum(promise.tries for promise in outcome.promises)
    return f"Kept: {_many(tried, 'promise')}, tried {tries:,} times over {_many(len(outcome.faults), 'fault')}."


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def load_sentences(outcome: Outcome) -> list[str]:
    """Tell what was asked of the system."""
    load = outcome.load
    return [
        f"{load.posts:,} messages to {load.threads:,} threads; {sum(load.runs.values()):,} runs: {counted(load.runs)}",
        f"{load.takeovers:,} takeovers of dead runners, {load.handed_back:,} handed back, {load.rewinds:,} rewinds",
        f"{load.calls:,} calls left a mark, {load.doubtful_calls:,} were in doubt",
        f"{load.viewers:,} viewers and {load.watchers:,} watchers over {load.connections:,} connections",
        f"{load.chunks:,} chunks came, and {load.resets:,} resets",
    ]


def counted(counts: dict[str, int]) -> str:
    """Tell counts, the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count:,}" for name, count in ordered) or "none"


def fault_rows(faults: Iterable[Fault]) -> list[FaultRow]:
    """Sum faults up by their kinds."""
    by_kind: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        by_kind[fault.kind].append(fault)
    rows = []
    for kind, found in sorted(by_kind.items()):
        lasted = [fault.ended_s - fault.at_s for fault in found if fault.ended_s is not None]
        rows.append(FaultRow(kind, len(found), max(lasted, default=None)))
    return rows


def recovery_rows(recoveries: Sequence[Recovery]) -> list[RecoveryRow]:
    """Sum recoveries up by what they are the recovery of, and from what."""
    by_kind: dict[tuple[str, str], list[float]] = defaultdict(list)
    for recovery in recoveries:
        by_kind[recovery.promise, recovery.kind].append(recovery.seconds)
    return [RecoveryRow(*key, tuple(sorted(seconds))) for key, seconds in sorted(by_kind.items())]


def seconds_of(value: float | None) -> str:
    """Write seconds with as many digits as mean something."""
    if value is None:
        return "–"  # noqa: RUF001  nothing to be waited for
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
