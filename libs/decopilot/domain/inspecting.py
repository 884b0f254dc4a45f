"""Inspecting: what a thread's events tell of each of its runs."""

import re

from decopilot.contracts.events import (
    Recorded,
    RunCompleted,
    RunFailed,
    RunQueued,
    RunRequested,
    RunRequiresAction,
    RunStarted,
    RunWithdrawn,
    StepCompleted,
)
from decopilot.contracts.ids import RunId
from decopilot.contracts.views import RunSummary

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


class Runs:
    """The runs of a thread: fed with its events, from the first one on, in order."""

    def __init__(self) -> None:
        self._known: dict[RunId, RunSummary] = {}

    def add(self, recorded: Recorded) -> None:
        """Take one event; what is about no run tells nothing."""
        event = recorded.event
        match event:
            case RunQueued():
                self._known[event.run_id] = _asked_for(recorded, event, "queued")
            case RunRequested():
                # A queued one was asked for when it was queued.
                asked = self._known.get(event.run_id) or _asked_for(recorded, event, "queued")
                self._known[event.run_id] = asked.model_copy(update={"status": "in_progress"})
            case RunWithdrawn():
                self._change(event.run_id, status="withdrawn", ended_at=recorded.at)
            case RunStarted():
                known = self._known.get(event.run_id)
                begun = recorded.at if known is None or known.started_at is None else known.started_at
                self._change(event.run_id, attempts=event.attempt, started_at=begun)
            case StepCompleted():
                self._change(event.run_id, steps=event.step, usage=event.usage)
            case RunCompleted():
                self._change(event.run_id, status="completed", ended_at=recorded.at, usage=event.usage)
            case RunRequiresAction():
                self._change(event.run_id, status="requires_action", ended_at=recorded.at, usage=event.usage)
            case RunFailed():
                self._change(
                    event.run_id, status="failed", ended_at=recorded.at, usage=event.usage, reason=event.reason
                )
            case _:
                pass

    def get(self, run: RunId) -> RunSummary | None:
        """Tell of one run."""
        return self._known.get(run)

    def newest_first(self) -> list[RunSummary]:
        """Tell of every run, the one that was asked for last first."""
        return [*reversed(self._known.values())]

    def _change(self, run: RunId, **changes: object) -> None:
        known = self._known.get(run)
        if known is not None:
            self._known[run] = known.model_copy(update=changes)


def _asked_for(recorded: Recorded, event: RunRequested | RunQueued, status: str) -> RunSummary:
    regenerates = event.regenerates if isinstance(event, RunRequested) else None
    return RunSummary.model_validate(
        {
            "run_id": event.run_id,
            "status": status,
            "user_id": event.user_id,
            "message_id": regenerates if event.message is None else event.message.id,
            "answer_id": event.assistant_id,
            "continues": event.continues if isinstance(event, RunRequested) else None,
            "regenerates": regenerates,
            "requested_at": recorded.at,
            "agent_id": event.config.agent_id,
            "tier": event.config.tier,
            "model": event.config.model,
            "mode": event.config.mode,
            "trace_id": trace_id_of(event.traceparent) or trace_id_of(recorded.traceparent),
        }
    )


def trace_id_of(traceparent: str | None) -> str | None:
    """Read the trace id out of a `traceparent` (W3C Trace Context); None where it is none."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    return None if match is None else match[1]
