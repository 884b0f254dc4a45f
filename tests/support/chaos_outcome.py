"""An outcome of a chaos run that never was: what is reported can be looked at without one."""

import random
from datetime import UTC, datetime, timedelta

from decopilot.cli.chaos.outcome import (
    Fault,
    Load,
    Machine,
    Outcome,
    Progress,
    Promise,
    Recovery,
    Silence,
    Unchecked,
)
from decopilot.cli.chaos.promises import KNOWN

BEGAN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SECONDS = 80.0
KINDS = ("driver KILL", "driver STOP", "gateway KILL", "nats STOP", "reactor TERM")


def made_up(*violations: tuple[str, str], unchecked: tuple[str, ...] = (), is_interrupted: bool = False) -> Outcome:
    """Make up an outcome with these violations, by their promises."""
    chance = random.Random(1)
    faults = [_fault(chance, KINDS[number % len(KINDS)]) for number in range(60)]
    recoveries = [
        Recovery(
            promise=promise,
            kind=fault.kind,
            at_s=fault.at_s,
            seconds=round(chance.lognormvariate(0, 1), 3),
        )
        for promise, known in KNOWN.items()
        for fault in faults
        if known.recovery is not None
    ]
    return Outcome(
        seed=7,
        seconds=SECONDS,
        started_at=BEGAN,
        ended_at=BEGAN + timedelta(seconds=110),
        target="one broker, 9 processes",
        command="decopilot chaos --seed 7 --seconds 80",
        parameters={"threads": 14, "pace": 1.0},
        is_interrupted=is_interrupted,
        versions={"decopilot": "0.1.0", "nats-server": "2.12.1", "python": "3.11.9"},
        machine=Machine(cores=2, system="Linux 6.1 x86_64"),
        load=Load(
            threads=14,
            posts=404,
            runs={"completed": 350, "failed cancelled": 31, "requires_action": 23},
            viewers=90,
            watchers=3,
            chunks=123_456,
            connections=2_345,
            answers={"post 202": 404},
        ),
        faults=tuple(faults),
        promises=tuple(
            Promise(
                name=name,
                meaning=known.meaning,
                tries=0 if name in unchecked else 1_234,
                violations=tuple(text for promise, text in violations if promise == name),
                recovery=known.recovery,
                worst_recovery_s=max((one.seconds for one in recoveries if one.promise == name), default=None),
            )
            for name, known in KNOWN.items()
        ),
        unchecked=tuple(Unchecked(name=name, reason="no thread was deleted") for name in unchecked),
        recoveries=tuple(recoveries),
        silences=tuple(
            Silence(viewer="chaos-1/steady", at_s=chance.uniform(0, SECONDS), seconds=chance.lognormvariate(0, 0.8))
            for _ in range(120)
        ),
        progress=tuple(Progress(at_s=at_s, chunks=chance.randint(0, 900)) for at_s in range(int(SECONDS))),
        limits=("Machines are not switched off.",),
    )


def _fault(chance: random.Random, kind: str) -> Fault:
    at_s = round(chance.uniform(2, SECONDS), 3)
    ended_s = round(at_s + chance.uniform(1, 6), 3) if kind.endswith("STOP") else None
    return Fault(kind=kind, target="pid 4711", at_s=at_s, ended_s=ended_s)
