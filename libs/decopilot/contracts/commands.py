"""Requests that `command` answers, and its answers."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, TypeAdapter

from decopilot.contracts.ids import Message, Org, Run, Thread, User
from decopilot.contracts.interactions import Resolution
from decopilot.contracts.messages import AskedConfig, Frozen, UIMessage

SEND_MESSAGE = "send_message"
CANCEL_RUN = "cancel_run"
RESOLVE_INTERACTIONS = "resolve_interactions"
WITHDRAW_MESSAGE = "withdraw_message"
RETITLE_THREAD = "retitle_thread"
ARCHIVE_THREAD = "archive_thread"
SET_VISIBILITY = "set_visibility"
DELETE_THREAD = "delete_thread"
REGENERATE_ANSWER = "regenerate_answer"
FORK_THREAD = "fork_thread"
PATIENCE = "Decopilot-Patience"
"""A request's header: so many seconds its answer is waited for. One that waits longer for its turn is not begun."""
TRY = "Decopilot-Try"
"""A request's header: the id of this try, by which whoever asked may give it up on `decopilot.given_up`."""

TITLE_MAX = 200

ThreadStatus = Literal["in_progress", "requires_action", "completed", "failed"]
Visibility = Literal["org", "private"]
RunStatus = Literal["queued", "in_progress", "requires_action", "completed", "failed", "withdrawn"]
OnConflict = Literal["queue", "interrupt", "reject"]
Role = Literal["owner", "member", "viewer", "service"]


class _Request(Frozen):
    org: Org
    thread: Thread
    user: User
    role: Role


class SendMessage(_Request):
    """Ask for a run that answers a user's message. The same message twice is one run.

    `title` and `visibility` are those of a thread which begins with it. With `is_tracked` product
    analytics hears of a user's message.
    """

    message: UIMessage
    config: AskedConfig
    on_conflict: OnConflict = "queue"
    title: str | None = None
    visibility: Visibility = "org"
    is_tracked: bool = True


class CancelRun(_Request):
    """Ask for the end of a run; without its id, of the one that is active."""

    run_id: Run | None = None


class ResolveInteractions(_Request):
    """Resolve what an ended run waits for.

    With `is_whole_message` the facts were taken out of an AI SDK message: those that answer nothing the thread ever
    waited for are ignored, where they are refused otherwise.
    """

    resolutions: tuple[Resolution, ...] = Field(min_length=1, max_length=200)
    message_id: Message | None = None
    is_whole_message: bool = False


class WithdrawMessage(_Request):
    """Take a queued message back."""

    message_id: Message


class RetitleThread(_Request):
    """Give a thread another title."""

    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=TITLE_MAX)]


class ArchiveThread(_Request):
    """Put a thread aside, or take it back."""

    archived: bool


class SetVisibility(_Request):
    """Say who may read a thread: all of the org, or its owner and the org's owners only."""

    visibility: Visibility


class DeleteThread(_Request):
    """Delete a thread and all that it holds."""


class RegenerateAnswer(_Request):
    """Ask for an answer to be made anew, or for a user's message to be answered anew; without an id, the last one.

    Everything behind it leaves the thread. The same `run_id` twice is one run.
    """

    run_id: Run
    message_id: Message | None = None
    config: AskedConfig


class ForkThread(_Request):
    """Begin this thread with what `source` holds, up to a message of it; without its id, with all there is."""

    source: Thread
    message_id: Message | None = None
    visibility: Visibility | None = None
    """None: as its source."""


class Accepted(Frozen):
    """The run is in the log. `cursor` is the position before its first chunk, or before that of one it waits for.

    `repeated`: it was before it was asked for, this time.
    """

    type: Literal["accepted"] = "accepted"
    thread: Thread
    run_id: Run
    message_id: Message
    status: RunStatus
    cursor: str
    repeated: bool = False


class Receipt(Frozen):
    """What came of a wish that starts no run: which run it was about, and how that one stands.

    `status` is a run's status, or `cancelling` (its end was asked for), `denied` (what it waited for was dropped),
    `idle` (there was nothing to cancel), `titled`, `archived`, `unarchived`, `org` and `private` (who reads it now),
    `deleted`.
    """

    type: Literal["receipt"] = "receipt"
    thread: Thread
    run_id: Run | None = None
    status: Literal[
        RunStatus, Visibility, "cancelling", "denied", "idle", "titled", "archived", "unarchived", "deleted"
    ]


class Forked(Frozen):
    """The thread is in the log, with what its source held up to `message_id`."""

    type: Literal["forked"] = "forked"
    thread: Thread
    source: Thread
    message_id: Message


class Refused(Frozen):
    """Nothing was appended; `code` is one of `problems.PROBLEMS`. `outcome` tells what stands instead, if it can.

    `retry_after_s` tells when to ask again, where that is known.
    """

    type: Literal["refused"] = "refused"
    code: str
    detail: str
    outcome: dict[str, Any] | None = None
    retry_after_s: int | None = None


Reply = Accepted | Receipt | Forked | Refused
_REPLY: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="type")])


def decode_reply(body: bytes) -> Reply:
    """Read an answer of `command`.

    Raises:
        pydantic.ValidationError: it is none.

    """
    return _REPLY.validate_json(body)
