"""What may happen to a thread: one decision is at most one event."""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from decopilot.contracts.events import (
    Event,
    RunCompleted,
    RunFailed,
    RunRequested,
    RunRequiresAction,
    RunStarted,
    StepCompleted,
    Terminal,
    ThreadCreated,
)
from decopilot.contracts.frames import Cursor, Outcome
from decopilot.contracts.ids import MessageId, RunId, UserId
from decopilot.contracts.messages import RunConfig, UIMessage, Usage
from decopilot.domain.thread import ActiveRun, ThreadState

TITLE_LENGTH = 60
UNTITLED = "New chat"


@dataclass(frozen=True, slots=True)
class Send:
    """Answer this message of a user. Ids and time come with the wish, so that deciding stays pure."""

    now: datetime
    user_id: UserId
    may_write_all: bool
    message: UIMessage
    message_hash: str
    config: RunConfig
    run_id: RunId
    assistant_id: MessageId
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Begin this attempt of a run."""

    now: datetime
    run_id: RunId
    attempt: int
    runner_id: str


@dataclass(frozen=True, slots=True)
class CompleteStep:
    """Count one more finished step."""

    now: datetime
    run_id: RunId
    attempt: int
    step: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class End:
    """End a run as its sealed chunk log says; `end` is the position behind the closing frame's last chunk."""

    now: datetime
    run_id: RunId
    attempt: int
    outcome: Outcome
    message: UIMessage | None
    end: Cursor


Command = Send | Start | CompleteStep | End


class RefusedError(Exception):
    """The wish can't be granted in this state; nothing happens. `code` is one of `problems.PROBLEMS`."""

    def __init__(self, code: str, detail: str) -> None:
        self.code, self.detail = code, detail
        super().__init__(f"{code}: {detail}")


class StaleError(Exception):
    """The run or attempt that the command speaks of is not the thread's present one."""

    def __init__(self, run_id: RunId, attempt: int) -> None:
        self.run_id, self.attempt = run_id, attempt
        super().__init__(f"attempt {attempt} of {run_id} is not the present one")


def decide(command: Command, state: ThreadState) -> Event | None:
    """Decide; None means that the wish is already fulfilled.

    Raises:
        RefusedError: the user asks for what can't be done now.
        StaleError: a runner speaks of a run or an attempt that is over.

    """
    match command:
        case Send():
            return _send(command, state)
        case Start():
            return _start(command, state)
        case CompleteStep():
            return _complete_step(command, state)
        case End():
            return _end(command, state)
        case _:
            assert_never(command)


def _send(command: Send, state: ThreadState) -> RunRequested | None:
    if state.owner is not None and state.owner != command.user_id and not command.may_write_all:
        raise RefusedError("forbidden", "Only the thread's owner and the org's owners write to it.")
    known = state.sent.get(command.message.id)
    if known is not None:
        if known.message_hash == command.message_hash:
            return None
        raise RefusedError("message_conflict", f"Message {command.message.id} was sent before with another content.")
    if any(ref.id == command.message.id for ref in state.messages):
        raise RefusedError("message_conflict", f"Message {command.message.id} is an answer of this thread.")
    if state.active is not None:
        raise RefusedError("run_active", "Wait for the answer that is being written, then send again.")
    created = None
    if state.owner is None:
        created = ThreadCreated(
            owner=command.user_id, agent_id=command.config.agent_id, title=_title_of(command.message.text)
        )
    return RunRequested(
        at=command.now,
        run_id=command.run_id,
        user_id=command.user_id,
        message=command.message,
        message_hash=command.message_hash,
        assistant_id=command.assistant_id,
        config=command.config,
        thread=created,
        traceparent=command.traceparent,
    )


def _title_of(text: str) -> str:
    """Until a thread is given a title, it goes by the first words of its first message."""
    words = " ".join(text.split())
    if not words:
        return UNTITLED
    return words if len(words) <= TITLE_LENGTH else words[: TITLE_LENGTH - 1].rstrip() + "…"


def _start(command: Start, state: ThreadState) -> RunStarted | None:
    active = _active(state, command.run_id, command.attempt)
    if active.attempt >= command.attempt:
        raise StaleError(command.run_id, command.attempt)
    return RunStarted(at=command.now, run_id=command.run_id, attempt=command.attempt, runner_id=command.runner_id)


def _complete_step(command: CompleteStep, state: ThreadState) -> StepCompleted | None:
    active = _active(state, command.run_id, command.attempt)
    if active.attempt > command.attempt:
        raise StaleError(command.run_id, command.attempt)
    if command.step <= active.steps:
        return None
    return StepCompleted(
        at=command.now, run_id=command.run_id, attempt=command.attempt, step=command.step, usage=command.usage
    )


def _end(command: End, state: ThreadState) -> Terminal | None:
    # The sealed log decides, so whoever speaks for it may end the run, of whatever attempt.
    if state.active is None or state.active.requested.run_id != command.run_id:
        if any(sent.run_id == command.run_id for sent in state.sent.values()):
            return None
        raise StaleError(command.run_id, command.attempt)
    outcome = command.outcome
    fields = {
        "at": command.now,
        "run_id": command.run_id,
        "attempt": command.attempt,
        "message": command.message,
        "finish_reason": outcome.finish_reason,
        "usage": outcome.usage,
        "last_frame": command.end.sequence,
        "last_index": command.end.index,
    }
    match outcome.status:
        case "completed":
            return RunCompleted.model_validate(fields)
        case "requires_action":
            return RunRequiresAction.model_validate(fields)
        case "failed":
            return RunFailed.model_validate(
                fields
                | {
                    "reason": outcome.reason or "error",
                    "error_category": outcome.error_category,
                    "error_text": outcome.error_text,
                }
            )
        case _:
            assert_never(outcome.status)


def _active(state: ThreadState, run_id: RunId, attempt: int) -> ActiveRun:
    if state.active is None or state.active.requested.run_id != run_id:
        raise StaleError(run_id, attempt)
    return state.active
