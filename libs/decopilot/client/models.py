"""What a gateway answers, and what came of a run."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel, to_snake

from decopilot.contracts.chunks import FinishReason
from decopilot.contracts.commands import RunStatus, ThreadStatus, Visibility
from decopilot.contracts.events import FailureReason
from decopilot.contracts.ids import MessageId, RunId, ThreadId
from decopilot.contracts.interactions import Interaction
from decopilot.contracts.messages import ApprovalLevel, Frozen, Tier, UIMessage

EndStatus = Literal["completed", "requires_action", "failed", "withdrawn"]


def _snaked(body: object) -> object:
    return {to_snake(name): value for name, value in body.items()} if isinstance(body, dict) else body


_Pending = Annotated[Interaction, BeforeValidator(_snaked)]


class _Answer(Frozen):
    """On the wire its names are in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Accepted(_Answer):
    """A run is in the log; `cursor` is a position before its first chunk.

    `message_id` is the question's (also where it is answered anew), or the answer's where a run goes on with one.
    """

    thread: ThreadId = Field(alias="taskId")
    run_id: RunId
    message_id: MessageId
    status: RunStatus
    cursor: str


class Receipt(_Answer):
    """What came of a wish that starts no run: which run it was about, and how that one stands."""

    thread: ThreadId = Field(alias="taskId")
    run_id: RunId | None = None
    status: str


class ActiveRun(_Answer):
    """The run that a thread is busy with."""

    run_id: RunId
    attempt: int
    cancel_requested: bool = False


class Usage(_Answer):
    """Tokens used by all runs of a thread that have ended."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0


class ForkedFrom(_Answer):
    """The message of another thread up to which a thread began with what that one held."""

    thread: ThreadId = Field(alias="taskId")
    message_id: MessageId


class Fork(_Answer):
    """A thread that begins with what another one holds."""

    thread: ThreadId = Field(alias="taskId")
    forked_from: ForkedFrom


class ThreadSummary(_Answer):
    """A thread as a list shows it; `failure_reason` says why its last run failed, if it did."""

    id: ThreadId
    title: str
    status: ThreadStatus
    failure_reason: FailureReason | None = None
    agent_id: str
    created_by: str
    created_at: str
    updated_at: str
    archived: bool = False
    visibility: Visibility = "org"


class Thread(ThreadSummary):
    """A thread as its log has it now."""

    active_run: ActiveRun | None = None
    pending: tuple[_Pending, ...] = ()
    queued: int = 0
    usage: Usage = Usage()
    forked_from: ForkedFrom | None = None


class History(_Answer):
    """A thread's finished messages, oldest first, and the cursor from which attaching goes on without a seam."""

    messages: tuple[UIMessage, ...]
    cursor: str
    status: ThreadStatus
    pending: tuple[_Pending, ...] = ()


class Run(_Answer):
    """A run as its thread's log tells of it, by the broker's clock.

    `message_id` is the question's, which a run that goes on with an answer has none of.
    """

    run_id: RunId
    status: RunStatus
    reason: FailureReason | None = None
    user_id: str
    message_id: MessageId | None = None
    answer_id: MessageId
    continues: RunId | None = None
    regenerates: MessageId | None = None
    requested_at: str
    started_at: str | None = None
    ended_at: str | None = None
    attempts: int
    steps: int
    usage: Usage | None = None
    agent_id: str
    tier: str
    model: str | None = None
    mode: str
    trace_id: str | None = None


class Trace(_Answer):
    """The trace of a run, and where it can be looked at, if the gateway was told."""

    id: str
    url: str | None = None


class ToolChunk(_Answer):
    """A chunk that takes a tool call one state further; `index` counts chunks within the run."""

    index: int
    type: str
    tool_call_id: str
    tool_name: str | None = None


class RunFrame(_Answer):
    """A frame of a run without its chunks; `first_index` counts chunks within the run, `kinds` counts them by type.

    `tools` are those that take a tool call one state further.
    """

    sequence: int
    attempt: int
    first_index: int
    chunks: int
    size_bytes: int = Field(alias="bytes")
    at: str | None = None
    void: bool
    void_chunks: int
    closing: bool
    kinds: dict[str, int]
    tools: tuple[ToolChunk, ...] = ()


class RunInspection(Run):
    """A run with what the log holds of it: its events as they are stored, and its frames.

    With `chunks_gone` they, or the first of them, are not there any more. `next` is the frame to go on behind, None at
    the end.
    """

    trace: Trace | None = None
    chunks: int
    chunks_gone: bool
    events: tuple[dict[str, Any], ...]
    frames: tuple[RunFrame, ...]
    next: int | None = None


class File(_Answer):
    """A file of a thread; its `part` belongs into a message."""

    id: str
    url: str
    media_type: str
    size: int
    filename: str | None = None

    @property
    def part(self) -> dict[str, Any]:
        """What a message refers to it by."""
        named = {} if self.filename is None else {"filename": self.filename}
        return {"type": "file", "url": self.url, "mediaType": self.media_type} | named


class Link(_Answer):
    """An address that serves a file to whoever has it, until it expires."""

    url: str
    expires_at: str


class AttachToken(_Answer):
    """A token that begins a stream of one thread until it expires, and the address with it."""

    token: str
    expires_at: str
    url: str


class TierModel(_Answer):
    """The model behind a tier, and whether the caller's role may use it."""

    title: str
    model: str
    vision: bool
    allowed: bool


class AllowedModels(_Answer):
    """The models that the caller's role may use, by provider (`*` is all of one), unless it may use all."""

    allow_all: bool
    models: dict[str, tuple[str, ...]]
    tiers: dict[Tier, TierModel]


class Agent(_Answer):
    """An agent that a message may name, and what it decides where the message leaves that open."""

    id: str
    title: str
    description: str | None = None
    tier: Tier | None = None
    tool_approval_level: ApprovalLevel | None = None


class Queued(_Answer):
    """A message that waits its turn."""

    message_id: MessageId
    run_id: RunId
    message: UIMessage
    queued_at: str
    interrupts: bool = False


class Fired(_Answer):
    """When an automation was fired last, and the thread that came of it."""

    at: str
    thread: ThreadId = Field(alias="taskId")


class Skipped(_Answer):
    """The last due time of an automation that came to nothing, and why (docs/automations.md)."""

    due_at: str
    reason: str


class Automation(_Answer):
    """An automation: when it is due, and which of its runs go on, by their threads."""

    name: str
    schedule: str | None = None
    timezone: str
    is_active: bool
    visibility: Visibility = "org"
    next_due_at: str | None = None
    last_fired: Fired | None = None
    last_skipped: Skipped | None = None
    threads: tuple[ThreadId, ...] = ()


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    `reason` is that of a failed one, where it is known: of a run that left no message, and whose chunks are gone, it
    is not. `pending` is what a run with `requires_action` waits for; nothing, if its answer ends with a question.
    """

    run_id: RunId
    status: EndStatus
    reason: FailureReason | None = None
    message: UIMessage | None = None
    pending: tuple[Interaction, ...] = ()
    finish_reason: FinishReason | None = None

    @property
    def error_text(self) -> str:
        """Why the run failed, in words for its users; empty where nothing was said."""
        return str(self._metadata.get("errorText", ""))

    @property
    def _metadata(self) -> dict[str, Any]:
        return {} if self.message is None or self.message.metadata is None else self.message.metadata
