"""Posting a message: the body that browsers send, checked and turned into a command."""

import uuid
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from decopilot.contracts.commands import (
    REGENERATE_ANSWER,
    RESOLVE_INTERACTIONS,
    SEND_MESSAGE,
    Accepted,
    OnConflict,
    RegenerateAnswer,
    ResolveInteractions,
    SendMessage,
    Visibility,
)
from decopilot.contracts.ids import Message, MessageId, RunId, ThreadId
from decopilot.contracts.messages import ApprovalLevel, AskedConfig, Mode, Tier, UIMessage
from decopilot_gateway.attachments import Attachments
from decopilot_gateway.auth import Caller, Doorman, thread_in_path
from decopilot_gateway.bodies import read_body
from decopilot_gateway.commanding import Commander
from decopilot_gateway.facts import facts_in
from decopilot_gateway.problems import ProblemError
from decopilot_gateway.wishing import accepted_response

INSTRUCTIONS_LENGTH = 64 * 1024
"""They are kept with every run of their thread that is not over."""


REGENERATE = "regenerate-message"
"""What `trigger` an AI SDK client says where it wants a message to be answered anew."""
_NAMES: dict[type, str] = {
    SendMessage: SEND_MESSAGE,
    ResolveInteractions: RESOLVE_INTERACTIONS,
    RegenerateAnswer: REGENERATE_ANSWER,
}


class PostedPart(BaseModel):
    """A part of a message; what it holds depends on its type."""

    # A number like 1e400 is JSON, but no finite one: it would be stored as null.
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue]
    type: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class PostedMessage(BaseModel):
    """A message as clients send it."""

    model_config = ConfigDict(allow_inf_nan=False)
    id: Message | None = None
    role: Literal["user", "system"]
    parts: list[PostedPart] = Field(min_length=1, max_length=1000)
    metadata: dict[str, JsonValue] | None = None


class ResolvedMessage(BaseModel):
    """An answer as an AI SDK client sends it back: what it resolves is taken out of it, all else is ignored."""

    id: Message | None = None
    role: Literal["assistant"]
    parts: list[Any]


class PostedAgent(BaseModel):
    """Which agent is to answer."""

    id: str = Field(min_length=1, max_length=128)


class PostedMemory(BaseModel):
    """How much of the thread the agent sees."""

    window_size: int = Field(default=50, ge=1, le=1000, alias="windowSize")
    thread_id: str | None = None


class MessagesBody(BaseModel):
    """Body of `POST …/messages`; unknown fields are ignored."""

    messages: list[Annotated[PostedMessage | ResolvedMessage, Field(discriminator="role")]] = Field(
        min_length=1, max_length=100
    )
    agent: PostedAgent = PostedAgent(id="default")
    tier: Tier | None = None
    mode: Mode = "default"
    tool_approval_level: ApprovalLevel | None = Field(default=None, alias="toolApprovalLevel")
    temperature: float | None = Field(default=None, ge=0, le=2)
    memory: PostedMemory = PostedMemory()
    on_conflict: OnConflict = Field(default="queue", alias="onConflict")
    thread_id: str | None = None
    visibility: Visibility = "org"
    trigger: str | None = None
    message_id: Message | None = Field(default=None, alias="messageId")

    def to_command(self, caller: Caller, thread: ThreadId) -> SendMessage | ResolveInteractions | RegenerateAnswer:
        """Make the command.

        Raises:
            ProblemError: the body speaks of another thread, holds not exactly one message beside those of the
                system, an empty one, or an answer that resolves nothing.

        """
        if self.trigger == REGENERATE:
            return self.to_regeneration(caller, thread)
        self._check_thread(thread)
        asked = [message for message in self.messages if message.role != "system"]
        if len(asked) != 1:
            raise ProblemError("invalid_body", "Expected exactly one non-system message.")
        message = asked[0]
        if isinstance(message, ResolvedMessage):
            return _resolving(message, caller, thread)
        if _is_blank(message):
            raise ProblemError("invalid_body", "The message is empty.")
        return SendMessage(
            org=caller.org,
            thread=thread,
            user=caller.user,
            role=caller.role,
            message=UIMessage(
                id=message.id or MessageId(f"msg_{uuid.uuid4().hex}"),
                role="user",
                parts=[part.model_dump() for part in message.parts],
                metadata=message.metadata,
            ),
            config=self._config(),
            on_conflict=self.on_conflict,
            visibility=self.visibility,
        )

    def to_regeneration(self, caller: Caller, thread: ThreadId) -> RegenerateAnswer:
        """Make the command that has a message of the thread answered anew; what the body says of it is ignored.

        Raises:
            ProblemError: the body speaks of another thread.

        """
        self._check_thread(thread)
        return RegenerateAnswer(
            org=caller.org,
            thread=thread,
            user=caller.user,
            role=caller.role,
            run_id=RunId(f"run_{uuid.uuid4().hex}"),
            message_id=self.message_id,
            config=self._config(),
        )

    def _check_thread(self, thread: ThreadId) -> None:
        if not {self.thread_id, self.memory.thread_id} <= {thread, None}:
            raise ProblemError("thread_mismatch", "The thread in the URL does not match the thread_id in the body.")

    def _config(self) -> AskedConfig:
        systems = [message for message in self.messages if isinstance(message, PostedMessage)]
        instructions = tuple(_text(message) for message in systems if message.role == "system")
        if sum(map(len, instructions)) > INSTRUCTIONS_LENGTH:
            raise ProblemError(
                "invalid_body", f"System messages have at most {INSTRUCTIONS_LENGTH} characters together."
            )
        return AskedConfig(
            agent_id=self.agent.id,
            tier=self.tier,
            mode=self.mode,
            tool_approval_level=self.tool_approval_level,
            temperature=self.temperature,
            window_size=self.memory.window_size,
            instructions=instructions,
        )


class Posting:
    """Handles `POST /{org}/decopilot/threads/{thread}/messages`."""

    def __init__(self, doorman: Doorman, commander: Commander, attachments: Attachments) -> None:
        self._doorman = doorman
        self._commander = commander
        self._attachments = attachments

    async def handle(self, request: web.Request) -> web.Response:
        """Accept a message: 202 once its run is in the log."""
        caller = self._doorman.caller(request)
        thread = thread_in_path(request)
        command = (await read_body(request, MessagesBody)).to_command(caller, thread)
        if isinstance(command, SendMessage):
            message = await self._attachments.settle(command.message, caller, thread)
            command = command.model_copy(update={"message": message})
        return accepted_response(await self._commander.ask(_NAMES[type(command)], command, Accepted))


def _resolving(message: ResolvedMessage, caller: Caller, thread: ThreadId) -> ResolveInteractions:
    resolutions = facts_in(message.parts)
    if not resolutions:
        raise ProblemError("invalid_body", "The assistant message holds neither a verdict nor a tool's output.")
    return ResolveInteractions(
        org=caller.org,
        thread=thread,
        user=caller.user,
        role=caller.role,
        resolutions=resolutions,
        message_id=message.id,
        is_whole_message=True,
    )


def _is_blank(message: PostedMessage) -> bool:
    texts = [(part.__pydantic_extra__ or {}).get("text") for part in message.parts if part.type == "text"]
    return len(texts) == len(message.parts) and all(isinstance(text, str) and not text.strip() for text in texts)


def _text(message: PostedMessage) -> str:
    parts = [part.model_dump() for part in message.parts]
    return "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
