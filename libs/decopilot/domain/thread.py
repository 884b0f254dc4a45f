"""What a thread is: the state that its events add up to."""

from typing import Any, assert_never

from pydantic import Field

from decopilot.contracts.commands import RunStatus
from decopilot.contracts.events import (
    Event,
    RunCompleted,
    RunFailed,
    RunRequested,
    RunRequiresAction,
    RunStarted,
    StepCompleted,
    Terminal,
)
from decopilot.contracts.frames import Cursor
from decopilot.contracts.ids import MessageId, RunId
from decopilot.contracts.messages import Frozen, Usage

FOLD_VERSION = 1
"""Raised whenever `evolve` or the state's shape changes: snapshots of another version are ignored."""


class ActiveRun(Frozen):
    """The one run that a thread may have at a time."""

    requested: RunRequested
    attempt: int = 0
    steps: int = 0


class Sent(Frozen):
    """What a user's message led to; kept for the thread's life, so that a repeat is recognised."""

    run_id: RunId
    message_hash: str
    status: RunStatus
    last_frame: int
    last_index: int


class MessageRef(Frozen):
    """A message in its place; `last_frame` is the closing frame it was folded up to, 0 for a user's own."""

    id: MessageId
    last_frame: int = 0


class ThreadState(Frozen):
    """A thread at one position of its event log; without an owner it does not exist yet."""

    owner: str | None = None
    agent_id: str = ""
    title: str = ""
    visibility: str = "org"
    created_at: str = ""
    updated_at: str = ""
    status: RunStatus = "completed"
    active: ActiveRun | None = None
    sent: dict[MessageId, Sent] = Field(default_factory=dict)
    messages: tuple[MessageRef, ...] = ()
    usage: Usage = Usage()
    last_frame: int = 0
    last_index: int = 0

    @property
    def cursor(self) -> Cursor:
        """The position behind everything that has ended: where the active run's chunks begin."""
        return Cursor(self.last_frame, self.last_index)


INITIAL = ThreadState()


def evolve(state: ThreadState, event: Event) -> ThreadState:
    """Apply one event; an event that was recorded can't be refused."""
    match event:
        case RunRequested():
            return _requested(state, event)
        case RunStarted():
            return _on_active(state, event.run_id, attempt=event.attempt)
        case StepCompleted():
            return _on_active(state, event.run_id, steps=event.step)
        case RunCompleted():
            return _ended(state, event, "completed")
        case RunRequiresAction():
            return _ended(state, event, "requires_action")
        case RunFailed():
            return _ended(state, event, "failed")
        case _:
            assert_never(event)


def _requested(state: ThreadState, event: RunRequested) -> ThreadState:
    at = event.at.isoformat()
    created = event.thread
    if created is not None:
        state = ThreadState(
            owner=created.owner,
            agent_id=created.agent_id,
            title=created.title,
            visibility=created.visibility,
            created_at=at,
        )
    sent = Sent(
        run_id=event.run_id,
        message_hash=event.message_hash,
        status="in_progress",
        last_frame=state.last_frame,
        last_index=state.last_index,
    )
    return state.model_copy(
        update={
            "updated_at": at,
            "status": "in_progress",
            "active": ActiveRun(requested=event),
            "sent": state.sent | {event.message.id: sent},
            "messages": (*state.messages, MessageRef(id=event.message.id)),
        }
    )


def _on_active(state: ThreadState, run_id: RunId, **changes: int) -> ThreadState:
    if state.active is None or state.active.requested.run_id != run_id:
        return state
    return state.model_copy(update={"active": state.active.model_copy(update=changes)})


def _ended(state: ThreadState, event: Terminal, status: RunStatus) -> ThreadState:
    if state.active is None or state.active.requested.run_id != event.run_id:
        return state
    asked = state.active.requested.message.id
    changes: dict[str, Any] = {
        "updated_at": event.at.isoformat(),
        "status": status,
        "active": None,
        "sent": state.sent | {asked: state.sent[asked].model_copy(update={"status": status})},
        "usage": state.usage.plus(event.usage),
        "last_frame": event.last_frame,
        "last_index": event.last_index,
    }
    if event.message is not None:
        changes["messages"] = (*state.messages, MessageRef(id=event.message.id, last_frame=event.last_frame))
    return state.model_copy(update=changes)
