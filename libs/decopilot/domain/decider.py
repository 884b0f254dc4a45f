"""What may happen to a thread: one decision is at most one event. Here: what runners and reactors wish."""

from typing import assert_never

from decopilot.contracts.events import (
    Event,
    InteractionsDenied,
    RunCompleted,
    RunFailed,
    RunHandedBack,
    RunRequested,
    RunRequiresAction,
    RunStarted,
    StepCompleted,
    Terminal,
    ThreadTitled,
)
from decopilot.contracts.ids import RunId, UserId
from decopilot.domain import wishing
from decopilot.domain.commands import (
    Command,
    CompleteStep,
    End,
    HandBack,
    Promote,
    StaleError,
    Start,
    Title,
)
from decopilot.domain.interactions import pending_in
from decopilot.domain.thread import ActiveRun, ThreadState

__all__ = ["decide"]


def decide(command: Command, state: ThreadState) -> Event | None:  # noqa: PLR0911  one case per wish
    """Decide; None means that the wish is already fulfilled.

    Raises:
        RefusedError: the user asks for what can't be done now.
        StaleError: a runner speaks of a run or an attempt that is over.

    """
    match command:
        case Promote():
            return _promote(command, state)
        case Title():
            return _title(command, state)
        case Start():
            return _start(command, state)
        case HandBack():
            return _hand_back(command, state)
        case CompleteStep():
            return _complete_step(command, state)
        case End():
            return _end(command, state)
        case _:
            return wishing.decide(command, state)


def _promote(command: Promote, state: ThreadState) -> RunRequested | InteractionsDenied | None:
    if not state.may_promote:
        return None
    if state.waiting is not None and state.waiting.dropped_by is not None:
        return InteractionsDenied(at=command.now, run_id=state.waiting.run_id, user_id=state.waiting.dropped_by)
    head = state.queue[0]
    return RunRequested(
        at=command.now,
        run_id=head.run_id,
        user_id=head.user_id,
        message=head.message,
        message_hash=head.message_hash,
        assistant_id=head.assistant_id,
        config=head.config,
        traceparent=head.traceparent,
        tracestate=head.tracestate,
        baggage=head.baggage,
        # What a newer version said of it is for the newer version that will read it.
        **(head.model_extra or {}),
    )


def _title(command: Title, state: ThreadState) -> ThreadTitled | None:
    if state.owner is None or state.is_titled or command.title == state.title:
        return None
    return ThreadTitled(at=command.now, user_id=UserId(state.owner), title=command.title, automatic=True)


def _start(command: Start, state: ThreadState) -> RunStarted:
    # The run of a deleted thread is only ended any more.
    if _active(state, command.run_id, command.attempt).attempt >= command.attempt or state.is_deleted:
        raise StaleError(command.run_id, command.attempt)
    return RunStarted(at=command.now, run_id=command.run_id, attempt=command.attempt, runner_id=command.runner_id)


def _hand_back(command: HandBack, state: ThreadState) -> RunHandedBack | None:
    active = _active(state, command.run_id, command.attempt)
    if active.attempt != command.attempt:
        raise StaleError(command.run_id, command.attempt)
    if active.is_let_go or state.is_deleted:
        return None
    return RunHandedBack(at=command.now, run_id=command.run_id, attempt=command.attempt, runner_id=command.runner_id)


def _complete_step(command: CompleteStep, state: ThreadState) -> StepCompleted | None:
    active = _active(state, command.run_id, command.attempt)
    if active.attempt != command.attempt:
        raise StaleError(command.run_id, command.attempt)
    if command.step <= active.steps or state.is_deleted:
        return None
    return StepCompleted(
        at=command.now, run_id=command.run_id, attempt=command.attempt, step=command.step, usage=command.usage
    )


def _end(command: End, state: ThreadState) -> Terminal | None:
    # The sealed log decides, so whoever speaks for it may end the run, of whatever attempt.
    if state.active is None or state.active.run_id != command.run_id:
        known = state.runs.get(command.run_id)
        if known is None or known.status in {"queued", "withdrawn"}:
            raise StaleError(command.run_id, command.attempt)
        return None
    outcome = command.outcome
    fields = {
        "at": command.now,
        "run_id": command.run_id,
        "attempt": command.attempt,
        # What a thread held is being erased: its last event must not bring it back.
        "message": None if state.is_deleted else command.message,
        "finish_reason": outcome.finish_reason,
        "usage": outcome.usage,
        "last_frame": command.end.sequence,
        "last_index": command.end.index,
    }
    match outcome.status:
        case "completed":
            return RunCompleted.model_validate(fields)
        case "requires_action":
            pending = () if command.message is None or state.is_deleted else pending_in(command.message)
            return RunRequiresAction.model_validate(fields | {"pending": pending})
        case "failed":
            return RunFailed.model_validate(
                fields
                | {
                    "reason": outcome.reason or "error",
                    "error_category": "unknown" if state.is_deleted else outcome.error_category,
                    "error_text": "" if state.is_deleted else outcome.error_text,
                }
            )
        case _:
            assert_never(outcome.status)


def _active(state: ThreadState, run_id: RunId, attempt: int) -> ActiveRun:
    if state.active is None or state.active.run_id != run_id:
        raise StaleError(run_id, attempt)
    return state.active
