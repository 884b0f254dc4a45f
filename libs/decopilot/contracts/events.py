"""The events of the log: the only truth there is."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, TypeAdapter

from decopilot.contracts.chunks import FinishReason
from decopilot.contracts.commands import Visibility
from decopilot.contracts.ids import Message, OrgId, Run, Thread, ThreadId, User
from decopilot.contracts.interactions import Interaction, Resolution
from decopilot.contracts.messages import Frozen, Kept, RunConfig, UIMessage, Usage

FailureReason = Literal["cancelled", "error", "crashed", "timed_out", "superseded", "undeliverable"]


class ThreadCreated(Frozen):
    """What the first event of a thread also says.

    With `is_titled` the title was given; otherwise it is made of the first message, and a model may find a better one.
    """

    owner: User
    agent_id: str
    title: str
    visibility: Visibility = "org"
    is_titled: bool = False


class RunRequested(Kept):
    """A run may start: it answers a user's message, or goes on with an answer whose interactions were resolved.

    A continuation has no message; `continues` names the run that waited, and both share `assistant_id`. Nor has one
    that answers anew: `regenerates` names the message of the thread that it answers, and with this event everything
    that stands behind that one leaves the thread.

    `traceparent`, of one that had to wait with `tracestate` and `baggage`, is where it was asked for.
    """

    type: Literal["run_requested"] = "run_requested"
    at: AwareDatetime
    run_id: Run
    user_id: User
    message: UIMessage | None = None
    message_hash: str = ""
    assistant_id: Message
    config: RunConfig
    thread: ThreadCreated | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    baggage: str | None = None
    continues: Run | None = None
    resolutions: tuple[Resolution, ...] = ()
    regenerates: Message | None = None


class RunQueued(Kept):
    """A user's message was accepted and waits its turn; with `supersedes` it asks for the end of that run."""

    type: Literal["run_queued"] = "run_queued"
    at: AwareDatetime
    run_id: Run
    user_id: User
    message: UIMessage
    message_hash: str
    assistant_id: Message
    config: RunConfig
    interrupts: bool = False
    supersedes: Run | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    baggage: str | None = None


class RunWithdrawn(Frozen):
    """A queued run will not start; it has no chunk log."""

    type: Literal["run_withdrawn"] = "run_withdrawn"
    at: AwareDatetime
    run_id: Run
    user_id: User


class RunStarted(Frozen):
    """A runner took the run up: one attempt begins."""

    type: Literal["run_started"] = "run_started"
    at: AwareDatetime
    run_id: Run
    attempt: int = Field(ge=1)
    runner_id: str


class RunHandedBack(Frozen):
    """The runner was told to leave and let go of its attempt, which does not count as a failed one."""

    type: Literal["run_handed_back"] = "run_handed_back"
    at: AwareDatetime
    run_id: Run
    attempt: int = Field(ge=1)
    runner_id: str


class RunCancelRequested(Frozen):
    """A user asked for the active run's end."""

    type: Literal["run_cancel_requested"] = "run_cancel_requested"
    at: AwareDatetime
    run_id: Run
    user_id: User
    reason: Literal["cancelled", "superseded"] = "cancelled"


class StepCompleted(Frozen):
    """One model call and its tools are done and stored."""

    type: Literal["step_completed"] = "step_completed"
    at: AwareDatetime
    run_id: Run
    attempt: int
    step: int = Field(ge=1)
    usage: Usage


class _RunEnded(Frozen):
    at: AwareDatetime
    run_id: Run
    attempt: int
    message: UIMessage | None = None
    finish_reason: FinishReason
    usage: Usage
    last_frame: int
    last_index: int


class RunCompleted(_RunEnded):
    """The answer is whole."""

    type: Literal["run_completed"] = "run_completed"


class RunRequiresAction(_RunEnded):
    """The answer waits for a person; with nothing pending, it ended with a question."""

    type: Literal["run_requires_action"] = "run_requires_action"
    pending: tuple[Interaction, ...] = ()


class RunFailed(_RunEnded):
    """The run ended without a whole answer; `message` holds what there was of it."""

    type: Literal["run_failed"] = "run_failed"
    reason: FailureReason
    error_category: str = "unknown"
    error_text: str = ""


class InteractionsResolved(Frozen):
    """Some of what an ended run waits for was resolved, not yet all of it."""

    type: Literal["interactions_resolved"] = "interactions_resolved"
    at: AwareDatetime
    run_id: Run
    user_id: User
    resolutions: tuple[Resolution, ...]


class InteractionsDenied(Frozen):
    """A user dropped what an ended run waits for: nothing of it will be answered."""

    type: Literal["interactions_denied"] = "interactions_denied"
    at: AwareDatetime
    run_id: Run
    user_id: User


class ThreadTitled(Frozen):
    """The thread goes by another title; `automatic`: a model found it for its owner, who said nothing."""

    type: Literal["thread_titled"] = "thread_titled"
    at: AwareDatetime
    user_id: User
    title: str
    automatic: bool = False


class ThreadArchived(Frozen):
    """The thread was put aside, or taken back; the next message that a user sends to it takes it back, too."""

    type: Literal["thread_archived"] = "thread_archived"
    at: AwareDatetime
    user_id: User
    archived: bool


class ThreadVisibilitySet(Frozen):
    """From now on the thread is read by all of its org, or by its owner and the org's owners only."""

    type: Literal["thread_visibility_set"] = "thread_visibility_set"
    at: AwareDatetime
    user_id: User
    visibility: Visibility


class ThreadForked(Frozen):
    """A thread begins with what another one held, up to the message `until`; from here on each goes its own way.

    `asked_until` is what was asked for: None where that was all there was.
    """

    type: Literal["thread_forked"] = "thread_forked"
    at: AwareDatetime
    user_id: User
    source: Thread
    until: Message
    asked_until: Message | None = None
    thread: ThreadCreated
    messages: tuple[UIMessage, ...]


class ThreadDeleted(Frozen):
    """The thread takes nothing any more, and what it held is being erased; this event stays in its place.

    `private_to` is the owner of a private one: nobody else is to learn that there was one.
    """

    type: Literal["thread_deleted"] = "thread_deleted"
    at: AwareDatetime
    user_id: User
    private_to: User | None = None


Terminal = RunCompleted | RunRequiresAction | RunFailed
EVENTS = (
    RunRequested,
    RunQueued,
    RunWithdrawn,
    RunStarted,
    RunHandedBack,
    RunCancelRequested,
    StepCompleted,
    RunCompleted,
    RunRequiresAction,
    RunFailed,
    InteractionsResolved,
    InteractionsDenied,
    ThreadTitled,
    ThreadArchived,
    ThreadVisibilitySet,
    ThreadForked,
    ThreadDeleted,
)
Event = (
    RunRequested
    | RunQueued
    | RunWithdrawn
    | RunStarted
    | RunHandedBack
    | RunCancelRequested
    | StepCompleted
    | RunCompleted
    | RunRequiresAction
    | RunFailed
    | InteractionsResolved
    | InteractionsDenied
    | ThreadTitled
    | ThreadArchived
    | ThreadVisibilitySet
    | ThreadForked
    | ThreadDeleted
)
_OF_THREADS = ThreadTitled | ThreadArchived | ThreadVisibilitySet | ThreadForked | ThreadDeleted
TERMINAL_TYPES = ("run_completed", "run_requires_action", "run_failed")

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event where it stands in the log."""

    org: OrgId
    thread: ThreadId
    sequence: int
    event_id: str
    event: Event
    traceparent: str | None = None
    stored_at: datetime | None = None
    trace: dict[str, str] = field(default_factory=dict)
    """The headers of its trace beside `traceparent`."""

    @property
    def at(self) -> datetime:
        """When it was stored, by the broker's clock; the writer's own, where that is not known, may be any."""
        return self.stored_at or self.event.at


def run_of(event: Event) -> Run | None:
    """Tell which run an event is about; None for one about the thread."""
    return None if isinstance(event, _OF_THREADS) else event.run_id


class UnknownEventError(Exception):
    """The log holds an event that this version can't read: folding must stop before it."""

    def __init__(self, subject: str, sequence: int) -> None:
        self.subject, self.sequence = subject, sequence
        super().__init__(f"event {sequence} on {subject} is of a type this version does not know")


def decode_event(body: bytes) -> Event:
    """Read a fact.

    Raises:
        pydantic.ValidationError: it is of no type that this version knows, or malformed.

    """
    return _EVENT.validate_json(body)
