"""Driving a run: the agent's chunks into the log, step by step, and the end that the log then knows."""

from contextlib import aclosing
from datetime import UTC, datetime

import structlog

from decopilot.agent import Agent, AgentError, AgentRequest
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.frames import Outcome
from decopilot.domain.decider import CompleteStep, StaleError, Start
from decopilot.domain.fold import Fold, FoldError
from decopilot.domain.margins import opening
from decopilot.domain.outcome import failure, resolve, usage_of
from decopilot.kit import telemetry
from decopilot.log.history import Histories
from decopilot.log.journal import Journal
from decopilot.log.pump import FencedError, Pump
from decopilot.log.store import patiently
from decopilot_runner.attempt import Attempt
from decopilot_runner.checking import AnswerTooLargeError, Checker, ProtocolError
from decopilot_runner.ending import Ender

BARRIERS = frozenset(
    {"tool-input-available", "tool-input-error", "tool-output-available", "tool-output-error", "finish-step"}
)
"""Behind these the agent acts on the world or asks the model again: only once the log has what came before."""

log = structlog.get_logger()


class Driver:
    """Drives runs with one agent, whose answers have up to `answer_bytes`."""

    def __init__(
        self,
        journal: Journal,
        histories: Histories,
        agent: Agent,
        ender: Ender,
        *,
        runner_id: str,
        answer_bytes: int,
    ) -> None:
        self._journal = journal
        self._histories = histories
        self._agent = agent
        self._ender = ender
        self._runner_id = runner_id
        self._answer_bytes = answer_bytes

    async def drive(self, attempt: Attempt, *, cause: str) -> None:
        """Drive a run from its start to its terminal event. `cause` is the id of the event that asked for it.

        Raises:
            FencedError, StaleError: somebody else ended or took the run over.

        """
        org, thread, requested = attempt.org, attempt.thread, attempt.requested
        start = Start(now=_now(), run_id=attempt.run, attempt=attempt.number, runner_id=self._runner_id)
        await patiently(lambda: self._journal.execute(org, thread, start, cause=cause))
        log.info("run_started", org=org, thread=thread, run_id=attempt.run, attempt=attempt.number)
        fold = Fold(requested.assistant_id)
        async with self._ender.pump(attempt) as pump:
            for chunk in opening(requested, attempt.number):
                fold.add(chunk)
                await pump.write(chunk)
            with telemetry.span("agent", {telemetry.RUN: attempt.run, telemetry.AGENT: requested.config.agent_id}):
                outcome, finish = await self._agent_outcome(attempt, fold, pump)
            await self._ender.end(attempt, fold, pump, outcome, finish.get("messageMetadata"))

    async def _agent_outcome(self, attempt: Attempt, fold: Fold, pump: Pump) -> tuple[Outcome, Chunk]:
        """Let the agent run; what it does wrong fails its own run and nothing else."""
        try:
            finish = await self._pump_agent(attempt, fold, pump)
        except (FencedError, StaleError):
            raise
        except AgentError as error:
            return failure(fold.message(), _shown(error.category), _shown(error.text)), {}
        except (FoldError, ProtocolError) as error:
            log.warning("agent_broke_protocol", run_id=attempt.run, error=str(error))
            return failure(fold.message(), "protocol", f"The agent broke the chunk protocol: {error}."), {}
        except AnswerTooLargeError as error:
            log.warning("answer_too_large", run_id=attempt.run, limit_bytes=error.limit_bytes)
            return failure(fold.message(), "too_large", f"The answer is too large: {error}."), {}
        except Exception:
            log.exception("agent_failed", run_id=attempt.run)
            return failure(fold.message(), "unknown", "The agent failed unexpectedly."), {}
        return resolve(finish.get("finishReason", "stop"), fold.message()), finish

    async def _pump_agent(self, attempt: Attempt, fold: Fold, pump: Pump) -> Chunk:
        """Pump the agent's chunks; returns its `finish` chunk, or an empty one."""
        finish: Chunk = {}
        step = 0
        checker = Checker(self._answer_bytes)
        # Read while the opening is on its way: viewers see the question before the agent begins.
        request = await self._request(attempt)
        async with aclosing(self._agent(request)) as chunks:
            async for yielded in chunks:
                chunk = checker.check(yielded)
                kind = chunk["type"]
                # How a run begins and ends is the runner's to say; the agent only adds to it.
                if kind == "finish":
                    finish = chunk
                if kind in {"start", "abort", "finish"}:
                    continue
                if kind == "error":
                    raise AgentError("unknown", chunk["errorText"])
                fold.add(chunk)
                await pump.write(chunk)
                if kind in BARRIERS:
                    await pump.barrier()
                if kind == "finish-step":
                    step += 1
                    await self._complete_step(attempt, step, fold)
        return finish

    async def _request(self, attempt: Attempt) -> AgentRequest:
        requested = attempt.requested
        window = requested.config.window_size
        history = await patiently(lambda: self._histories.read(attempt.org, attempt.thread, limit=window))
        return AgentRequest(
            org=attempt.org,
            thread=attempt.thread,
            run_id=attempt.run,
            message_id=requested.assistant_id,
            history=history.messages,
            config=requested.config,
        )

    async def _complete_step(self, attempt: Attempt, step: int, fold: Fold) -> None:
        usage = usage_of(fold.message())
        command = CompleteStep(now=_now(), run_id=attempt.run, attempt=attempt.number, step=step, usage=usage)
        await patiently(lambda: self._journal.execute(attempt.org, attempt.thread, command))


def _shown(text: object) -> str:
    # Whatever an agent gives as its text, the closing frame must take it.
    return str(text).encode(errors="replace").decode()


def _now() -> datetime:
    return datetime.now(UTC)
