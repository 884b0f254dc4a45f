"""Branching: what clients ask of a thread's earlier messages, checked and turned into commands."""

import uuid
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from decopilot.contracts.commands import FORK_THREAD, REGENERATE_ANSWER, Accepted, Forked, ForkThread, Visibility
from decopilot.contracts.ids import Message, RunId, Thread, ThreadId
from decopilot_gateway.auth import Doorman, thread_in_path
from decopilot_gateway.bodies import read_body_if_any
from decopilot_gateway.commanding import Commander
from decopilot_gateway.posting import MessagesBody, PostedMessage, ResolvedMessage
from decopilot_gateway.wishing import accepted_response

_REQUESTS = uuid.UUID("2f6c1d5e-8f0b-4a57-9a7e-0f6f5d1c3b42")


class RegenerateBody(MessagesBody):
    """Body of `POST …/regenerate`, which may be left out: of messages only the system's count, as instructions."""

    messages: list[Annotated[PostedMessage | ResolvedMessage, Field(discriminator="role")]] = Field(
        default_factory=list, max_length=100
    )
    request_id: Message | None = Field(default=None, alias="requestId")


class ForkBody(BaseModel):
    """Body of `POST …/fork`, which may be left out."""

    message_id: Message | None = Field(default=None, alias="messageId")
    thread_id: Thread | None = Field(default=None, alias="threadId")
    visibility: Visibility | None = None


class Branching:
    """Handles `POST …/threads/{thread}/regenerate` and `…/fork`."""

    def __init__(self, doorman: Doorman, commander: Commander) -> None:
        self._doorman = doorman
        self._commander = commander

    async def regenerate(self, request: web.Request) -> web.Response:
        """Have a message answered anew: 202 once the run that does so is in the log."""
        caller = self._doorman.caller(request)
        thread = thread_in_path(request)
        body = await read_body_if_any(request, RegenerateBody) or RegenerateBody()
        wish = body.to_regeneration(caller, thread)
        if body.request_id is not None:
            # The same for the same request, and never the id of a run that was wished for otherwise.
            key = uuid.uuid5(_REQUESTS, f"{caller.org}/{thread}/{body.request_id}")
            wish = wish.model_copy(update={"run_id": RunId(f"run_{key.hex}")})
        return accepted_response(await self._commander.ask(REGENERATE_ANSWER, wish, Accepted))

    async def fork(self, request: web.Request) -> web.Response:
        """Begin another thread with what this one holds: 201 once that is in the log."""
        caller = self._doorman.caller(request)
        source = thread_in_path(request)
        body = await read_body_if_any(request, ForkBody) or ForkBody()
        wish = ForkThread(
            org=caller.org,
            thread=body.thread_id or ThreadId(f"thrd_{uuid.uuid4().hex}"),
            user=caller.user,
            role=caller.role,
            source=source,
            message_id=body.message_id,
            visibility=body.visibility,
        )
        forked = await self._commander.ask(FORK_THREAD, wish, Forked)
        told = {
            "taskId": forked.thread,
            "forkedFrom": {"taskId": forked.source, "messageId": forked.message_id},
        }
        return web.json_response(told, status=201)
