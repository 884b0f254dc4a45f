"""Which watch events a thread's event causes, in their order."""

from typing import Any

from decopilot.contracts.events import Recorded, RunCompleted, RunFailed, RunRequested, RunStarted, StepCompleted
from decopilot.contracts.watch import FINISH, STEP, THREAD_STATUS, WatchEvent


def watch_events_of(recorded: Recorded) -> list[tuple[str, WatchEvent]]:
    """Tell the watch events that an event causes, each with its kind: derived from it alone."""
    event = recorded.event
    told: list[tuple[str, dict[str, Any]]]
    match event:
        case RunRequested():
            told = [(THREAD_STATUS, {"status": "in_progress"})]
        case RunStarted():
            told = []
        case StepCompleted():
            told = [(STEP, {"stepCount": event.step})]
        case RunCompleted():
            told = _ended("completed")
        case RunFailed():
            told = _ended("failed")
        case _:
            told = _ended("requires_action")
    return [
        (
            kind,
            WatchEvent(
                id=f"{recorded.sequence}-{ordinal}",
                type=f"decopilot.{kind}",
                subject=recorded.thread,
                data=data,
                time=event.at,
            ),
        )
        for ordinal, (kind, data) in enumerate(told)
    ]


def _ended(status: str) -> list[tuple[str, dict[str, Any]]]:
    return [(THREAD_STATUS, {"status": status}), (FINISH, {"status": status})]
