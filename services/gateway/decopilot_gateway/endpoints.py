"""The endpoints: every path that the gateway answers, in one table."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, get_args

from aiohttp import web
from aiohttp.typedefs import Handler

from decopilot.contracts.ids import ID_PATTERN
from decopilot.kit.health import Check, livez, readyz
from decopilot_gateway.attaching import Attach
from decopilot_gateway.automating import Automating
from decopilot_gateway.branching import Branching
from decopilot_gateway.choices import Choices
from decopilot_gateway.granting import IssueAttachToken
from decopilot_gateway.inspecting import CHUNKS, CHUNKS_MAX, Inspecting
from decopilot_gateway.inspecting import LIMIT as RUNS
from decopilot_gateway.inspecting import LIMIT_MAX as RUNS_MAX
from decopilot_gateway.listing import ARCHIVED, LIMIT, LIMIT_MAX, SEARCH_MAX, Listing
from decopilot_gateway.openapi import Endpoint, document
from decopilot_gateway.page import Page
from decopilot_gateway.painting import Painting
from decopilot_gateway.posting import Posting
from decopilot_gateway.reading import Reading
from decopilot_gateway.replaying import Replay
from decopilot_gateway.serving import Serving
from decopilot_gateway.uploading import Uploading
from decopilot_gateway.watching import Watch
from decopilot_gateway.wishing import Wishing

_WHO = ("unauthenticated", "forbidden", "invalid_id", "internal", "keys_unavailable")
_READ = (*_WHO, "broker_unavailable", "version_too_old")
_WISH = (*_READ, "command_unavailable", "thread_not_found")
_BODY = ("invalid_json", "invalid_body", "body_too_large", "body_too_slow", "unsupported_media_type")
_CHOICE = ("agent_not_found", "tier_unavailable", "model_not_allowed", "files_not_supported")
_QUOTA = ("too_many_messages", "too_many_runs")
_RESOLUTION = (
    "agent_not_found",
    "model_not_allowed",
    "interaction_not_found",
    "interaction_resolved",
    "storage_full",
    *_QUOTA,
)
_POST = ("thread_mismatch", "message_conflict", "run_active", "queue_full", "invalid_file", "file_not_found")
_THREAD = "/{org}/decopilot/threads/{thread}"
_RUN = ("thread_not_found", "run_not_found")
_SEQUENCE: dict[str, Any] = {"type": "integer", "minimum": 0}
_CURSOR = {"type": "string", "pattern": "^[0-9]{1,18}-[0-9]{1,18}$"}


def endpoints(
    *,
    posting: Posting,
    uploading: Uploading,
    serving: Serving,
    wishing: Wishing,
    automating: Automating,
    branching: Branching,
    attach: Attach,
    watch: Watch,
    inspecting: Inspecting,
    painting: Painting,
    listing: Listing,
    reading: Reading,
    choices: Choices,
    attach_tokens: IssueAttachToken,
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
            (*_WISH, *_BODY, *_CHOICE, *_RESOLUTION, *_POST, "message_not_found"),
            body="MessagesBody",
        ),
        Endpoint(
            "POST",
            f"{_THREAD}/files",
            "uploadFile",
            "Upload a file for a message: as the field `file` of a form, or as the body itself.",
            uploading.handle,
            {201: ("It is stored; its url belongs in a `file` part of a message.", "File")},
            (
                *_READ,
                "thread_not_found",
                "invalid_body",
                "invalid_file",
                "body_too_large",
                "body_too_slow",
                "unsupported_media_type",
                "too_many_streams",
            ),
            query={"filename": {"type": "string", "description": "The file's name, where it is the body itself."}},
            body="*/*",
        ),
        Endpoint(
            "GET",
            f"{_THREAD}/files/{{file}}",
            "readFile",
            "Read a file, or one range of it; with a link's query nobody needs a token.",
            serving.handle,
            {
                200: ("The file.", "*/*"),
                206: ("The range that was asked for.", "*/*"),
                304: ("It is the one that the caller has.", None),
            },
            (*_READ, "file_not_found", "link_invalid", "range_not_satisfiable", "too_many_streams"),
            query={"expires": {"type": "string"}, "signature": {"type": "string"}},
        ),
        Endpoint(
            "POST",
            f"{_THREAD}/files/{{file}}/link",
            "linkFile",
            "Make a link to a file that is good for a while without a token.",
            serving.link,
            {200: ("The link.", "FileLink")},
            (*_READ, "file_not_found"),
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
            (*_WISH, *_BODY, "thread_mismatch", "message_not_found", "run_active", "storage_full", *_QUOTA),
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
                "token": {"type": "string", "description": "An attach token, in the place of any other."},
            },
        ),
        Endpoint(
            "POST",
            f"{_THREAD}/attach-token",
            "makeAttachToken",
            "Make a token that begins a stream of this thread, and does nothing else, for a few minutes.",
            attach_tokens.handle,
            {201: ("The token, and the address with it.", "AttachToken")},
            _WHO,
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
            listing.threads,
            {200: ("The threads; with next as before comes the next page, null is the end.", "Threads")},
            (*_READ, "invalid_query"),
            query={
                "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT},
                "before": {"type": "string"},
                "q": {
                    "type": "string",
                    "maxLength": SEARCH_MAX,
                    "description": "Words, all of which occur in the title.",
                },
                "status": {"type": "string", "description": "Statuses, joined by commas."},
                "archived": {"enum": [*ARCHIVED], "default": "false"},
            },
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
            "changeThread",
            "Give a thread another title, put it aside (archive), take it back, or say who reads it: one of these.",
            wishing.change,
            {202: ("It goes by that title; it is archived, or no more; or these read it.", "Receipt")},
            (*_WISH, *_BODY),
            body="ChangeBody",
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
            f"{_THREAD}/runs",
            "listRuns",
            "List a thread's runs, the newest first.",
            inspecting.runs,
            {200: ("The runs; with next as before comes the next page, null is the end.", "Runs")},
            (*_READ, "thread_not_found", "invalid_query"),
            query={
                "limit": {"type": "integer", "minimum": 1, "maximum": RUNS_MAX, "default": RUNS},
                "before": {"type": "string", "pattern": ID_PATTERN},
            },
        ),
        Endpoint(
            "GET",
            f"{_THREAD}/runs/{{run}}",
            "inspectRun",
            "Show what the log holds of a run: its events, and its frames without their chunks.",
            inspecting.run,
            {200: ("The run; with next as after come its next frames, null is the end.", "RunInspection")},
            (*_READ, *_RUN, "invalid_query"),
            query={"after": _SEQUENCE},
        ),
        Endpoint(
            "GET",
            f"{_THREAD}/runs/{{run}}/chunks",
            "listRunChunks",
            "Show a run's chunks as they are stored, those that count no more among them.",
            inspecting.chunks,
            {200: ("The chunks behind from; with next as from comes the next page, null is the end.", "RunChunks")},
            (*_READ, *_RUN, "invalid_query", "invalid_cursor"),
            query={
                "from": _CURSOR,
                "limit": {"type": "integer", "minimum": 1, "maximum": CHUNKS_MAX, "default": CHUNKS},
                "frame": _SEQUENCE | {"description": "Of the frame at this sequence alone."},
            },
        ),
        Endpoint(
            "POST",
            "/{org}/decopilot/paint",
            "reportPaints",
            "Tell how long chunks of a run took from their storing until they were painted.",
            painting.handle,
            {204: ("It is counted.", None)},
            (*_READ, *_BODY, *_RUN, "too_many_reports"),
            body="PaintBody",
        ),
        Endpoint(
            "GET",
            "/{org}/decopilot/allowed-models",
            "listModels",
            "Show the models that the caller's role may use, and the tiers that stand for them.",
            choices.models,
            {200: ("Models by provider, `*` for all of it; and the tiers that have a model.", "AllowedModels")},
            _WHO,
        ),
        Endpoint(
            "GET",
            "/{org}/decopilot/agents",
            "listAgents",
            "Show the agents that a message may name.",
            choices.agents,
            {200: ("The agents, the default one first.", "Agents")},
            _WHO,
        ),
        Endpoint(
            "GET",
            "/{org}/decopilot/automations",
            "listAutomations",
            "List the org's automations: when each is due, and what it does now.",
            automating.list,
            {200: ("The automations, by name.", "Automations")},
            _READ,
        ),
        Endpoint(
            "POST",
            "/{org}/decopilot/automations/{name}/fire",
            "fireAutomation",
            "Have an automation begin on a fresh thread now; the same id twice is one run.",
            automating.fire,
            {202: ("The run is in the log; taskId is its thread.", "Accepted")},
            (
                *_WISH,
                *_BODY,
                "automation_not_found",
                "automation_busy",
                "automation_inactive",
                "agent_not_found",
                "tier_unavailable",
                "message_conflict",
                "storage_full",
                *_QUOTA,
            ),
            body="FireBody",
            needs_body=False,
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
            ("forbidden", "internal", "keys_unavailable"),
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
