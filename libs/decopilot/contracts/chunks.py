"""Chunks: AI SDK UI-message-stream objects, and their form on the wire.

A chunk is plain JSON, because the gateway hands it on without looking into it. Names, fields and
order are those of the AI SDK (`ai` 5, 6 and 7).
"""

from typing import Any, Literal

from pydantic_core import from_json, to_json

Chunk = dict[str, Any]
FinishReason = Literal["stop", "length", "content-filter", "tool-calls", "error", "other"]

MCP_UNAVAILABLE = "data-mcp-unavailable"
"""The tools of an MCP server that an answer has to do without."""
RETRY = "data-retry"
"""Said by an agent that waits before it asks its model again: `{attempt, delayMs, category}`."""
RESET = "data-thread-reset"
ATTACH_TOKEN = "data-attach-token"  # noqa: S105  a name
"""The next token to attach with, on a stream that began by one: `{token, expiresAt}`."""
MESSAGES_DROPPED = "data-messages-dropped"
RUN = "data-run"
RUN_REWIND = "data-run-rewind"
RUN_END = "data-run-end"
THREAD_DELETED = "data-thread-deleted"
USER_MESSAGE = "data-user-message"

TOOL_STATES = frozenset(
    f"tool-{state}"
    for state in (
        "input-start",
        "input-available",
        "input-error",
        "approval-request",
        "approval-response",
        "output-available",
        "output-error",
        "output-denied",
    )
)
"""Chunks that take a tool call one state further; those between are deltas of its input."""


def encode_chunk(chunk: Chunk) -> bytes:
    """Encode one chunk as one line of JSON, without the line's end; NaN and infinity become null.

    Raises:
        ValueError: the chunk holds what JSON can't (a lone surrogate, an object).

    """
    return to_json(chunk, inf_nan_mode="null")


_SPARE_DEPTH = 24
"""What comes from outside is stored deeper than it came: in a chunk, a part, a message, an event, a view."""


def parse_outside(raw: bytes) -> Any:  # noqa: ANN401  any JSON
    """Read JSON that comes from outside and is to be stored: no NaN, no infinity, no half characters.

    It is also no deeper than can be read again from where it is kept (the parser's limit is 200 levels).

    Raises:
        ValueError: it is not JSON, or too deep.

    """
    parsed = from_json(raw, allow_inf_nan=False)
    try:
        from_json(b"[" * _SPARE_DEPTH + raw + b"]" * _SPARE_DEPTH, allow_inf_nan=False)
    except ValueError as error:
        msg = "the JSON is nested too deeply"
        raise ValueError(msg) from error
    return parsed


def transient(name: str, data: Any) -> Chunk:  # noqa: ANN401  the payload is any JSON
    """Make a data chunk that clients see but never fold into a message."""
    return {"type": name, "data": data, "transient": True}
