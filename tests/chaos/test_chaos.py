"""Which promise breaks when parts are killed and stopped at random? Replay: `pytest tests/chaos --chaos-seed N`."""

import asyncio
import io
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from chaos.breaches import BREACHES
from chaos.narrowing import narrowed
from decopilot.cli.chaos.conducting import Conductor
from decopilot.cli.chaos.evidence import Evidence, Limits
from decopilot.cli.chaos.judging import judge
from decopilot.cli.chaos.outcome import Outcome
from decopilot.cli.chaos.reporting import page_of, show
from decopilot.cli.chaos.rounds import BROKEN, status_of
from decopilot.cli.chaos.schedule import Schedule, draw
from decopilot.cli.chaos.summing import sum_up
from decopilot.cli.chaos.verdict import PROMISES, Verdict
from support.stack import running_stack

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
    # Its supervisor is another process than its judge, and no proxy lies between: a busy machine bears that, too.
    with running_stack(folder, "--scale", COPIES, env=environment) as stack:
        return asyncio.run(Conductor(stack, schedule, limits, notes, verdict).conduct())


def test_every_promise_is_kept_while_parts_are_killed_and_stopped_at_random(
    evidence: Evidence, verdict: Verdict, schedule: Schedule, report: list[str], tmp_path: Path
) -> None:
    judge(evidence, verdict)
    outcome = _outcome(evidence, verdict, schedule)
    (tmp_path / "chaos.json").write_text(outcome.to_json())
    (tmp_path / "chaos.html").write_text(page_of(outcome))
    report += [*_told(outcome), f"page and JSON, unless all is well: {tmp_path}"]
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


def test_a_breach_is_the_status_that_the_command_ends_with(evidence: Evidence, schedule: Schedule) -> None:
    breached, verdict = narrowed(evidence), Verdict()
    dict(BREACHES)["NO-GAP"](breached)
    judge(breached, verdict)
    assert status_of(_outcome(breached, verdict, schedule)) == BROKEN


def test_the_same_seed_draws_the_same_schedule() -> None:
    assert draw(7, 80) == draw(7, 80)
    assert draw(7, 80) != draw(8, 80)


def _broken(evidence: Evidence) -> Counter[str]:
    verdict = Verdict()
    judge(evidence, verdict)
    return Counter(promise for promise, _ in verdict.violations)


def _outcome(evidence: Evidence, verdict: Verdict, schedule: Schedule) -> Outcome:
    return sum_up(
        evidence,
        verdict,
        schedule,
        started_at=min(recorded.at for recorded in evidence.recorder.events.values()),
        target=COPIES,
        command=f"pytest tests/chaos --chaos-seed {schedule.seed} --chaos-seconds {schedule.seconds:g}",
        server_version="of this repository",
    )


def _told(outcome: Outcome) -> list[str]:
    out = io.StringIO()
    show(outcome, Console(file=out, width=120))
    return out.getvalue().splitlines()
