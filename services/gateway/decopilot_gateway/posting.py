"""Posting a message: the body that browsers send, checked and turned into a command."""

import uuid
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError
from pydantic_core import from_json

from decopilot.contracts.commands import SEND_MESSAGE, SendMessage
from decopilot.contracts.ids import Message, MessageId, ThreadId
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot_gateway.auth import Caller, Doorman, thread_in_path
from decopilot_gateway.commanding import Commander
from decopilot_gateway.problems import ProblemError

_SHOWN_ERRORS = 3


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


class PostedAgent(BaseModel):
    """Which agent is to answer."""

    id: str = Field(min_length=1, max_length=128)


class PostedMemory(BaseModel):
    """How much of the thread the agent sees."""

    window_size: int = Field(default=50, ge=1, le=1000, alias="windowSize")
    thread_id: str | None = None


class MessagesBody(BaseModel):
    """Body of `POST …/messages`; unknown fields are ignored."""

    messages: list[PostedMessage] = Field(min_length=1, max_length=100)
    agent: PostedAgent = PostedAgent(id="default")
    tier: Literal["fast", "smart", "thinking", "image", "web_research"] = "smart"
    mode: Literal["default", "plan", "web-search", "gen-image"] = "default"
    tool_approval_level: Literal["auto", "readonly"] = Field(default="auto", alias="toolApprovalLevel")
    temperature: float = Field(default=0.5, ge=0, le=2)
    memory: PostedMemory = PostedMemory()
    thread_id: str | None = None

    def to_command(self, caller: Caller, thread: ThreadId) -> SendMessage:
        """Make the command.

        Raises:
            ProblemError: the body speaks of another thread, or holds not exactly one user message.

        """
        if not {self.thread_id, self.memory.thread_id} <= {thread, None}:
            raise ProblemError("thread_mismatch", "The thread in the URL does not match the thread_id in the body.")
        asked = [message for message in self.messages if message.role == "user"]
        if len(asked) != 1:
            raise ProblemError("invalid_body", "Expected exactly one non-system message.")
        message = UIMessage(
            id=asked[0].id or MessageId(f"msg_{uuid.uuid4().hex}"),
            role="user",
            parts=[part.model_dump() for part in asked[0].parts],
            metadata=asked[0].metadata,
        )
        config = RunConfig(
            agent_id=self.agent.id,
            tier=self.tier,
            mode=self.mode,
            tool_approval_level=self.tool_approval_level,
            temperature=self.temperature,
            window_size=self.memory.window_size,
            instructions=tuple(_text(system) for system in self.messages if system.role == "system"),
        )
        return SendMessage(
            org=caller.org, thread=thread, user=caller.user, role=caller.role, message=message, config=config
        )


class Posting:
    """Handles `POST /{org}/decopilot/threads/{thread}/messages`."""

    def __init__(self, doorman: Doorman, commander: Commander) -> None:
        self._doorman = doorman
        self._commander = commander

    async def handle(self, request: web.Request) -> web.Response:
        """Accept a message: 202 once its run is in the log."""
        caller = self._doorman.caller(request)
        thread = thread_in_path(request)
        body = await _read(request)
        accepted = await self._commander.ask(SEND_MESSAGE, body.to_command(caller, thread))
        return web.json_response(
            {
                "taskId": accepted.thread,
                "runId": accepted.run_id,
                "messageId": accepted.message_id,
                "status": accepted.status,
                "cursor": accepted.cursor,
            },
            status=202,
        )


async def _read(request: web.Request) -> MessagesBody:
    if request.content_type != "application/json":
        raise ProblemError("unsupported_media_type", "Send Content-Type: application/json.")
    try:
        raw = await request.read()
    except web.RequestPayloadError as error:
        raise ProblemError("invalid_body", "The body is not encoded as its Content-Encoding says.") from error
    try:
        # JSON proper: no NaN, no infinity, no half characters.
        parsed = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise ProblemError("invalid_json", str(error)[:200]) from error
    try:
        return MessagesBody.model_validate(parsed)
    except ValidationError as error:
        raise ProblemError("invalid_body", _explain(error)) from error


def _explain(error: ValidationError) -> str:
    shown = error.errors(include_url=False, include_context=False, include_input=False)[:_SHOWN_ERRORS]
    return "; ".join(f"{'.'.join(map(str, entry['loc'])) or 'body'}: {entry['msg']}" for entry in shown)


def _text(message: PostedMessage) -> str:
    parts = [part.model_dump() for part in message.parts]
    return "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
