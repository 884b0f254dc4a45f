"""Reading: a thread, its messages, and what waits in it."""

from typing import Any

from aiohttp import web
from pydantic_core import to_json

from decopilot.contracts.events import RunQueued
from decopilot.domain.access import check_reader
from decopilot.domain.thread import ThreadState
from decopilot.log.history import Histories
from decopilot.log.views import summary
from decopilot_gateway.access import Access
from decopilot_gateway.auth import Doorman, thread_in_path
from decopilot_gateway.inspecting import usage_json
from decopilot_gateway.listing import summary_json


class Reading:
    """Handles `GET …/threads/{thread}`, and `…/messages` and `…/queue` below that."""

    def __init__(self, doorman: Doorman, access: Access, histories: Histories) -> None:
        self._doorman = doorman
        self._access = access
        self._histories = histories

    async def thread(self, request: web.Request) -> web.Response:
        """Show one thread as its log has it now."""
        _, thread, state = await self._access.reader(request)
        more = {
            "activeRun": _active_json(state),
            "pending": _pending_json(state),
            "queued": len(state.queue),
            "usage": usage_json(state.usage),
            "forkedFrom": _forked_json(state),
        }
        return _json(summary_json(summary(thread, state)) | more)

    async def queue(self, request: web.Request) -> web.Response:
        """Show the messages that wait their turn, the next one first."""
        state = (await self._access.reader(request)).state
        return _json({"queue": [_queued_json(queued) for queued in state.queue]})

    async def messages(self, request: web.Request) -> web.Response:
        """Show a thread's finished messages, with the cursor from which attaching goes on seamlessly."""
        caller, thread = self._doorman.caller(request), thread_in_path(request)
        history = await self._histories.read(
            caller.org, thread, check=lambda state: check_reader(state, caller.role, caller.user)
        )
        messages = [message.model_dump(mode="json", exclude_none=True) for message in history.messages]
        return _json(
            {
                "messages": messages,
                "cursor": str(history.cursor),
                "status": history.state.status,
                "pending": _pending_json(history.state),
            }
        )


def _active_json(state: ThreadState) -> dict[str, Any] | None:
    active = state.active
    if active is None:
        return None
    return {"runId": active.run_id, "attempt": active.attempt, "cancelRequested": active.cancel is not None}


def _forked_json(state: ThreadState) -> dict[str, str] | None:
    return None if state.forked is None else {"taskId": state.forked.source, "messageId": state.forked.until}


def _pending_json(state: ThreadState) -> list[dict[str, Any]]:
    pending = () if state.waiting is None else state.waiting.pending
    return [
        {"kind": one.kind, "id": one.id, "toolCallId": one.tool_call_id, "toolName": one.tool_name} for one in pending
    ]


def _queued_json(queued: RunQueued) -> dict[str, Any]:
    return {
        "messageId": queued.message.id,
        "runId": queued.run_id,
        "message": queued.message.model_dump(mode="json", exclude_none=True),
        "queuedAt": queued.at.isoformat(),
        "interrupts": queued.interrupts,
    }


def _json(body: object) -> web.Response:
    return web.Response(body=to_json(body), content_type="application/json")
