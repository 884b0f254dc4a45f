"""Inspecting: the runs of a thread as the log tells of them: their events, their frames, their chunks."""

from typing import Any

from aiohttp import web
from pydantic_core import to_json

from decopilot.contracts.events import Recorded
from decopilot.contracts.frames import Cursor
from decopilot.contracts.ids import RunId, ThreadId
from decopilot.contracts.messages import Usage
from decopilot.contracts.views import RunSummary
from decopilot.domain.access import may_write
from decopilot.log.inspection import InspectedChunk, InspectedFrame, Inspector, ToolChunk
from decopilot_gateway.access import Access
from decopilot_gateway.auth import id_in_path
from decopilot_gateway.problems import ProblemError
from decopilot_gateway.queries import number_in_query, sequence_in_query, text_in_query
from decopilot_gateway.settings import TRACE_ID

LIMIT, LIMIT_MAX = 100, 1000
CHUNKS, CHUNKS_MAX = 200, 1000
_ENDED = ("completed", "requires_action", "failed")


class Inspecting:
    """Handles `GET …/threads/{thread}/runs`, and what is below that; `trace_url` is where a trace is looked at."""

    def __init__(self, access: Access, inspector: Inspector, *, trace_url: str) -> None:
        self._access = access
        self._inspector = inspector
        self._trace_url = trace_url

    async def runs(self, request: web.Request) -> web.Response:
        """List a thread's runs, the newest first."""
        limit, before = number_in_query(request, "limit", LIMIT, LIMIT_MAX), text_in_query(request, "before")
        caller, thread, _ = await self._access.reader(request)
        found = await self._inspector.runs(caller.org, thread)
        if found is None:
            raise _no_thread(thread)
        begin = 0
        if before is not None:
            begin = next((place for place, one in enumerate(found, 1) if one.run_id == before), 0)
            if not begin:
                raise ProblemError("invalid_query", "before is what next was told: a run of this thread.")
        page = found[begin : begin + limit]
        following = page[-1].run_id if begin + limit < len(found) else None
        return _json({"runs": [_run_json(one) for one in page], "next": following})

    async def run(self, request: web.Request) -> web.Response:
        """Show a run: what is known of it, its events, and its frames behind a sequence."""
        run, after = _run_in_path(request), sequence_in_query(request, "after") or 0
        caller, thread, state = await self._access.reader(request)
        org = caller.org
        found = await self._inspector.run(org, thread, run)
        if found is None:
            raise _no_thread(thread)
        told, events = found
        sees_all = state.room is not None and may_write(caller.role, caller.user, state.room)
        if told is None:
            raise _no_run(run)
        frames = await self._inspector.frames(org, thread, told, after=after)
        more = {
            "trace": self._trace_json(told.trace_id),
            "chunks": frames.chunks,
            "chunksGone": frames.is_gone,
            "events": [_event_json(recorded, sees_all=sees_all) for recorded in events],
            "frames": [_frame_json(frame) for frame in frames.frames],
            "next": frames.following,
        }
        return _json(_run_json(told) | more)

    async def chunks(self, request: web.Request) -> web.Response:
        """Show a run's chunks behind a cursor, or those of one frame, a page at a time."""
        run = _run_in_path(request)
        limit = number_in_query(request, "limit", CHUNKS, CHUNKS_MAX)
        behind, frame = _cursor(request), sequence_in_query(request, "frame")
        caller, thread, state = await self._access.reader(request)
        record = state.runs.get(run)
        if record is None:
            raise _no_run(run)
        page = await self._inspector.chunks(
            caller.org, thread, run, behind=behind, limit=limit, frame=frame, has_ended=record.status in _ENDED
        )
        body = {
            "chunks": [_chunk_json(chunk) for chunk in page.chunks],
            "next": None if page.following is None else str(page.following),
            "chunksGone": page.is_gone,
        }
        return _json(body)

    def _trace_json(self, trace_id: str | None) -> dict[str, Any] | None:
        if trace_id is None:
            return None
        return {"id": trace_id, "url": self._trace_url.replace(TRACE_ID, trace_id) or None}


def _run_json(told: RunSummary) -> dict[str, Any]:
    return {
        "runId": told.run_id,
        "status": told.status,
        "reason": told.reason,
        "userId": told.user_id,
        "messageId": told.message_id,
        "answerId": told.answer_id,
        "continues": told.continues,
        "regenerates": told.regenerates,
        "requestedAt": told.requested_at,
        "startedAt": told.started_at,
        "endedAt": told.ended_at,
        "attempts": told.attempts,
        "steps": told.steps,
        "usage": None if told.usage is None else usage_json(told.usage),
        "agentId": told.agent_id,
        "tier": told.tier,
        "model": told.model,
        "mode": told.mode,
        "traceId": told.trace_id,
    }


def usage_json(used: Usage) -> dict[str, int]:
    """Make what is told of tokens."""
    return {
        "inputTokens": used.input_tokens,
        "outputTokens": used.output_tokens,
        "totalTokens": used.input_tokens + used.output_tokens,
    }


def _event_json(recorded: Recorded, *, sees_all: bool) -> dict[str, Any]:
    stored = recorded.event.model_dump(mode="json", exclude_none=True)
    if not sees_all and "config" in stored:
        # They are between whoever embeds this and the model: who only reads sees what came of them.
        del stored["config"]["instructions"]
    return {"sequence": recorded.sequence, "storedAt": recorded.at} | stored


def _frame_json(frame: InspectedFrame) -> dict[str, Any]:
    return {
        "sequence": frame.sequence,
        "attempt": frame.attempt,
        "firstIndex": frame.first_index,
        "chunks": frame.chunks,
        "bytes": frame.size_bytes,
        "at": frame.stored_at,
        "void": frame.void_chunks == frame.chunks,
        "voidChunks": frame.void_chunks,
        "closing": frame.is_closing,
        "kinds": frame.kinds,
        "tools": [_tool_json(chunk) for chunk in frame.tools],
    }


def _tool_json(there: ToolChunk) -> dict[str, Any]:
    return {"index": there.index, "type": there.type, "toolCallId": there.call_id, "toolName": there.name}


def _chunk_json(there: InspectedChunk) -> dict[str, Any]:
    return {
        "cursor": str(there.cursor),
        "index": there.index,
        "attempt": there.attempt,
        "void": there.is_void,
        "chunk": there.chunk,
    }


def _run_in_path(request: web.Request) -> RunId:
    return RunId(id_in_path(request, "run"))


def _cursor(request: web.Request) -> Cursor:
    text = text_in_query(request, "from")
    try:
        return Cursor(0, 0) if text is None else Cursor.parse(text)
    except ValueError as error:
        raise ProblemError("invalid_cursor", "from reads <sequence>-<index>, as next does.") from error


def _no_thread(thread: ThreadId) -> ProblemError:
    return ProblemError("thread_not_found", f"There is no thread {thread}.")


def _no_run(run: RunId) -> ProblemError:
    return ProblemError("run_not_found", f"The thread has no run {run}.")


def _json(body: object) -> web.Response:
    return web.Response(body=to_json(body), content_type="application/json")
