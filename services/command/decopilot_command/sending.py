"""Sending a message: the wish becomes `run_requested`, or is refused."""

import asyncio
import hashlib
import json
import uuid
from datetime import UTC, datetime

import structlog
from opentelemetry import propagate

from decopilot.contracts.commands import Accepted, SendMessage
from decopilot.contracts.ids import MessageId, RunId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.decider import RefusedError, Send
from decopilot.log.capacity import Capacity
from decopilot.log.journal import Journal
from decopilot_command.tracking import Tracker

DEADLINE_S = 4.0

log = structlog.get_logger()


class Sender:
    """Takes users' messages."""

    def __init__(self, journal: Journal, tracker: Tracker, capacity: Capacity) -> None:
        self._journal = journal
        self._tracker = tracker
        self._capacity = capacity

    async def send(self, request: SendMessage) -> Accepted:
        """Append the run that answers the message, or find the one that does.

        Raises:
            RefusedError: the thread's state, the user's rights or the store's size speak against it.
            TimeoutError, nats.errors.Error: unknown whether it was appended; the same request may be sent again.

        """
        if request.role == "viewer":
            raise RefusedError("forbidden", "Viewers read; they start no runs.")
        if request.message.role != "user":
            raise RefusedError("invalid_body", "Only a user's message starts a run.")
        run = uuid.uuid4().hex
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        command = Send(
            now=datetime.now(UTC),
            user_id=request.user,
            may_write_all=request.role == "owner",
            message=request.message,
            message_hash=_hash(request.message),
            config=request.config,
            run_id=RunId(f"run_{run}"),
            assistant_id=MessageId(f"msg_{run}"),
            traceparent=carrier.get("traceparent"),
        )
        async with asyncio.timeout(DEADLINE_S):
            if await self._capacity.is_nearly_full() and not await self._is_known(request):
                raise RefusedError("storage_full", "The chunk log has no room for new runs at the moment.")
            executed = await self._journal.execute(request.org, request.thread, command)
        sent = executed.state.sent[request.message.id]
        log.info(
            "message_accepted",
            org=request.org,
            thread=request.thread,
            run_id=sent.run_id,
            repeated=executed.appended is None,
        )
        if executed.appended is not None:
            await self._tracker.chat_message_started(request)
        return Accepted(
            thread=request.thread,
            run_id=sent.run_id,
            message_id=request.message.id,
            status=sent.status,
            cursor=f"{sent.last_frame}-{sent.last_index}",
        )

    async def _is_known(self, request: SendMessage) -> bool:
        loaded = await self._journal.load(request.org, request.thread)
        return request.message.id in loaded.state.sent


def _hash(message: UIMessage) -> str:
    # The same body is the same whatever the order of its keys.
    canonical = json.dumps([message.role, message.parts, message.metadata], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
