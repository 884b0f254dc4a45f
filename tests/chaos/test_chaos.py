"""Which promise breaks when parts are killed and stopped at random? Replay: `pytest tests/chaos --chaos-seed N`."""

import asyncio
from collections import Counter

import pytest

from chaos.breaches import BREACHES, narrowed
from decopilot.cli.chaos.conducting import Conductor
from decopilot.cli.chaos.evidence import Evidence, Limits
from decopilot.cli.chaos.judging_runs import judge_runs, takeovers
from decopilot.cli.chaos.judging_threads import judge_threads
from decopilot.cli.chaos.judging_viewers import judge_viewers
from decopilot.cli.chaos.schedule import Schedule, draw
from decopilot.cli.chaos.verdict import PROMISES, Verdict, counted
from support.stack import running_stack

INTERRUPTED_CALL = "data-interrupted-call"
COPIES = "gateway=2,command=2,runner=3,reactor=2"
SHOWN = 40

# Starting, some 80 s of chaos, waiting for what is purged and erased in the end, and reading all of it.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    """What is found while everything runs; the tests add what the evidence says."""
    return Verdict()


@pytest.fixture(scope="module")
def evidence(
    tmp_path_factory: pytest.TempPathFactory, schedule: Schedule, verdict: Verdict, report: list[str]
) -> Evidence:
    """What comes of one run of the schedule."""
    folder, limits = tmp_path_factory.mktemp("chaos"), Limits()
    notes = folder / "demo" / "notes.jsonl"
    environment = limits.environment | {"DECOPILOT_DEMO_DIR": str(notes.parent)}
    report.append(f"--chaos-seed {schedule.seed} --chaos-seconds {schedule.seconds:g}; log: {folder / 'up.log'}")
    with running_stack(folder, "--scale", COPIES, env=environment) as stack:
        return asyncio.run(Conductor(stack, schedule, limits, notes, verdict).conduct())


def test_every_promise_is_kept_while_parts_are_killed_and_stopped_at_random(
    evidence: Evidence, verdict: Verdict, report: list[str]
) -> None:
    _judge(evidence, verdict)
    report += [*verdict.table(), *_figures(evidence)]
    report += [f"VIOLATION {promise}: {text}" for promise, text in verdict.violations[:SHOWN]]
    assert [] == verdict.violations[:SHOWN]
    assert [] == verdict.unchecked()


def test_a_breach_of_any_promise_would_be_found(evidence: Evidence) -> None:
    known = _broken(narrowed(evidence))
    found = {}
    for promise, plant in BREACHES:
        breached = narrowed(evidence)
        plant(breached)
        found[promise, plant.__name__] = _broken(breached)[promise] > known[promise]
    assert dict.fromkeys(found, True) == found
    assert set(PROMISES) == {promise for promise, _ in BREACHES}


def test_the_same_seed_draws_the_same_schedule() -> None:
    assert draw(7, 80) == draw(7, 80)
    assert draw(7, 80) != draw(8, 80)


def _judge(evidence: Evidence, verdict: Verdict) -> None:
    judge_runs(evidence, verdict)
    judge_threads(evidence, verdict)
    judge_viewers(evidence, verdict)


def _broken(evidence: Evidence) -> Counter[str]:
    verdict = Verdict()
    _judge(evidence, verdict)
    return Counter(promise for promise, _ in verdict.violations)


def _figures(evidence: Evidence) -> list[str]:
    ends: Counter[str] = Counter()
    dead = rewinds = handed_back = 0
    doubted: set[str] = set()
    for thread in evidence.threads.values():
        for run in thread.runs.values():
            for end in run.ends:
                parts = () if end.message is None else end.message.parts
                doubted |= {part["id"] for part in parts if part["type"] == INTERRUPTED_CALL}
                ends[f"{end.type.removeprefix('run_')} {getattr(end, 'reason', '')}".strip()] += 1
            handed_back += len(run.starts) - run.failed_attempts
            dead += max(run.failed_attempts - 1, 0)
            rewinds += sum(frame.rewinds for frame in run.frames)
    connections = [connection for viewer in evidence.viewers for connection in viewer.stream.connections]
    events = [event for connection in connections for event in connection.events]
    resets = sum(b'"data-thread-reset"' in event.data for event in events)
    slowest = sorted(takeovers(evidence), key=lambda found: found[0], reverse=True)[:3]
    return [
        f"{len(evidence.hits)} faults: {counted(Counter(hit.kind for hit in evidence.hits))}",
        f"{ends.total()} runs: {counted(ends)}",
        f"{dead} takeovers of dead runners, {handed_back} handed back, {rewinds} rewinds",
        f"{len(evidence.notes)} calls left a mark, {len(doubted)} calls were in doubt",
        f"{len(evidence.viewers)} viewers: {len(events)} chunks over {len(connections)} connections, {resets} resets",
        f"answers: {counted(evidence.ledger.answers)}",
        f"longest takeovers: {', '.join(f'{took.total_seconds():.1f} s ({run.text})' for took, run in slowest)}",
    ]
