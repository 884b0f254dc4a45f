"""Driving a run: the agent's chunks into the log, step by step, and the end that the log then knows."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import structlog
from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from decopilot.contracts.chunks import Chunk
from decopilot.contracts.frames import Frame
from decopilot.contracts.messages import UIMessage
from decopilot.domain.commands import StaleError, Start
from decopilot.domain.fold import Fold, FoldError
from decopilot.domain.interactions import resolution_chunks
from decopilot.domain.margins import opening, rewind_chunk
from decopilot.domain.outcome import failure, forced
from decopilot.domain.resuming import LogLostError, resume_point, unwritten_resolutions
from decopilot.domain.thread import ActiveRun
from decopilot.domain.tracing import attempt_span_id
from decopilot.kit import telemetry
from decopilot.log.chunklog import ChunkLog
from decopilot.log.ending import Attempt, Ender, SealedError
from decopilot.log.history import Histories
from decopilot.log.journal import Journal, Loaded
from decopilot.log.pump import ChunkTooLargeError, FencedError
from decopilot.log.store import patiently
from decopilot_runner import metrics
from decopilot_runner.metrics import ATTEMPTS, RESUMES
from decopilot_runner.pumping import AgentPump, Progress

STOP_AGAIN_S, STOP_TRIES = 0.3, 3
LOOK_S = 15.0
"""So often a run looks whether it is still its own, should the signal that says so be lost."""

log = structlog.get_logger()


class Driver:
    """Drives runs."""

    def __init__(
        self,
        journal: Journal,
        histories: Histories,
        chunks: ChunkLog,
        agent_pump: AgentPump,
        ender: Ender,
        *,
        runner_id: str,
    ) -> None:
        self._journal = journal
        self._histories = histories
        self._chunks = chunks
        self._agent_pump = agent_pump
        self._ender = ender
        self._runner_id = runner_id
        self._abandoned: set[asyncio.Task[Any]] = set()
        metrics.begin()

    async def drive(
        self, attempt: Attempt, woken: asyncio.Event, *, known: Loaded, cause: str, links: Sequence[Link] = ()
    ) -> None:
        """Drive a run from where the log has it to its terminal event.

        `woken` is set when there may be news of the run in the log. `cause` is the id of the event that asked for it,
        `links` what its span is linked to.

        Raises:
            FencedError, StaleError: somebody else took the run over.

        """
        org, thread = attempt.org, attempt.thread
        start = Start(now=_now(), run_id=attempt.run, attempt=attempt.number, runner_id=self._runner_id)
        started = await patiently(lambda: self._journal.execute(org, thread, start, cause=cause, known=known))
        ATTEMPTS.add(1)
        log.info("run_started", org=org, thread=thread, run_id=attempt.run, attempt=attempt.number)
        with telemetry.span(
            "attempt",
            {telemetry.ATTEMPT: attempt.number, telemetry.RUNNER: self._runner_id},
            kind=SpanKind.CONSUMER,
            links=links,
            span_id=attempt_span_id(attempt.run, attempt.number),
        ) as span:
            config = attempt.requested.config
            span.set_attributes({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": config.agent_id})
            span.set_attribute("gen_ai.conversation.id", attempt.thread)
            await self._drive(attempt, woken, started.state.active)

    async def _drive(self, attempt: Attempt, woken: asyncio.Event, active: ActiveRun | None) -> None:
        if active is not None and active.cancel is not None:
            await self._ender.seal(attempt, active.cancel)
            return
        try:
            async with self._ender.fencing_pump(attempt) as (pump, fence):
                progress = Progress(attempt, pump, Fold(attempt.requested.assistant_id))
                if fence is None:
                    history = await self._open(progress)
                else:
                    history = await self._history(attempt)
                    await self._resume(progress, fence, 0 if active is None else active.steps)
                await self._bring_to_end(progress, history, woken)
        except SealedError as sealed:
            await self._ender.end_as_sealed(attempt, sealed.closed)
        except (LogLostError, ChunkTooLargeError):
            await self._ender.seal(attempt, "error")
        except FencedError as error:
            if error.found is None or error.found.outcome is None:
                raise
            await self._ender.end_as_sealed(attempt, error.found)

    async def _open(self, progress: Progress) -> list[UIMessage]:
        attempt = progress.attempt
        earlier = await self._ender.earlier(attempt)
        chunks = opening(attempt.requested, attempt.number, earlier)
        for chunk in chunks:
            progress.fold.add(chunk)
        # Viewers see the question while the history is read.
        _, history = await asyncio.gather(progress.pump.frame(chunks), self._history(attempt))
        if attempt.requested.continues is not None and earlier is not None:
            progress.partial = progress.fold.message()
            progress.resolved = resolution_chunks(progress.partial, attempt.requested.resolutions)
        return history

    async def _resume(self, progress: Progress, fence: Frame, counted_steps: int) -> None:
        """Go on behind the last cut of the attempts before.

        Raises:
            LogLostError: there is no telling what they wrote.

        """
        attempt = progress.attempt
        frames = await patiently(
            lambda: self._chunks.of_run(attempt.org, attempt.thread, attempt.run, until=fence.sequence)
        )
        try:
            point = resume_point(attempt.requested.assistant_id, frames)
            progress.resolved = unwritten_resolutions(frames, attempt.requested.resolutions)
        except FoldError as error:
            log.warning("log_unreadable", run_id=attempt.run, error=repr(error))
            raise LogLostError from error
        message = point.fold.message()
        if point.void != fence.void:
            chunk = rewind_chunk(attempt.requested, attempt.number, message)
            await progress.pump.frame([chunk], void=point.void, rewinds=True)
        progress.fold, progress.steps = point.fold, point.steps
        progress.partial, progress.is_resumed = message if message.parts else None, True
        for step in range(counted_steps + 1, point.steps + 1):
            # Its runner died between the step's last frame and the event that this implies.
            await self._agent_pump.complete_step(progress, step)
        RESUMES.add(1)
        log.info("run_resumed", run_id=attempt.run, attempt=attempt.number, cut=point.cut, steps=point.steps)

    async def _bring_to_end(self, progress: Progress, history: list[UIMessage], woken: asyncio.Event) -> None:
        """Let the agent run until it ends or is to end, and end the run."""
        attempt = progress.attempt
        for chunk in progress.resolved:
            progress.fold.add(chunk)
            await progress.pump.write(chunk)
        await progress.pump.barrier()
        if progress.partial is not None:
            progress.partial = progress.fold.message()
        running = asyncio.create_task(self._agent_pump.run(progress, history), name=f"agent {attempt.run}")
        looking = asyncio.create_task(self._end_asked_for(attempt, woken), name=f"look {attempt.run}")
        for task in (running, looking):
            # Where both end at once, or we are cancelled, nobody else asks: the run is let go, or another attempt's.
            task.add_done_callback(_retrieve)
        try:
            await asyncio.wait({running, looking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            progress.is_stopped = not running.done()
            await self._stop(looking)
            await self._stop(running)
        if progress.is_stopped:
            outcome, finish = forced(progress.fold.message(), looking.result()), Chunk()
        elif running.cancelled():
            # Not by us: something of the agent's own was cancelled, and nobody caught it.
            outcome, finish = failure(progress.fold.message(), "unknown", "The agent was interrupted."), Chunk()
        else:
            outcome, finish = running.result()
            if outcome.status == "failed":
                trace.get_current_span().set_status(Status(StatusCode.ERROR, outcome.error_category))
        await self._ender.end(attempt, progress.fold, progress.pump, outcome, finish.get("messageMetadata"))

    async def _end_asked_for(self, attempt: Attempt, woken: asyncio.Event) -> Literal["cancelled", "superseded"]:
        """Wait until somebody asks for the run's end; tell why.

        Raises:
            StaleError: the run has ended, or is another attempt's.

        """
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await woken.wait()
            except TimeoutError:
                pass
            woken.clear()
            loaded = await patiently(lambda: self._journal.load(attempt.org, attempt.thread))
            state, active = loaded.state, loaded.state.active
            if active is None or active.run_id != attempt.run or active.attempt > attempt.number:
                raise StaleError(attempt.run, attempt.number)
            if active.cancel is not None:
                return active.cancel
            if state.is_deleted:
                return "cancelled"

    async def _stop(self, task: asyncio.Task[Any]) -> None:
        """Cancel a task until it has ended; one that won't is left behind, so that its run can end without it."""
        for _ in range(STOP_TRIES):
            # More than once: an agent may take a cancellation for the failure of its own call, and go on.
            task.cancel()
            # Not awaited itself: our own cancellation must not be taken for the task's.
            await asyncio.wait([task], timeout=STOP_AGAIN_S)
            if task.done():
                return
        log.warning("agent_abandoned", task=task.get_name())
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)

    async def _history(self, attempt: Attempt) -> list[UIMessage]:
        """Read what the agent is told of the thread: its own answer, where it goes on with one, is not part of that."""
        requested = attempt.requested
        limit = requested.config.window_size + 1
        read = await patiently(lambda: self._histories.read(attempt.org, attempt.thread, limit=limit))
        earlier = [message for message in read.messages if message.id != requested.assistant_id]
        return earlier[-requested.config.window_size :]


def _retrieve(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


def _now() -> datetime:
    return datetime.now(UTC)
