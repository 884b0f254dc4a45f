"""Ending a run: first the closing frame, then the terminal event that the sealed log implies."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from decopilot.contracts.frames import Cursor, Frame, Outcome
from decopilot.domain.decider import End
from decopilot.domain.fold import Fold, FoldError
from decopilot.domain.margins import closing, opening
from decopilot.domain.outcome import failure
from decopilot.log.chunklog import ChunkLog
from decopilot.log.journal import Journal
from decopilot.log.pump import ChunkTooLargeError, FencedError, Pump
from decopilot.log.store import MessageTooLargeError, Store, patiently
from decopilot_runner.attempt import Attempt

INTERRUPTED = "The run was interrupted."
LOG_LOST = "The beginning of the answer is lost."
TOO_LARGE = "The answer is too large to be kept."
CLOSING_TEXT = 200
"""So much of why a run failed is said again in each call that it left open."""

log = structlog.get_logger()


class Ender:
    """Seals runs and appends what the seal implies."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._chunks = ChunkLog(store)

    def pump(self, attempt: Attempt, *, after: Frame | None = None) -> Pump:
        """Make the attempt's pump, behind the run's last frame if it has one."""
        previous = attempt.previous if after is None else after.sequence
        return Pump(
            self._store,
            attempt.org,
            attempt.thread,
            attempt.run,
            attempt=attempt.number,
            previous=previous,
            after=after,
        )

    async def end(
        self, attempt: Attempt, fold: Fold, pump: Pump, outcome: Outcome, metadata: dict[str, Any] | None = None
    ) -> None:
        """Close what is open, seal the run, append its terminal event.

        Raises:
            FencedError: another writer sealed the run first.

        """
        for chunk in fold.closing_chunks(outcome.error_text[:CLOSING_TEXT] or INTERRUPTED):
            try:
                await pump.write(chunk)
            except ChunkTooLargeError:
                # Half an input that has grown beyond what the log takes: its call is closed without it.
                chunk |= {"input": None}
                await pump.write(chunk)
            fold.add(chunk)
        chunks = closing(outcome, metadata or {})
        for chunk in chunks:
            fold.add(chunk)
        end = await pump.close(chunks, outcome)
        await self._append(attempt, fold, outcome, end)

    async def end_as_crashed(self, attempt: Attempt) -> None:
        """End a run whose runner is gone: as its closing frame says, or sealed here as `crashed`."""
        while True:
            last = await self._chunks.last_of_run(attempt.org, attempt.thread, attempt.run)
            fold, is_whole = await self._fold(attempt, last)
            if last is not None and last.outcome is not None:
                outcome = last.outcome if is_whole else failure(fold.message(), "log_lost", LOG_LOST)
                await self._append(attempt, fold, outcome, last.end)
                return
            outcome = failure(fold.message(), "crashed", INTERRUPTED, reason="crashed")
            try:
                async with self.pump(attempt, after=last) as pump:
                    if last is None:
                        for chunk in opening(attempt.requested, attempt.number):
                            fold.add(chunk)
                            await pump.write(chunk)
                    await self.end(attempt, fold, pump, outcome)
            except FencedError as error:
                # Something was written since it was read: read again.
                log.info("seal_refused", run_id=attempt.run, error=str(error))
                continue
            return

    async def _fold(self, attempt: Attempt, last: Frame | None) -> tuple[Fold, bool]:
        fold = Fold(attempt.requested.assistant_id)
        if last is None:
            return fold, True
        frames = await self._chunks.of_run(attempt.org, attempt.thread, attempt.run, until=last.sequence)
        # A log that has lost its beginning is never folded.
        if not frames or frames[0].index != 0:
            return fold, False
        try:
            for chunk in (chunk for frame in frames for chunk in frame.chunks):
                fold.add(chunk)
        except FoldError as error:
            # The run must end all the same.
            log.warning("log_unreadable", run_id=attempt.run, error=str(error))
            return fold, False
        return fold, True

    async def _append(self, attempt: Attempt, fold: Fold, outcome: Outcome, end: Cursor) -> None:
        message = fold.message()
        command = End(
            now=datetime.now(UTC),
            run_id=attempt.run,
            attempt=attempt.number,
            outcome=outcome,
            message=message if message.parts else None,
            end=end,
        )
        try:
            await patiently(lambda: self._journal.execute(attempt.org, attempt.thread, command))
        except MessageTooLargeError as error:
            # Whatever an agent made of its answer, its run must end: without a message that the log can't take.
            log.warning("message_not_kept", run_id=attempt.run, size_bytes=error.size_bytes)
            outcome = failure(message, "too_large", TOO_LARGE)
            bare = replace(command, outcome=outcome, message=None)
            await patiently(lambda: self._journal.execute(attempt.org, attempt.thread, bare))
        why = {} if outcome.reason is None else {"reason": outcome.reason, "category": outcome.error_category}
        log.info("run_ended", org=attempt.org, thread=attempt.thread, run_id=attempt.run, status=outcome.status, **why)
