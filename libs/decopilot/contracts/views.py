"""Views: what events add up to, as readers get it."""

from decopilot.contracts.commands import ThreadStatus
from decopilot.contracts.events import FailureReason
from decopilot.contracts.messages import Frozen, UIMessage


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
