"""Summing up: the outcome of a run, from what everybody saw and what the judges said of it."""

import os
import platform
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from decopilot.cli.chaos.evidence import Evidence
from decopilot.cli.chaos.measuring import progress, recoveries, silences
from decopilot.cli.chaos.outcome import (
    Fault,
    Load,
    Machine,
    Outcome,
    Promise,
    Recovery,
    Unchecked,
    since_s,
)
from decopilot.cli.chaos.promises import KNOWN
from decopilot.cli.chaos.sabotage import Hit
from decopilot.cli.chaos.schedule import Schedule
from decopilot.cli.chaos.verdict import Verdict
from decopilot.contracts.chunks import RESET

INTERRUPTED_CALL = "data-interrupted-call"
LIMITS = (
    "Processes are killed and stopped, machines are not: that what is acknowledged outlives a power cut is not tried.",
    "Everything shares one machine and one clock; times are those of that machine, busy with all of it.",
    "Answers come from a built-in model with a fixed pace: no real provider's failures are tried.",
    "One seed draws one schedule; the machine decides what it hits, so a seed repeats the wishes, not every race.",
)


def sum_up(
    evidence: Evidence,
    verdict: Verdict,
    schedule: Schedule,
    *,
    started_at: datetime,
    target: str,
    command: str,
    server_version: str,
    parameters: Mapping[str, str | float | bool | None] | None = None,
    unchecked: Mapping[str, str] | None = None,
    is_interrupted: bool = False,
    limits: Sequence[str] = LIMITS,
) -> Outcome:
    """Sum up; `started_at` is when the load began, `unchecked` gives reasons for promises nothing spoke of, by name."""
    reasons = unchecked or {}
    found = tuple(recoveries(evidence, started_at))
    return Outcome(
        seed=schedule.seed,
        seconds=schedule.seconds,
        started_at=started_at,
        ended_at=datetime.now(UTC),
        target=target,
        command=command,
        parameters=dict(parameters or {}),
        is_interrupted=is_interrupted,
        versions={
            "decopilot": version("decopilot"),
            "nats-server": server_version,
            "python": platform.python_version(),
        },
        machine=Machine(cores=cores(), system=f"{platform.system()} {platform.release()} {platform.machine()}"),
        load=load_of(evidence),
        faults=tuple(_fault(hit, started_at) for hit in evidence.hits),
        promises=tuple(_promise(name, verdict, found) for name in KNOWN),
        unchecked=tuple(
            Unchecked(name=name, reason=reasons.get(name, "nothing that was done or seen spoke of it"))
            for name in verdict.unchecked()
        ),
        recoveries=found,
        silences=tuple(silences(evidence, started_at)),
        progress=tuple(progress(evidence, started_at, schedule.seconds)),
        limits=tuple(limits),
    )


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _fault(hit: Hit, started_at: datetime) -> Fault:
    ended_s = since_s(started_at, hit.ended) if hit.ended > hit.began else None
    return Fault(kind=hit.kind, target=f"pid {hit.pid}", at_s=since_s(started_at, hit.began), ended_s=ended_s)


def _promise(name: str, verdict: Verdict, found: Sequence[Recovery]) -> Promise:
    known = KNOWN[name]
    return Promise(
        name=name,
        meaning=known.meaning,
        tries=verdict.checks[name],
        violations=tuple(text for promise, text in verdict.violations if promise == name),
        recovery=known.recovery,
        worst_recovery_s=max((one.seconds for one in found if one.promise == name), default=None),
    )


def load_of(evidence: Evidence) -> Load:
    """Count what was asked of the system, and how its runs ended."""
    ends: Counter[str] = Counter()
    doubted: set[str] = set()
    dead = handed_back = rewinds = 0
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
    return Load(
        threads=len(evidence.threads),
        posts=len(evidence.ledger.posts),
        runs=dict(ends),
        takeovers=dead,
        handed_back=handed_back,
        rewinds=rewinds,
        calls=len(evidence.notes),
        doubtful_calls=len(doubted),
        viewers=len(evidence.viewers),
        watchers=len(evidence.watchers),
        chunks=len(events),
        connections=len(connections),
        resets=sum(f'"{RESET}"'.encode() in event.data for event in events),
        answers=dict(evidence.ledger.answers),
    )
