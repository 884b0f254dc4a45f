"""Stable codes of refusals, and what each means in HTTP (RFC 9457)."""

from typing import NamedTuple


class Problem(NamedTuple):
    """HTTP status and title of a code."""

    status: int
    title: str


PROBLEMS: dict[str, Problem] = {
    "invalid_json": Problem(400, "The body is not JSON"),
    "invalid_body": Problem(400, "The body breaks its schema"),
    "invalid_id": Problem(400, "An id is malformed"),
    "invalid_cursor": Problem(400, "The cursor is malformed"),
    "invalid_query": Problem(400, "A query parameter is malformed"),
    "malformed_request": Problem(400, "The request is no HTTP"),
    "thread_mismatch": Problem(400, "URL and body name different threads"),
    "tier_unavailable": Problem(400, "The tier has no model"),
    "unauthenticated": Problem(401, "A valid token is needed"),
    "forbidden": Problem(403, "The token does not allow this"),
    "model_not_allowed": Problem(403, "The role may not use the model"),
    "link_invalid": Problem(403, "The link has expired, or is none of ours"),
    "not_found": Problem(404, "There is nothing at this path"),
    "thread_not_found": Problem(404, "There is no such thread"),
    "run_not_found": Problem(404, "The thread has no such run"),
    "agent_not_found": Problem(404, "There is no such agent"),
    "file_not_found": Problem(404, "The thread has no such file"),
    "automation_not_found": Problem(404, "There is no such automation"),
    "interaction_not_found": Problem(404, "The thread waits for nothing of this id"),
    "message_not_found": Problem(404, "The thread has no such message"),
    "message_not_queued": Problem(404, "No message of this id waits its turn"),
    "method_not_allowed": Problem(405, "The path does not know this method"),
    "body_too_slow": Problem(408, "The body took too long to come"),
    "request_too_slow": Problem(408, "The request took too long to come"),
    "message_conflict": Problem(409, "The message id stands for another message"),
    "thread_conflict": Problem(409, "The thread id stands for another thread"),
    "run_active": Problem(409, "The thread is busy with a run"),
    "interaction_resolved": Problem(409, "What the run waited for was resolved otherwise"),
    "run_started": Problem(409, "The message's run has begun"),
    "automation_busy": Problem(409, "The automation has as many runs as it may"),
    "automation_inactive": Problem(409, "The automation is not active"),
    "body_too_large": Problem(413, "The body is too large"),
    "uri_too_long": Problem(414, "The address is too long"),
    "unsupported_media_type": Problem(415, "The body is of another type than is taken here"),
    "range_not_satisfiable": Problem(416, "The file has no such part"),
    "files_not_supported": Problem(422, "The model reads no files"),
    "invalid_file": Problem(422, "A file of the message can't be taken"),
    "too_many_streams": Problem(429, "Too many streams are open"),
    "too_many_messages": Problem(429, "Too many messages in too short a time"),
    "too_many_runs": Problem(429, "Too many runs go on at once"),
    "too_many_reports": Problem(429, "Too many reports in too short a time"),
    "queue_full": Problem(429, "The thread's queue is full"),
    "headers_too_large": Problem(431, "The headers are too large"),
    "internal": Problem(500, "The server failed"),
    "broker_unavailable": Problem(503, "The broker can't be reached"),
    "command_unavailable": Problem(503, "No command service answers"),
    "keys_unavailable": Problem(503, "The keys that sign tokens can't be had"),
    "too_many_connections": Problem(503, "Too many connections are open"),
    "storage_full": Problem(503, "The chunk log is nearly full"),
    "version_too_old": Problem(503, "A newer version has written to the thread"),
}
