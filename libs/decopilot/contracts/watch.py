"""Watch events: what an org's event stream tells of its threads."""

from typing import Any, Literal

from pydantic import AwareDatetime

from decopilot.contracts.messages import Frozen

CAUSE = "Decopilot-Cause"
PRIVATE_TO = "Decopilot-Private-To"
"""Header of an event that is not for all of the org: who it is for beside the org's owners, percent-encoded."""

THREAD_STATUS = "thread.status"
STEP = "step"
FINISH = "finish"
THREAD_QUEUE = "thread.queue"
THREAD_INTERACTIONS = "thread.interactions"
THREAD_FORKED = "thread.forked"
THREAD_TITLED = "thread.titled"
THREAD_ARCHIVED = "thread.archived"
THREAD_VISIBILITY = "thread.visibility"
THREAD_DELETED = "thread.deleted"


class WatchEvent(Frozen):
    """The envelope: `id` is `<event sequence>-<ordinal>`, `subject` is the thread."""

    id: str
    type: str
    source: Literal["decopilot"] = "decopilot"
    subject: str
    data: dict[str, Any]
    time: AwareDatetime
