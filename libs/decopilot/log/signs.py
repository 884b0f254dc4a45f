"""What the log holds of an attempt whose runner is gone."""

from decopilot.contracts.events import RunStarted
from decopilot.domain.tracing import Signs
from decopilot.log.chunklog import ChunkLog
from decopilot.log.ending import Attempt
from decopilot.log.journal import Journal


async def signs_of(journal: Journal, chunks: ChunkLog, attempt: Attempt) -> Signs | None:
    """Tell when the thread's newest attempt was begun and last heard; None where this one is not that, or nobody's.

    Raises:
        UnknownEventError: it was begun by a newer version.

    """
    started = await journal.last(attempt.org, attempt.thread, "run_started")
    event = None if started is None else started.event
    if started is None or not isinstance(event, RunStarted):
        return None
    if (event.run_id, event.attempt) != (attempt.run, attempt.number):
        return None
    last = await chunks.last_of_run(attempt.org, attempt.thread, attempt.run)
    heard = last.stored_at if last is not None and last.attempt == attempt.number else None
    return Signs(attempt.org, attempt.thread, event, started.at, heard or started.at)
