"""Which watch events a thread's event causes, in their order."""

from typing import Any, assert_never

from decopilot.contracts.events import (
    InteractionsDenied,
    InteractionsResolved,
    Recorded,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunHandedBack,
    RunQueued,
    RunRequested,
    RunRequiresAction,
    RunStarted,
    RunWithdrawn,
    StepCompleted,
    ThreadArchived,
    ThreadDeleted,
    ThreadForked,
    ThreadTitled,
    ThreadVisibilitySet,
)
from decopilot.contracts.watch import (
    FINISH,
    STEP,
    THREAD_ARCHIVED,
    THREAD_DELETED,
    THREAD_FORKED,
    THREAD_INTERACTIONS,
    THREAD_QUEUE,
    THREAD_STATUS,
    THREAD_TITLED,
    THREAD_VISIBILITY,
    WatchEvent,
)


def watch_events_of(recorded: Recorded) -> list[tuple[str, WatchEvent]]:  # noqa: C901, PLR0912  one case per event
    """Tell the watch events that an event causes, each with its kind: derived from it alone."""
    event = recorded.event
    told: list[tuple[str, dict[str, Any]]]
    match event:
        case RunRequested():
            told = [(THREAD_STATUS, {"status": "in_progress"})]
        case RunQueued():
            told = [(THREAD_QUEUE, {"messageId": event.message.id, "runId": event.run_id, "status": "queued"})]
        case RunWithdrawn():
            told = [(THREAD_QUEUE, {"runId": event.run_id, "status": "withdrawn"})]
        case RunStarted() | RunHandedBack() | RunCancelRequested():
            told = []
        case InteractionsResolved():
            told = [(THREAD_INTERACTIONS, {"runId": event.run_id, "resolved": len(event.resolutions)})]
        case StepCompleted():
            told = [(STEP, {"stepCount": event.step})]
        case RunCompleted():
            told = _ended("completed")
        case RunRequiresAction():
            told = _ended("requires_action")
        case RunFailed():
            told = _ended("failed", event.reason)
        case InteractionsDenied():
            told = [(THREAD_STATUS, {"status": "completed"})]
        case ThreadTitled():
            told = [(THREAD_TITLED, {})]
        case ThreadArchived():
            told = [(THREAD_ARCHIVED, {"archived": event.archived})]
        case ThreadVisibilitySet():
            told = [(THREAD_VISIBILITY, {"visibility": event.visibility})]
        case ThreadForked():
            told = [(THREAD_FORKED, {"source": event.source, "messageId": event.until})]
        case ThreadDeleted():
            told = [(THREAD_DELETED, {})]
        case _:
            assert_never(event)
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


def _ended(status: str, reason: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    told = {"status": status} if reason is None else {"status": status, "reason": reason}
    return [(THREAD_STATUS, told), (FINISH, dict(told))]
