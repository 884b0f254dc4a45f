"""Where a run stands among traces: what its spans are called by, and what they are linked to (ADR 0046)."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from decopilot.contracts.events import Event, Recorded, RunFailed, RunQueued, RunRequested, RunStarted, run_of
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.domain.inspecting import trace_id_of

ORG, THREAD, RUN, ATTEMPT = "decopilot.org.id", "decopilot.thread.id", "decopilot.run.id", "decopilot.attempt"
AGENT, MODEL = "decopilot.agent.id", "decopilot.model.id"
RUNNER = "decopilot.runner.id"
FAILURE = "decopilot.run.failure"
LOST = "decopilot.attempt.lost"
"""Of an attempt's span that somebody else wrote: its runner died."""
LINK = "decopilot.link"
"""Why a span is linked to another one."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What the log holds of an attempt: who began it, when, and when a chunk of it was last stored."""

    org: OrgId
    thread: ThreadId
    started: RunStarted
    began: datetime
    heard: datetime


def origin(recorded: Recorded) -> dict[str, str]:
    """Tell the headers of the trace that an event belongs to: a run that waited has its own request's.

    What promoted it was a part of another run's trace.
    """
    event = recorded.event
    if isinstance(event, RunRequested) and promoter(recorded) is not None:
        return asked_in(event)
    return {} if recorded.traceparent is None else {**recorded.trace, "traceparent": recorded.traceparent}


def promoter(recorded: Recorded) -> str | None:
    """Tell in what context a run that waited was given its turn, where that was another trace's than its own."""
    own = recorded.event.traceparent if isinstance(recorded.event, RunRequested) else None
    mine, theirs = trace_id_of(own), trace_id_of(recorded.traceparent)
    return None if mine is None or theirs is None or mine == theirs else recorded.traceparent


def asked_in(event: RunRequested | RunQueued) -> dict[str, str]:
    """Tell the headers of the trace in which a run was asked for."""
    told = {"traceparent": event.traceparent, "tracestate": event.tracestate, "baggage": event.baggage}
    return {name: value for name, value in told.items() if value is not None}


def attempt_span_id(run: RunId, attempt: int) -> int:
    """Tell the id of an attempt's span: whoever takes a dead runner's run over knows it without being told."""
    digest = hashlib.sha256(f"{run}/{attempt}".encode()).digest()
    return int.from_bytes(digest[:8], "big") or 1


def attributes_of(event: Event) -> dict[str, str | int]:
    """Tell what the spans about an event are called by, beside its org and thread."""
    told: dict[str, str | int] = {}
    run, attempt = run_of(event), getattr(event, "attempt", None)
    if run is not None:
        told[RUN] = run
    if isinstance(attempt, int):
        told[ATTEMPT] = attempt
    if isinstance(event, RunFailed):
        told[FAILURE] = event.reason
    return told
