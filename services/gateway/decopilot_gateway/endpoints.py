"""The endpoints: every path that the gateway answers, in one table."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, get_args

from aiohttp import web
from aiohttp.typedefs import Handler

from decopilot.contracts.ids import ID_PATTERN
from decopilot.kit.health import Check, livez, readyz
from decopilot_gateway.attaching import Attach
from decopilot_gateway.branching import Branching
from decopilot_gateway.openapi import Endpoint, document
from decopilot_gateway.page import Page
from decopilot_gateway.posting import Posting
from decopilot_gateway.reading import LIMIT_MAX, Reading
from decopilot_gateway.replaying import Replay
from decopilot_gateway.watching import Watch
from decopilot_gateway.wishing import Wishing

_WHO = ("unauthenticated", "forbidden", "invalid_id", "internal")
_READ = (*_WHO, "broker_unavailable")
_WISH = (*_READ, "command_unavailable", "thread_not_found")
_BODY = ("invalid_json", "invalid_body", "body_too_large", "unsupported_media_type")
_RESOLUTION = ("interaction_not_found", "interaction_resolved", "storage_full")
_THREAD = "/{org}/decopilot/threads/{thread}"
_CURSOR = {"type": "string", "pattern": "^[0-9]{1,18}-[0-9]{1,18}$"}


def endpoints(
    *,
    posting: Posting,
    wishing: Wishing,
    branching: Branching,
    attach: Attach,
    watch: Watch,
    reading: Reading,
    page: Page,
    ready: Check,
    prefix: str,
) -> list[Endpoint]:
    """Every endpoint with its handler."""
    found = [
        Endpoint(
            "POST",
            f"{_THREAD}/messages",
            "postMessage",
            "Send a message: its run is in the log when this answers.",
            posting.handle,
            {202: ("The run is in the log; cursor is the position before its first chunk.", "Accepted")},
            (
                *(*_WISH, *_BODY, *_RESOLUTION, "thread_mismatch", "message_conflict", "run_active", "queue_full"),
                "message_not_found",
            ),
            body="MessagesBody",
        ),
        Endpoint(
            "POST",
            f"{_THREAD}/interactions",
            "resolveInteractions",
            "Approve, deny or answer what a thread waits for; once it is all of it, a run goes on.",
            wishing.resolve,
            {202: ("It is in the log; the run is the one that goes on, or still waits for the rest.", "Accepted")},
            (*_WISH, *_BODY, *_RESOLUTION),
            body="InteractionsBody",
        ),
        Endpoint(
            "POST",
            "/{org}/decopilot/cancel/{thread}",
            "cancelRun",
            "End a run, take it out of the queue, or drop what it waits for; without its id, the one that is active.",
            wishing.cancel,
            {202: ("What came of it; a run that had ended stays as it is.", "Receipt")},
            (*_WISH, *_BODY, "invalid_query"),
            query={"runId": {"type": "string", "pattern": ID_PATTERN}},
            body="CancelBody",
            needs_body=False,
        ),
        Endpoint(
            "GET",
            f"{_THREAD}/queue",
            "listQueue",
            "Show the messages that wait their turn, the next one first.",
            reading.queue,
            {200: ("The messages.", "Queue")},
            (*_READ, "thread_not_found"),
        ),
        Endpoint(
            "DELETE",
            f"{_THREAD}/queue/{{message}}",
            "withdrawMessage",
            "Take a message back that waits its turn.",
            wishing.withdraw,
            {202: ("Its run will not start.", "Receipt")},
            (*_WISH, "message_not_queued", "run_started"),
        ),
        Endpoint(
            "POST",
            f"{_THREAD}/regenerate",
            "regenerateAnswer",
            "Have a message answered anew, the last one unless it is named; what stands behind it leaves the thread.",
            branching.regenerate,
            {202: ("The run is in the log; messageId is the question's.", "Accepted")},
            (*_WISH, *_BODY, "thread_mismatch", "message_not_found", "run_active", "storage_full"),
            body="RegenerateBody",
            needs_body=False,
        ),
        Endpoint(
            "POST",
            f"{_THREAD}/fork",
            "forkThread",
            "Begin another thread with what this one holds, up to a message of it.",
            branching.fork,
            {201: ("The thread is in the log.", "Fork")},
            (*_WISH, *_BODY, "message_not_found", "thread_conflict"),
            body="ForkBody",
            needs_body=False,
        ),
        Endpoint(
            "GET",
            "/{org}/decopilot/attach/{thread}",
            "attach",
            "Stream a thread's chunks from a cursor on, across runs.",
            attach.handle,
            {200: ("Chunks as Server-Sent Events; each id is a cursor.", "text/event-stream")},
            (*_READ, "invalid_cursor", "invalid_query", "too_many_streams"),
            query={
                "cursor": _CURSOR,
                "replay": {"enum": [*get_args(Replay)], "default": "full"},
                "rewind": {"type": "boolean", "default": False},
                "sdk": {"enum": ["5", "6", "7"], "default": "6"},
            },
        ),
        Endpoint(
            "GET",
            "/{org}/watch",
            "watch",
            "Stream the org's watch events.",
            watch.handle,
            {200: ("Watch events as named Server-Sent Events.", "text/event-stream")},
            (*_READ, "invalid_cursor", "invalid_query", "too_many_streams"),
            query={"types": {"type": "string"}, "cursor": {"type": "string", "pattern": "^[0-9]{1,18}$"}},
        ),
        Endpoint(
            "GET",
            "/{org}/decopilot/threads",
            "listThreads",
            "List the org's threads, the one that changed last first.",
            reading.threads,
            {200: ("The threads.", "Threads")},
            (*_READ, "invalid_query"),
            query={"limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX}},
        ),
        Endpoint(
            "GET",
            _THREAD,
            "getThread",
            "Show one thread.",
            reading.thread,
            {200: ("The thread.", "Thread")},
            (*_READ, "thread_not_found"),
        ),
        Endpoint(
            "PATCH",
            _THREAD,
            "retitleThread",
            "Give a thread another title.",
            wishing.retitle,
            {202: ("It goes by that title.", "Receipt")},
            (*_WISH, *_BODY),
            body="TitleBody",
        ),
        Endpoint(
            "DELETE",
            _THREAD,
            "deleteThread",
            "Delete a thread and all that it holds.",
            wishing.delete,
            {202: ("It takes nothing any more, and what it held is being erased.", "Receipt")},
            _WISH,
        ),
        Endpoint(
            "GET",
            f"{_THREAD}/messages",
            "listMessages",
            "Show a thread's finished messages, and the cursor to attach with.",
            reading.messages,
            {200: ("The messages, oldest first.", "Messages")},
            (*_READ, "thread_not_found"),
        ),
        Endpoint(
            "GET",
            "/livez",
            "livez",
            "Tell that the process lives.",
            livez,
            {200: ("It lives.", "Health")},
            secured=False,
        ),
        Endpoint(
            "GET",
            "/readyz",
            "readyz",
            "Tell whether requests can be served now.",
            readyz(ready),
            {200: ("Ready.", "Health"), 503: ("Not ready.", "Health")},
            secured=False,
        ),
        Endpoint(
            "GET",
            "/",
            "page",
            "The web app; ?token= brings a token into a cookie.",
            page.handle,
            {
                200: ("The page.", "text/html"),
                303: ("The token was taken into a cookie.", None),
                401: ("No valid token.", "text/html"),
            },
            ("forbidden", "internal"),
            query={"token": {"type": "string"}, "org": {"type": "string"}},
        ),
    ]
    found.append(
        Endpoint(
            "GET",
            "/openapi.json",
            "openapi",
            "This document.",
            _serving(lambda: document(found, version("decopilot"), prefix)),
            {200: ("The OpenAPI document.", "application/json")},
            secured=False,
        )
    )
    return found


def _serving(make: Callable[[], dict[str, Any]]) -> Handler:
    async def handle(_request: web.Request) -> web.Response:
        return web.json_response(make())

    return handle
