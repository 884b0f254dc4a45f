"""The events of the log: the only truth there is."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, TypeAdapter

from decopilot.contracts.chunks import FinishReason
from decopilot.contracts.ids import Message, OrgId, Run, ThreadId, User
from decopilot.contracts.messages import Frozen, RunConfig, UIMessage, Usage

FailureReason = Literal["cancelled", "error", "crashed", "timed_out", "superseded", "undeliverable"]


class ThreadCreated(Frozen):
    """What the first `run_requested` of a thread also says."""

    owner: User
    agent_id: str
    title: str
    visibility: Literal["org", "private"] = "org"


class RunRequested(Frozen):
    """A user's message was accepted and its run may start."""

    type: Literal["run_requested"] = "run_requested"
    at: AwareDatetime
    run_id: Run
    user_id: User
    message: UIMessage
    message_hash: str
    assistant_id: Message
    config: RunConfig
    thread: ThreadCreated | None = None
    traceparent: str | None = None


class RunStarted(Frozen):
    """A runner took the run up: one attempt begins."""

    type: Literal["run_started"] = "run_started"
    at: AwareDatetime
    run_id: Run
    attempt: int = Field(ge=1)
    runner_id: str


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
    """The answer waits for a person."""

    type: Literal["run_requires_action"] = "run_requires_action"


class RunFailed(_RunEnded):
    """The run ended without a whole answer; `message` holds what there was of it."""

    type: Literal["run_failed"] = "run_failed"
    reason: FailureReason
    error_category: str = "unknown"
    error_text: str = ""


Terminal = RunCompleted | RunRequiresAction | RunFailed
Event = RunRequested | RunStarted | StepCompleted | RunCompleted | RunRequiresAction | RunFailed
EVENTS: tuple[type[Event], ...] = (
    RunRequested,
    RunStarted,
    StepCompleted,
    RunCompleted,
    RunRequiresAction,
    RunFailed,
)
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
