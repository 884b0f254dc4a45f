"""Requests that `command` answers, and its answers."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from decopilot.contracts.ids import Message, Org, Run, Thread, User
from decopilot.contracts.messages import Frozen, RunConfig, UIMessage

SEND_MESSAGE = "send_message"

RunStatus = Literal["in_progress", "requires_action", "completed", "failed"]


Role = Literal["owner", "member", "viewer"]


class SendMessage(Frozen):
    """Ask for a run that answers a user's message. The same message twice is one run."""

    org: Org
    thread: Thread
    user: User
    role: Role
    message: UIMessage
    config: RunConfig


class Accepted(Frozen):
    """The run is in the log. `cursor` is the position before its first chunk."""

    type: Literal["accepted"] = "accepted"
    thread: Thread
    run_id: Run
    message_id: Message
    status: RunStatus
    cursor: str


class Refused(Frozen):
    """Nothing was appended; `code` is one of `problems.PROBLEMS`."""

    type: Literal["refused"] = "refused"
    code: str
    detail: str


_REPLY: TypeAdapter[Accepted | Refused] = TypeAdapter(Annotated[Accepted | Refused, Field(discriminator="type")])


def decode_reply(body: bytes) -> Accepted | Refused:
    """Read an answer of `command`.

    Raises:
        pydantic.ValidationError: it is none.

    """
    return _REPLY.validate_json(body)
