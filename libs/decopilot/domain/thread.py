"""What a thread is: the state that its events add up to."""

from typing import Any, Literal, assert_never

from pydantic import Field

from decopilot.contracts.commands import RunStatus, ThreadStatus, Visibility
from decopilot.contracts.events import (
    Event,
    FailureReason,
    InteractionsDenied,
    InteractionsResolved,
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
    Terminal,
    ThreadArchived,
    ThreadCreated,
    ThreadDeleted,
    ThreadForked,
    ThreadTitled,
    ThreadVisibilitySet,
)
from decopilot.contracts.frames import Cursor
from decopilot.contracts.ids import MessageId, RunId, ThreadId, UserId
from decopilot.contracts.interactions import Interaction, Resolution
from decopilot.contracts.messages import Frozen, MessageRole, RunConfig, Usage
from decopilot.domain.access import Room

FOLD_VERSION = 5
"""Raised whenever `evolve` or the state's shape changes: snapshots of another version are ignored."""


class ActiveRun(Frozen):
    """The one run that a thread may have at a time."""

    requested: RunRequested
    attempt: int = 0
    failed: int = 0
    """How many attempts before the present one have failed since the run last came on by a step."""
    is_let_go: bool = False
    """Whether the present attempt is one of them: nobody drives the run."""
    steps: int = 0
    cancel: Literal["cancelled", "superseded"] | None = None
    """Why its end was asked for, if it was."""
    cancelled_by: UserId | None = None

    @property
    def run_id(self) -> RunId:
        """The run's id."""
        return self.requested.run_id

    @property
    def failed_attempts(self) -> int:
        """How many attempts have failed in a row, if the present one has; one that was handed back has not."""
        return self.failed + (1 if self.attempt and not self.is_let_go else 0)


class Waiting(Frozen):
    """A run that ended with `requires_action`, and that nobody has answered yet."""

    run_id: RunId
    assistant_id: MessageId
    config: RunConfig
    pending: tuple[Interaction, ...] = ()
    resolved: tuple[Resolution, ...] = ()
    dropped_by: UserId | None = None
    """Who had asked for the run's end by then: nobody is to answer, and whoever sees it first says so."""


class Settled(Frozen):
    """What came of an interaction: `digest` is of the resolution, `run_id` the run that waited for it.

    `message_id` is the answer that it stands in: another answer may have a tool call of the same id.
    """

    run_id: RunId
    message_id: MessageId
    verdict: str
    digest: str = ""
    continued_by: RunId | None = None


class RunRecord(Frozen):
    """A run as it stands; the position is the one before its first chunk."""

    status: RunStatus
    last_frame: int
    last_index: int

    @property
    def cursor(self) -> Cursor:
        """The position before its first chunk, or before that of a run it waits for."""
        return Cursor(self.last_frame, self.last_index)


class Sent(Frozen):
    """What a user's message led to; kept for the thread's life, so that a repeat is recognised."""

    run_id: RunId
    message_hash: str


class MessageRef(Frozen):
    """A message in its place; `last_frame` is the closing frame it was folded up to, 0 where this thread has none."""

    id: MessageId
    last_frame: int = 0
    role: MessageRole = "assistant"


class ForkedFrom(Frozen):
    """The message of another thread up to which this one took over what that held; and what had been asked for."""

    source: ThreadId
    until: MessageId
    asked_until: MessageId | None = None


class ThreadState(Frozen):
    """A thread at one position of its event log; without an owner it does not exist, yet or any more."""

    owner: str | None = None
    agent_id: str = ""
    title: str = ""
    is_titled: bool = False
    """Whether the title was given, by a person or once by a model: no model is to find another one."""
    first_title: str = ""
    """What the thread was called when it began: its first words, where nobody had given it a title."""
    is_archived: bool = False
    """Whether it was put aside; a user's next message takes it back."""
    visibility: Visibility = "org"
    forked: ForkedFrom | None = None
    created_at: str = ""
    updated_at: str = ""
    status: ThreadStatus = "completed"
    failure: FailureReason | None = None
    """Why the last run failed, if it did."""
    active: ActiveRun | None = None
    queue: tuple[RunQueued, ...] = ()
    waiting: Waiting | None = None
    settled: dict[str, Settled] = Field(default_factory=dict)
    sent: dict[MessageId, Sent] = Field(default_factory=dict)
    runs: dict[RunId, RunRecord] = Field(default_factory=dict)
    messages: tuple[MessageRef, ...] = ()
    dropped: dict[MessageId, RunId | None] = Field(default_factory=dict)
    """Messages that left the thread, whose ids stay taken; an answer that was made anew with the run that did so."""
    regenerations: dict[RunId, MessageId] = Field(default_factory=dict)
    """The runs that answered a message anew, each with that message."""
    usage: Usage = Usage()
    last_frame: int = 0
    last_index: int = 0
    is_deleted: bool = False
    was_private_to: str | None = None
    """Whose private thread it was, of a deleted one."""

    @property
    def room(self) -> Room | None:
        """What decides who may enter; None where there is no thread."""
        return None if self.owner is None else Room(self.owner, self.visibility)

    @property
    def private_to(self) -> str | None:
        """Who may know of it beside the org's owners; None where all of the org may."""
        return self.was_private_to if self.room is None else self.room.private_to

    @property
    def cursor(self) -> Cursor:
        """The position behind everything that has ended: where the active run's chunks begin."""
        return Cursor(self.last_frame, self.last_index)

    @property
    def may_begin(self) -> bool:
        """Whether a run that is wished for now starts at once.

        Between the end of a run and its turn the queue's head has nobody before it, but a claim all the same.
        """
        return self.active is None and not (self.queue and self.may_promote)

    @property
    def may_promote(self) -> bool:
        """Whether the thread is to go on by itself: it is the turn of the queue's head, or what waits was dropped."""
        if self.waiting is not None:
            return self.waiting.dropped_by is not None
        return bool(self.queue) and self.active is None


INITIAL = ThreadState()


def evolve(state: ThreadState, event: Event) -> ThreadState:  # noqa: C901, PLR0911, PLR0912  one case per event
    """Apply one event; an event that was recorded can't be refused."""
    match event:
        case RunRequested():
            return _requested(state, event)
        case RunQueued():
            return _queued(state, event)
        case RunWithdrawn():
            return _without(state, event.run_id, "withdrawn")
        case RunStarted():
            failed = 0 if state.active is None else state.active.failed_attempts
            return _on_active(state, event.run_id, attempt=event.attempt, failed=failed, is_let_go=False)
        case RunHandedBack():
            return _handed_back(state, event)
        case RunCancelRequested():
            return _on_active(state, event.run_id, cancel=event.reason, cancelled_by=event.user_id)
        case StepCompleted():
            return _on_active(state, event.run_id, steps=event.step, failed=0)
        case RunCompleted():
            return _ended(state, event, "completed")
        case RunRequiresAction():
            return _ended(state, event, "requires_action")
        case RunFailed():
            return _ended(state, event, "failed")
        case InteractionsResolved():
            return _resolved(state, event)
        case InteractionsDenied():
            return _denied(state).model_copy(update={"status": "completed", "updated_at": event.at.isoformat()})
        case ThreadTitled():
            titled = {"title": event.title, "is_titled": True, "updated_at": event.at.isoformat()}
            return state.model_copy(update=titled)
        case ThreadArchived():
            return state.model_copy(update={"is_archived": event.archived, "updated_at": event.at.isoformat()})
        case ThreadVisibilitySet():
            return state.model_copy(update={"visibility": event.visibility, "updated_at": event.at.isoformat()})
        case ThreadForked():
            return _forked(event)
        case ThreadDeleted():
            # What is active must be ended yet; of all else nothing stays.
            kept = state.model_dump(include={"last_frame", "last_index"})
            status: ThreadStatus = "completed" if state.active is None else "in_progress"
            return ThreadState(
                is_deleted=True,
                was_private_to=event.private_to,
                status=status,
                active=state.active,
                runs=state.runs,
                **kept,
            )
        case _:
            assert_never(event)


def _requested(state: ThreadState, event: RunRequested) -> ThreadState:
    at = event.at.isoformat()
    if event.thread is not None:
        state = _created(event.thread, at)
    if event.continues is not None:
        state = _continued(state, event)
    if event.regenerates is not None:
        state = _regenerated(state, event.regenerates, event.run_id)
    # A queued message was new when it was queued: what was archived since stays so.
    is_new = event.message is not None and all(queued.run_id != event.run_id for queued in state.queue)
    state = _without(_denied(state), event.run_id, "in_progress")
    changes: dict[str, Any] = {
        "updated_at": at,
        "status": "in_progress",
        "failure": None,
        "active": ActiveRun(requested=event),
        "is_archived": state.is_archived and not is_new,
    }
    if event.message is not None:
        sent = Sent(run_id=event.run_id, message_hash=event.message_hash)
        changes["sent"] = state.sent | {event.message.id: sent}
        changes["messages"] = (*state.messages, MessageRef(id=event.message.id, role="user"))
    return state.model_copy(update=changes)


def _created(created: ThreadCreated, at: str) -> ThreadState:
    return ThreadState(
        owner=created.owner,
        agent_id=created.agent_id,
        title=created.title,
        first_title=created.title,
        is_titled=created.is_titled,
        visibility=created.visibility,
        created_at=at,
    )


def _forked(event: ThreadForked) -> ThreadState:
    at = event.at.isoformat()
    changes: dict[str, Any] = {
        "updated_at": at,
        "forked": ForkedFrom(source=event.source, until=event.until, asked_until=event.asked_until),
        "messages": tuple(MessageRef(id=message.id, role=message.role) for message in event.messages),
    }
    return _created(event.thread, at).model_copy(update=changes)


def _regenerated(state: ThreadState, question: MessageId, run_id: RunId) -> ThreadState:
    """Let everything behind a user's message leave the thread; what stood right behind it was its answer."""
    kept = next((place for place, ref in enumerate(state.messages, 1) if ref.id == question), len(state.messages))
    gone = state.messages[kept:]
    answers = {ref.id: run_id for ref in gone[:1] if ref.role == "assistant"}
    dropped = dict.fromkeys((ref.id for ref in gone), None) | answers
    changes = {
        "messages": state.messages[:kept],
        "dropped": state.dropped | dropped,
        "regenerations": state.regenerations | {run_id: question},
    }
    return state.model_copy(update=changes)


def _continued(state: ThreadState, event: RunRequested) -> ThreadState:
    settled = {
        resolution.key: Settled(
            run_id=event.continues or event.run_id,
            message_id=event.assistant_id,
            verdict=resolution.verdict,
            digest=resolution.digest,
            continued_by=event.run_id,
        )
        for resolution in event.resolutions
    }
    return state.model_copy(update={"settled": state.settled | settled, "waiting": None})


def _denied(state: ThreadState) -> ThreadState:
    """Nobody will answer any more what the thread waits for."""
    if state.waiting is None:
        return state
    asked = (*state.waiting.pending, *state.waiting.resolved)
    dropped = Settled(run_id=state.waiting.run_id, message_id=state.waiting.assistant_id, verdict="denied")
    denied = {interaction.key: dropped for interaction in asked}
    return state.model_copy(update={"waiting": None, "settled": state.settled | denied})


def _queued(state: ThreadState, event: RunQueued) -> ThreadState:
    changes: dict[str, Any] = {
        "updated_at": event.at.isoformat(),
        "is_archived": False,
        "queue": (event, *state.queue) if event.interrupts else (*state.queue, event),
        "sent": state.sent | {event.message.id: Sent(run_id=event.run_id, message_hash=event.message_hash)},
        "runs": state.runs | {event.run_id: _record(state, "queued")},
    }
    state = state.model_copy(update=changes)
    if event.supersedes is None or state.active is None or state.active.cancel is not None:
        return state
    return _on_active(state, event.supersedes, cancel="superseded", cancelled_by=event.user_id)


def _without(state: ThreadState, run_id: RunId, status: RunStatus) -> ThreadState:
    """Take a run out of the queue, if it is in there, into this status."""
    queue = tuple(queued for queued in state.queue if queued.run_id != run_id)
    return state.model_copy(update={"queue": queue, "runs": state.runs | {run_id: _record(state, status)}})


def _record(state: ThreadState, status: RunStatus) -> RunRecord:
    return RunRecord(status=status, last_frame=state.last_frame, last_index=state.last_index)


def _on_active(state: ThreadState, run_id: RunId, **changes: Any) -> ThreadState:  # noqa: ANN401  fields of ActiveRun
    if state.active is None or state.active.run_id != run_id:
        return state
    return state.model_copy(update={"active": state.active.model_copy(update=changes)})


def _handed_back(state: ThreadState, event: RunHandedBack) -> ThreadState:
    if state.active is None or state.active.attempt != event.attempt:
        return state
    return _on_active(state, event.run_id, is_let_go=True)


def _ended(state: ThreadState, event: Terminal, status: ThreadStatus) -> ThreadState:
    active = state.active
    if active is None or active.run_id != event.run_id:
        return state
    record = state.runs[event.run_id].model_copy(update={"status": status})
    changes: dict[str, Any] = {
        "updated_at": event.at.isoformat(),
        "status": status,
        "failure": event.reason if isinstance(event, RunFailed) else None,
        "active": None,
        "runs": state.runs | {event.run_id: record},
        "usage": state.usage.plus(event.usage),
        "last_frame": event.last_frame,
        "last_index": event.last_index,
    }
    if event.message is not None:
        ref = MessageRef(id=event.message.id, last_frame=event.last_frame)
        # A continuation goes on with a message that has its place.
        is_known = any(known.id == ref.id for known in state.messages)
        earlier = tuple(ref if known.id == ref.id else known for known in state.messages) if is_known else ()
        changes["messages"] = earlier or (*state.messages, ref)
    if isinstance(event, RunRequiresAction) and not state.is_deleted:
        changes["waiting"] = Waiting(
            run_id=event.run_id,
            assistant_id=active.requested.assistant_id,
            config=active.requested.config,
            pending=event.pending,
            dropped_by=active.cancelled_by,
        )
    return state.model_copy(update=changes)


def _resolved(state: ThreadState, event: InteractionsResolved) -> ThreadState:
    waiting = state.waiting
    if waiting is None or waiting.run_id != event.run_id:
        return state
    done = {resolution.key for resolution in event.resolutions}
    changes = {
        "resolved": (*waiting.resolved, *event.resolutions),
        "pending": tuple(interaction for interaction in waiting.pending if interaction.key not in done),
    }
    return state.model_copy(update={"waiting": waiting.model_copy(update=changes), "updated_at": event.at.isoformat()})
