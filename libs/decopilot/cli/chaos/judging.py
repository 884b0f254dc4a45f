"""Judging: everything that was promised, by everything that is known."""

from decopilot.cli.chaos.evidence import Evidence
from decopilot.cli.chaos.judging_branches import judge_branches
from decopilot.cli.chaos.judging_runs import judge_runs
from decopilot.cli.chaos.judging_threads import judge_threads
from decopilot.cli.chaos.judging_viewers import judge_viewers
from decopilot.cli.chaos.judging_words import judge_words
from decopilot.cli.chaos.verdict import Verdict


def judge(evidence: Evidence, verdict: Verdict) -> None:
    """Judge everything."""
    judge_runs(evidence, verdict)
    judge_threads(evidence, verdict)
    judge_viewers(evidence, verdict)
    judge_branches(evidence, verdict)
    judge_words(evidence, verdict)
