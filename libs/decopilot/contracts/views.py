"""Views: what events add up to, as readers get it."""

from datetime import datetime

from decopilot.contracts.commands import RunStatus, ThreadStatus, Visibility
from decopilot.contracts.events import FailureReason
from decopilot.contracts.ids import MessageId, RunId, UserId
from decopilot.contracts.messages import Frozen, Mode, Tier, UIMessage, Usage


class StoredMessage(Frozen):
    """A finished message; `last_frame` is the closing frame it was folded up to, 0 for a user's own."""

    message: UIMessage
    last_frame: int = 0


class ThreadSummary(Frozen):
    """A thread as lists show it. Times are ISO 8601, UTC."""

    id: str
    title: str
    status: ThreadStatus
    failure_reason: FailureReason | None = None
    agent_id: str
    created_by: str
    created_at: str
    updated_at: str
    first_title: str = ""
    archived: bool = False
    visibility: Visibility = "org"

    @property
    def private_to(self) -> str | None:
        """Who reads it beside the org's owners; None where all of the org do."""
        return self.created_by if self.visibility == "private" else None


class RunSummary(Frozen):
    """A run as its thread's events tell of it, by the broker's clock.

    `message_id` is the question's, which a run that goes on with an answer has none of. A queued run was asked for
    when it was queued. `attempts` is the number of the last one, `usage` of a run that goes on what its finished steps
    used.
    """

    run_id: RunId
    status: RunStatus
    reason: FailureReason | None = None
    user_id: UserId
    message_id: MessageId | None = None
    answer_id: MessageId
    continues: RunId | None = None
    regenerates: MessageId | None = None
    requested_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int = 0
    steps: int = 0
    usage: Usage | None = None
    agent_id: str
    tier: Tier
    model: str | None = None
    mode: Mode
    trace_id: str | None = None

    @property
    def has_chunks(self) -> bool:
        """Whether it has ended with chunks of its own, which may be gone by now."""
        return self.status in {"completed", "requires_action", "failed"}
