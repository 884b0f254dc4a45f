"""Sending a message: the wish becomes `run_requested` or `run_queued`, or is refused."""

import hashlib
import json
import uuid

from decopilot.contracts.commands import Accepted, SendMessage
from decopilot.contracts.ids import MessageId, RunId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.commands import RefusedError, Send
from decopilot.kit import telemetry
from decopilot_command.choosing import Chooser
from decopilot_command.executing import Executor, accepted, wisher
from decopilot_command.tracking import Tracker
from decopilot_command.waking import Bell


class Sender:
    """Takes users' messages."""

    def __init__(self, executor: Executor, tracker: Tracker, bell: Bell, chooser: Chooser) -> None:
        self._executor = executor
        self._chooser = chooser
        self._tracker = tracker
        self._bell = bell

    async def send(self, request: SendMessage) -> Accepted:
        """Append the run that answers the message, or find the one that does; raises what `Executor.execute` does."""
        if request.message.role != "user":
            raise RefusedError("invalid_body", "Only a user's message starts a run.")
        config, check = self._chooser.choose(request.config, request.role, request.message)
        run, headers = uuid.uuid4().hex, telemetry.inject({})
        command = Send(
            **wisher(request),
            message=request.message,
            message_hash=_hash(request.message),
            config=config,
            run_id=RunId(f"run_{run}"),
            assistant_id=MessageId(f"msg_{run}"),
            on_conflict=request.on_conflict,
            traceparent=headers.get("traceparent"),
            tracestate=headers.get("tracestate"),
            baggage=headers.get("baggage"),
            title=request.title,
            visibility=request.visibility,
        )
        executed = await self._executor.execute(request, command, check=check)
        state = executed.state
        run_id = state.sent[request.message.id].run_id
        answer = accepted("message_accepted", request, executed, run_id, request.message.id)
        if executed.appended is not None and request.is_tracked:
            await self._tracker.chat_message_started(request, config)
        if request.on_conflict == "interrupt" and state.active is not None and state.active.cancel is not None:
            await self._bell.ring(request.org, state.active.run_id)
        return answer


def _hash(message: UIMessage) -> str:
    # The same body is the same whatever the order of its keys.
    canonical = json.dumps([message.role, message.parts, message.metadata], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
