"""Ending a run: first the closing frame, then the terminal event that the sealed log implies, whoever ends it."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, get_args

import structlog

from decopilot.contracts import subjects
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.events import FailureReason, RunRequested
from decopilot.contracts.frames import Cursor, Frame, Outcome
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.commands import Command, End, Promote
from decopilot.domain.fold import Fold, FoldError
from decopilot.domain.interactions import resolution_chunks
from decopilot.domain.margins import closing, opening, run_chunk
from decopilot.domain.outcome import failure, forced
from decopilot.domain.resuming import LogLostError, Replay, unwritten_resolutions
from decopilot.domain.thread import ThreadState
from decopilot.log.chunklog import ChunkLog
from decopilot.log.history import Histories
from decopilot.log.journal import Executed, Journal
from decopilot.log.metrics import RUNS_ENDED, RUNS_LOST
from decopilot.log.pump import ChunkTooLargeError, FencedError, Pump
from decopilot.log.store import MessageTooLargeError, ResultT, Store, patiently

INTERRUPTED = "The run was interrupted."
LOG_LOST = "The beginning of the answer is lost."
TOO_LARGE = "The answer is too large to be kept."
CLOSING_TEXT = 200
"""So much of why a run failed is said again in each call that it left open."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a run. `previous` is the sequence of the thread's last frame before the run."""

    org: OrgId
    thread: ThreadId
    requested: RunRequested
    number: int
    previous: int

    @classmethod
    def of(cls, org: OrgId, thread: ThreadId, state: ThreadState) -> "Attempt":
        """Speak for the present attempt at the thread's active run; of one that nobody began, for its first."""
        if state.active is None:
            msg = f"{thread} has no active run"
            raise ValueError(msg)
        return cls(org, thread, state.active.requested, max(state.active.attempt, 1), state.last_frame)

    @property
    def run(self) -> RunId:
        """The run's id."""
        return self.requested.run_id


class Ender:
    """Seals runs and appends what the seal implies.

    What the broker has not taken or answered after `patience_s` is given up, with its error; reading a run may take
    longer.
    """

    def __init__(self, store: Store, journal: Journal, histories: Histories, *, patience_s: float = math.inf) -> None:
        self._store = store
        self._patience_s = patience_s
        self._journal = journal
        self._histories = histories
        self._chunks = ChunkLog(store)
        # Who waits for the first one sees it rise.
        RUNS_LOST.add(0)
        for reason in get_args(FailureReason):
            RUNS_ENDED.add(0, {"status": "failed", "reason": reason})

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
            patience_s=self._patience_s,
        )

    @asynccontextmanager
    async def fencing_pump(self, attempt: Attempt) -> AsyncIterator[tuple[Pump, Frame | None]]:
        """Open a pump behind a frame of its own, which refuses every frame of whoever wrote to the run before.

        Yields the pump and that frame: the last one of the run, with all others before it. Of a run that nobody wrote
        to there is none: its own first frame is to fence it.

        Raises:
            SealedError: the run has its closing frame.
            StaleError: a newer attempt wrote to it.

        """
        while True:
            last = await self._last(attempt)
            if last is not None and last.outcome is not None:
                raise SealedError(attempt.run, last)
            if last is not None and last.attempt > attempt.number:
                raise FencedError(attempt.run, last)
            async with self.pump(attempt, after=last) as pump:
                fence = None
                if last is not None:
                    try:
                        fence = await pump.frame([run_chunk(attempt.requested, attempt.number)])
                    except FencedError as error:
                        # A frame landed since the last one was read: behind that one, then.
                        log.info("fence_refused", run_id=attempt.run, error=str(error))
                        continue
                yield pump, fence
                return

    async def end(
        self, attempt: Attempt, fold: Fold, pump: Pump, outcome: Outcome, metadata: dict[str, Any] | None = None
    ) -> None:
        """Close what is open, seal the run, append its terminal event; then let the next run start.

        Raises:
            FencedError: another writer sealed the run first.

        """
        waits = outcome.status == "requires_action" and outcome.finish_reason == "tool-calls"
        closed = fold.closing_chunks(outcome.error_text[:CLOSING_TEXT] or INTERRUPTED, waits=waits)
        ended = closing(attempt.requested, outcome, metadata or {})
        try:
            # In one frame: of an end that is cut off nothing is left that looks like a step which its agent finished.
            end = await pump.close([*closed, *ended], outcome)
        except ChunkTooLargeError:
            await _write(pump, closed)
            end = await pump.close(ended, outcome)
        for chunk in (*closed, *ended):
            fold.add(chunk)
        await self._append(attempt, fold.message(), outcome, end)

    async def end_as_sealed(self, attempt: Attempt, closed: Frame) -> None:
        """Append the terminal event that a closing frame implies, if it is missing."""
        await self._end_as_sealed(attempt, closed, Replay(attempt.requested.assistant_id))

    async def _end_as_sealed(self, attempt: Attempt, closed: Frame, replay: Replay) -> None:
        if closed.outcome is None:
            msg = f"frame {closed.sequence} closes nothing"
            raise ValueError(msg)
        fold = await self._fold(attempt, closed, replay)
        outcome, message = closed.outcome, Fold(attempt.requested.assistant_id).message()
        if fold is None:
            outcome = failure(message, "log_lost", LOG_LOST)
        else:
            message = fold.message()
        await self._append(attempt, message, outcome, closed.end)

    async def end_if_sealed(self, attempt: Attempt) -> bool:
        """Append the terminal event of a run that has its closing frame; tell whether it has."""
        last = await self._last(attempt)
        if last is None or last.outcome is None:
            return False
        await self.end_as_sealed(attempt, last)
        return True

    async def seal(self, attempt: Attempt, reason: FailureReason) -> None:
        """End a run that nobody drives, or whose driver is to stop: as its closing frame says, or for this reason.

        Repeated until the closing frame is ours or another's is found: a driver that still writes is fenced first.
        """
        while True:
            replay = Replay(attempt.requested.assistant_id)
            # Ahead of the fence: two sealers that read a long run behind their fences would refuse each other for ever.
            last = await self._last(attempt)
            if last is not None:
                with suppress(LogLostError, FoldError):
                    await self._read_on(attempt, last, replay)
            try:
                async with self.fencing_pump(attempt) as (pump, fence):
                    await self._seal_behind(attempt, reason, pump, fence, replay)
            except SealedError as sealed:
                await self._end_as_sealed(attempt, sealed.closed, replay)
            except FencedError as error:
                if error.found is not None and error.found.attempt > attempt.number:
                    # A newer attempt drives it: fenced as that one.
                    attempt = replace(attempt, number=error.found.attempt)
                log.info("seal_refused", run_id=attempt.run, error=str(error))
                continue
            break
        await self.wake(attempt.org, attempt.run)

    async def seal_behind(self, attempt: Attempt, judged: Frame | None, reason: FailureReason) -> bool:
        """End a run of which this is the last frame (None: it has none); False where the broker says it is not."""
        try:
            async with self.pump(attempt, after=judged) as pump:
                await self._seal_behind(attempt, reason, pump, judged, Replay(attempt.requested.assistant_id))
        except FencedError:
            return False
        await self.wake(attempt.org, attempt.run)
        return True

    async def wake(self, org: OrgId, run: RunId) -> None:
        """Have whoever drives a run look at the log."""
        await self._store.nc.publish(subjects.signal(org, run))

    async def _seal_behind(
        self, attempt: Attempt, reason: FailureReason, pump: Pump, last: Frame | None, replay: Replay
    ) -> None:
        fold = await (self._open(attempt, pump) if last is None else self._fold(attempt, last, replay))
        if fold is None:
            fold = Fold(attempt.requested.assistant_id)
            await self.end(attempt, fold, pump, failure(fold.message(), "log_lost", LOG_LOST))
            return
        # What a person said must not go with a run that nobody brought on.
        await _tell(fold, pump, unwritten_resolutions(replay.frames, attempt.requested.resolutions))
        await self.end(attempt, fold, pump, forced(fold.message(), reason))

    async def _open(self, attempt: Attempt, pump: Pump) -> Fold:
        fold = Fold(attempt.requested.assistant_id)
        chunks = opening(attempt.requested, attempt.number, await self.earlier(attempt))
        try:
            await pump.frame(chunks)
        except ChunkTooLargeError:
            # A message that has grown to what the log just takes, and verdicts on top: it ends all the same.
            chunks = opening(attempt.requested, attempt.number)
            await pump.frame(chunks)
        for chunk in chunks:
            fold.add(chunk)
        await _tell(fold, pump, resolution_chunks(fold.message(), attempt.requested.resolutions))
        return fold

    async def earlier(self, attempt: Attempt) -> UIMessage | None:
        """Read the message that a run without one of its own is about: the answer it goes on with, or its question.

        Either is the thread's last one, for as long as the run is active.
        """
        requested = attempt.requested
        if requested.message is not None:
            return None
        about = requested.assistant_id if requested.regenerates is None else requested.regenerates
        history = await self._patiently(lambda: self._histories.read(attempt.org, attempt.thread, limit=1))
        found = [message for message in history.messages if message.id == about]
        return found[0] if found else None

    async def _patiently(self, call: Callable[[], Awaitable[ResultT]]) -> ResultT:
        return await patiently(call, patience_s=self._patience_s)

    async def _execute(self, org: OrgId, thread: ThreadId, command: Command) -> Executed:
        # The journal itself asks for ever where an append is not taken.
        async with asyncio.timeout(None if math.isinf(self._patience_s) else self._patience_s):
            return await patiently(lambda: self._journal.execute(org, thread, command))

    async def _last(self, attempt: Attempt) -> Frame | None:
        return await self._patiently(lambda: self._chunks.last_of_run(attempt.org, attempt.thread, attempt.run))

    async def _fold(self, attempt: Attempt, last: Frame, replay: Replay) -> Fold | None:
        """Fold what counts of a run, up to its last frame; None where that can't be done."""
        try:
            await self._read_on(attempt, last, replay)
        except (LogLostError, FoldError) as error:
            # The run must end all the same.
            RUNS_LOST.add(1)
            log.warning("log_unreadable", run_id=attempt.run, error=repr(error))
            return None
        return replay.fold

    async def _read_on(self, attempt: Attempt, last: Frame, replay: Replay) -> None:
        """Read and fold what follows on what was read of a run, up to its last frame.

        Raises:
            LogLostError, FoldError: it can't be folded, be it by what was read before.

        """

        async def read_on() -> None:
            after = replay.frames[-1].sequence if replay.frames else 0
            read = self._chunks.batches_of_run(
                attempt.org, attempt.thread, attempt.run, after=after, until=last.sequence
            )
            async with aclosing(read) as batches:
                async for batch in batches:
                    replay.add([frame for frame in batch if frame.sequence <= last.sequence], last.void)

        await self._patiently(read_on)
        replay.add((), last.void)

    async def _append(self, attempt: Attempt, message: UIMessage, outcome: Outcome, end: Cursor) -> None:
        command = End(
            now=datetime.now(UTC),
            run_id=attempt.run,
            attempt=attempt.number,
            outcome=outcome,
            message=message if message.parts else None,
            end=end,
        )
        try:
            executed = await self._execute(attempt.org, attempt.thread, command)
        except MessageTooLargeError as error:
            # Whatever an agent made of its answer, its run must end: without a message that the log can't take.
            log.warning("message_not_kept", run_id=attempt.run, size_bytes=error.size_bytes)
            outcome = failure(message, "too_large", TOO_LARGE)
            bare = replace(command, outcome=outcome, message=None)
            executed = await self._execute(attempt.org, attempt.thread, bare)
        why = {} if outcome.reason is None else {"reason": outcome.reason, "category": outcome.error_category}
        if executed.appended is not None:
            RUNS_ENDED.add(1, {"status": outcome.status, "reason": outcome.reason or outcome.finish_reason})
        log.info("run_ended", org=attempt.org, thread=attempt.thread, run_id=attempt.run, status=outcome.status, **why)
        if executed.state.may_promote:
            await self.promote(attempt.org, attempt.thread)

    async def promote(self, org: OrgId, thread: ThreadId) -> None:
        """Let the thread go on by itself, as far as it does: drop what nobody is to answer, start the queue's head."""
        while True:
            executed = await self._execute(org, thread, Promote(now=datetime.now(UTC)))
            if executed.appended is None:
                return
            log.info("thread_went_on", org=org, thread=thread, type=executed.appended.event.type)


async def _tell(fold: Fold, pump: Pump, chunks: list[Chunk]) -> None:
    for chunk in chunks:
        fold.add(chunk)
        await pump.write(chunk)


async def _write(pump: Pump, closed: list[Chunk]) -> None:
    for chunk in closed:
        try:
            await pump.write(chunk)
        except ChunkTooLargeError:
            # Half an input that has grown beyond what the log takes: its call is closed without it.
            chunk["input"] = None
            await pump.write(chunk)


class SealedError(Exception):
    """The run has its closing frame: what is left to do is what that implies."""

    def __init__(self, run: RunId, closed: Frame) -> None:
        self.run, self.closed = run, closed
        super().__init__(f"{run} was closed by frame {closed.sequence}")
