"""Pumping an agent: its chunks, checked and folded, into the log; what it does wrong fails its own run only."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from decopilot.agent import Agent, AgentError, AgentRequest, ReadFile
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.events import UnknownEventError
from decopilot.contracts.frames import Outcome
from decopilot.contracts.messages import UIMessage
from decopilot.domain.choosing import check_still
from decopilot.domain.commands import CompleteStep, RefusedError, StaleError
from decopilot.domain.fold import Fold, FoldError
from decopilot.domain.outcome import failure, resolve, usage_of
from decopilot.domain.resuming import is_cut
from decopilot.kit.redaction import redact
from decopilot.log.blobs import Blobs
from decopilot.log.ending import Attempt
from decopilot.log.journal import Journal
from decopilot.log.metrics import since_s
from decopilot.log.pump import FencedError, Pump
from decopilot.log.store import patiently
from decopilot_runner.checking import AnswerTooLargeError, Checker, ProtocolError, RunTooLongError
from decopilot_runner.files import reading
from decopilot_runner.metrics import FIRST_CHUNK

CATEGORY_LENGTH = 64
"""It is a header of the closing frame."""
_UNSEEN = {"start-step", "finish-step", "message-metadata"}
"""Chunks that show nobody anything of an answer."""
UNFINISHED = "The call's input was not finished."

log = structlog.get_logger()


class BrokenProtocolError(Exception):
    """The chunk that an attempt's agent yielded as its `number`th, counted from 1, is none that a viewer may see."""

    def __init__(self, number: int, chunk_type: str, rule: str) -> None:
        self.number, self.chunk_type, self.rule = number, chunk_type, rule
        super().__init__(f"chunk {number} ({chunk_type}): {rule}")


@dataclass(slots=True)
class Progress:
    """How far an attempt is: what the log holds of the answer, and whether its agent may still add to it.

    `resolved` tells what came of the interactions that a continuation goes on with, as far as the log lacks it.
    """

    attempt: Attempt
    pump: Pump
    fold: Fold
    steps: int = 0
    partial: UIMessage | None = None
    resolved: list[Chunk] = field(default_factory=list)
    is_resumed: bool = False
    is_silent: bool = True
    is_stopped: bool = False


class AgentPump:
    """Lets agents write the answers of runs, up to `answer_bytes` each, and in all up to `run_bytes` an attempt."""

    def __init__(
        self,
        journal: Journal,
        agents: Mapping[str, Agent],
        configuration: Configuration,
        blobs: Blobs,
        *,
        answer_bytes: int,
        run_bytes: int,
        questions_wait: bool,
    ) -> None:
        self._journal = journal
        self._agents = agents
        self._configuration = configuration
        self._blobs = blobs
        self._answer_bytes = answer_bytes
        self._run_bytes = run_bytes
        self._questions_wait = questions_wait

    async def run(self, progress: Progress, history: Sequence[UIMessage]) -> tuple[Outcome, Chunk]:
        """Let the agent run; returns how the run is to end, and the agent's `finish` chunk or an empty one."""
        run, fold = progress.attempt.run, progress.fold
        try:
            finish = await self._pump_agent(progress, history)
        except (FencedError, StaleError, UnknownEventError, asyncio.CancelledError):
            # Somebody else's, or for a newer version to go on with: that is no fault of the agent's.
            raise
        except AgentError as error:
            return failure(fold.message(), _shown(error.category)[:CATEGORY_LENGTH], _shown(error.text)), {}
        except (BrokenProtocolError, ProtocolError) as error:
            log.warning("agent_broke_protocol", run_id=run, error=str(error))
            return failure(fold.message(), "protocol", f"The agent broke the chunk protocol: {error}."), {}
        except AnswerTooLargeError as error:
            log.warning("answer_too_large", run_id=run, limit_bytes=error.limit_bytes)
            return failure(fold.message(), "too_large", f"The answer is too large: {error}."), {}
        except RunTooLongError as error:
            log.warning("run_too_long", run_id=run, limit_bytes=error.limit_bytes)
            return failure(fold.message(), "too_large", f"The run does not come to an end: {error}."), {}
        except BaseException:
            # Also one that calls `sys.exit`: it must not end the runner, and the runs beside it.
            log.exception("agent_failed", run_id=run)
            return failure(fold.message(), "unknown", "The agent failed unexpectedly."), {}
        return resolve(finish.get("finishReason", "stop"), fold.message(), questions_wait=self._questions_wait), finish

    async def _pump_agent(self, progress: Progress, history: Sequence[UIMessage]) -> Chunk:
        """Pump the agent's chunks; returns its `finish` chunk, or an empty one."""
        finish: Chunk = {}
        number = 0
        checker = Checker(self._answer_bytes, run_bytes=self._run_bytes)
        if progress.partial is not None:
            checker.count(progress.partial)
        request = _request(progress, history, reading(self._blobs, progress.attempt.org))
        said = self._agent(progress.attempt)(request)
        if not isinstance(said, AsyncGenerator):
            raise ProtocolError("agent", "must be an async generator function")
        async with aclosing(said) as chunks:
            async for yielded in chunks:
                if progress.is_stopped:
                    # It took its cancellation for something else: what it says now is nobody's answer.
                    raise asyncio.CancelledError
                number += 1
                try:
                    chunk = checker.check(yielded)
                    kind = chunk["type"]
                    # How a run begins and ends is the runner's to say; the agent only adds to it.
                    if kind == "finish":
                        finish = chunk
                    if kind in {"start", "abort", "finish"}:
                        continue
                    if kind == "error":
                        raise AgentError("unknown", chunk["errorText"])
                    await self._take(progress, chunk)
                except FoldError as error:
                    raise BrokenProtocolError(number, error.chunk_type, f"{error.ref!r}: {error.rule}") from error
                except ProtocolError as error:
                    raise BrokenProtocolError(number, error.chunk_type, error.rule) from error
        return finish

    def _agent(self, attempt: Attempt) -> Agent:
        """Find the run's agent.

        Raises:
            AgentError: it is gone; or this is not the first attempt, and the run's model was forbidden meanwhile.

        """
        config = attempt.requested.config
        if attempt.number > 1:
            try:
                check_still(self._configuration, config)
            except RefusedError as refusal:
                raise AgentError(refusal.code, refusal.detail) from refusal
        agent = self._agents.get(config.agent_id)
        if agent is None:
            raise AgentError("agent_not_found", f'There is no agent "{config.agent_id}".')
        return agent

    async def _take(self, progress: Progress, chunk: Chunk) -> None:
        """Have a chunk stored; where the agent acts behind it, wait until it is."""
        if progress.is_silent and chunk["type"] not in _UNSEEN:
            progress.is_silent = False
            if progress.attempt.number == 1:
                FIRST_CHUNK.record(since_s(progress.attempt.requested.at))
        is_last = chunk["type"] == "finish-step"
        if is_last or chunk["type"] == "start-step":
            # Behind it nobody can end what was left open: not every client, and no other attempt.
            await _write(progress, *progress.fold.stream_ends(UNFINISHED))
        await _write(progress, chunk)
        if is_cut(chunk):
            await progress.pump.barrier()
        if is_last:
            progress.steps += 1
            await self.complete_step(progress, progress.steps)

    async def complete_step(self, progress: Progress, step: int) -> None:
        """Count a step that the log has whole."""
        attempt = progress.attempt
        command = CompleteStep(
            now=_now(),
            run_id=attempt.run,
            attempt=attempt.number,
            step=step,
            usage=usage_of(progress.fold.message()),
        )
        await patiently(lambda: self._journal.execute(attempt.org, attempt.thread, command))


async def _write(progress: Progress, *chunks: Chunk) -> None:
    for chunk in chunks:
        progress.fold.add(chunk)
        await progress.pump.write(chunk)


def _request(progress: Progress, history: Sequence[UIMessage], read_file: ReadFile) -> AgentRequest:
    requested = progress.attempt.requested
    return AgentRequest(
        org=progress.attempt.org,
        thread=progress.attempt.thread,
        run_id=requested.run_id,
        message_id=requested.assistant_id,
        history=history,
        config=requested.config,
        partial=progress.partial,
        resumed=progress.is_resumed,
        in_step=progress.fold.in_step,
        read_file=read_file,
    )


def _shown(text: object) -> str:
    # Whatever an agent gives as its text, the closing frame must take it; and others will read it.
    return redact(str(text).encode(errors="replace").decode())


def _now() -> datetime:
    return datetime.now(UTC)
