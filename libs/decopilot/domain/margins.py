"""How the stream of every run begins and ends."""

from typing import Any

from decopilot.contracts.chunks import MESSAGES_DROPPED, RUN, RUN_END, RUN_REWIND, USER_MESSAGE, Chunk, transient
from decopilot.contracts.events import RunRequested
from decopilot.contracts.frames import Outcome
from decopilot.contracts.messages import UIMessage
from decopilot.domain.interactions import with_verdicts
from decopilot.domain.outcome import ABORTED


def opening(requested: RunRequested, attempt: int, earlier: UIMessage | None = None) -> list[Chunk]:
    """Make the chunks that begin a run: passive viewers learn its ids and see the question.

    `earlier` is the message that a run without one of its own is about (`Ender.earlier`): a continuation begins with
    the answer that it goes on with, and one that answers anew says that all behind its question is gone.
    """
    chunks: list[Chunk] = [{"type": "start", "messageId": requested.assistant_id}, run_chunk(requested, attempt)]
    question = requested.message
    if requested.regenerates is not None:
        chunks.append(transient(MESSAGES_DROPPED, {"after": requested.regenerates}))
        question = earlier
    if question is not None:
        chunks.append(transient(USER_MESSAGE, {"message": question.model_dump(mode="json", exclude_none=True)}))
    if requested.continues is not None and earlier is not None:
        chunks.append(rewind_chunk(requested, attempt, with_verdicts(earlier, requested.resolutions)))
    return chunks


def run_chunk(requested: RunRequested, attempt: int) -> Chunk:
    """Make the chunk that names the run, and the attempt whose chunks follow."""
    return transient(RUN, {"runId": requested.run_id, "attempt": attempt})


def rewind_chunk(requested: RunRequested, attempt: int, message: UIMessage) -> Chunk:
    """Make the chunk that says what the message is at this point, whatever was delivered of it before."""
    told = message.model_dump(mode="json", exclude_none=True)
    return transient(RUN_REWIND, {"runId": requested.run_id, "attempt": attempt, "message": told})


def closing(requested: RunRequested, outcome: Outcome, metadata: dict[str, Any]) -> list[Chunk]:
    """Make the chunks that end a run: exactly one `finish`, behind an `abort` or `error` where there was one.

    Why a run failed goes into its message's metadata too: who reads it later saw neither chunk.
    """
    end: dict[str, str] = {"runId": requested.run_id, "status": outcome.status}
    finish: Chunk = {"type": "finish", "finishReason": outcome.finish_reason}
    broken: list[Chunk] = []
    if outcome.status == "failed":
        reason = outcome.reason or "error"
        end["reason"] = reason
        metadata = metadata | {
            "finishReason": outcome.finish_reason,
            "failureReason": reason,
            "errorText": outcome.error_text,
        }
        if reason in ABORTED:
            broken = [{"type": "abort"}]
        elif outcome.finish_reason == "error":
            broken = [{"type": "error", "errorText": outcome.error_text}]
    if metadata:
        finish["messageMetadata"] = metadata
    # Ahead of an error: what follows one is not looked at by every client.
    return [transient(RUN_END, end), *broken, finish]
