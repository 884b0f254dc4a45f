"""How the stream of every run begins and ends."""

from typing import Any

from decopilot.contracts.chunks import RUN, USER_MESSAGE, Chunk, transient
from decopilot.contracts.events import RunRequested
from decopilot.contracts.frames import Outcome


def opening(requested: RunRequested, attempt: int) -> list[Chunk]:
    """Make the chunks that begin a run: passive viewers learn its ids and see the question."""
    question = requested.message.model_dump(mode="json", exclude_none=True)
    return [
        {"type": "start", "messageId": requested.assistant_id},
        transient(RUN, {"runId": requested.run_id, "attempt": attempt}),
        transient(USER_MESSAGE, {"message": question}),
    ]


def closing(outcome: Outcome, metadata: dict[str, Any]) -> list[Chunk]:
    """Make the chunks that end a run: exactly one `finish`, behind an `error` where there was one.

    Why a run failed goes into its message's metadata too: who reads it later saw neither chunk.
    """
    finish: Chunk = {"type": "finish", "finishReason": outcome.finish_reason}
    if outcome.status == "failed":
        metadata = metadata | {"finishReason": outcome.finish_reason, "errorText": outcome.error_text}
    if metadata:
        finish["messageMetadata"] = metadata
    if outcome.status == "failed" and outcome.finish_reason == "error":
        return [{"type": "error", "errorText": outcome.error_text}, finish]
    return [finish]
