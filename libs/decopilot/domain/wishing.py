"""What users may wish of a thread, and what comes of it."""

from typing import assert_never

from decopilot.contracts.events import (
    Event,
    InteractionsDenied,
    InteractionsResolved,
    RunCancelRequested,
    RunQueued,
    RunRequested,
    RunWithdrawn,
    ThreadArchived,
    ThreadCreated,
    ThreadDeleted,
    ThreadTitled,
    ThreadVisibilitySet,
)
from decopilot.contracts.ids import MessageId, RunId, UserId
from decopilot.contracts.interactions import Resolution
from decopilot.domain import access, branching
from decopilot.domain.commands import (
    Archive,
    Cancel,
    Delete,
    Fork,
    RefusedError,
    Regenerate,
    Resolve,
    Retitle,
    Send,
    SetVisibility,
    UserCommand,
    Withdraw,
)
from decopilot.domain.thread import ThreadState, Waiting

TITLE_LENGTH = 60
UNTITLED = "New chat"
QUEUE_LENGTH = 20
QUEUE_BYTES = 2 << 20
"""The queue is part of the thread's view, which has to fit one message of the broker."""
ANSWERS_BYTES = 2 << 20
"""So are answers, until all are given."""


def decide(command: UserCommand, state: ThreadState) -> Event | None:  # noqa: C901, PLR0911, PLR0912  one case per wish
    """Decide; None means that the wish is already fulfilled.

    Raises:
        RefusedError: it can't be granted now.

    """
    _check_rights(command, state)
    match command:
        case Send():
            return _send(command, state)
        case Resolve():
            return _resolve(command, state)
        case Cancel():
            return _cancel(command, state)
        case Withdraw():
            return _withdraw(command, state)
        case Regenerate():
            return branching.regenerate(command, state)
        case Fork():
            return branching.fork(command, state)
        case Retitle():
            if command.title == state.title and state.is_titled:
                return None
            return ThreadTitled(at=command.now, user_id=command.user_id, title=command.title)
        case Archive():
            if command.archived == state.is_archived:
                return None
            return ThreadArchived(at=command.now, user_id=command.user_id, archived=command.archived)
        case SetVisibility():
            if command.visibility == state.visibility:
                return None
            return ThreadVisibilitySet(at=command.now, user_id=command.user_id, visibility=command.visibility)
        case Delete():
            if state.is_deleted:
                return None
            private_to = None if state.private_to is None else UserId(state.private_to)
            return ThreadDeleted(at=command.now, user_id=command.user_id, private_to=private_to)
        case _:
            assert_never(command)


def _check_rights(command: UserCommand, state: ThreadState) -> None:
    user, role = command.user_id, command.role
    access.check_changer(role)
    if state.is_deleted and isinstance(command, Delete):
        access.check_known(state, role, user)
        return
    if not isinstance(command, Send | Fork):
        access.check_reader(state, role, user)
    access.check_writer(state, role, user)
    if isinstance(command, SetVisibility):
        access.check_shower(state, role, user)


def _send(command: Send, state: ThreadState) -> RunRequested | RunQueued | None:
    message = command.message
    known = state.sent.get(message.id)
    if known is not None:
        if known.message_hash == command.message_hash:
            return None
        raise RefusedError("message_conflict", f"Message {message.id} was sent before with another content.")
    if message.id in _others(state):
        raise RefusedError("message_conflict", f"Message {message.id} of this thread is another one.")
    if not state.may_begin:
        return _queue(command, state)
    created = None
    if state.owner is None:
        created = ThreadCreated(
            owner=command.user_id,
            agent_id=command.config.agent_id,
            title=command.title or title_of(message.text),
            is_titled=command.title is not None,
            visibility=command.visibility,
        )
    return RunRequested(
        at=command.now,
        run_id=command.run_id,
        user_id=command.user_id,
        message=message,
        message_hash=command.message_hash,
        assistant_id=command.assistant_id,
        config=command.config,
        thread=created,
        traceparent=command.traceparent,
    )


def _others(state: ThreadState) -> set[str]:
    """List the ids of messages that nobody sent to this thread: answers, and what it was forked with."""
    others: set[str] = {ref.id for ref in state.messages} | {*state.dropped}
    if state.active is not None:
        others.add(state.active.requested.assistant_id)
    return others | {queued.assistant_id for queued in state.queue}


def title_of(text: str) -> str:
    """Until a thread is given a title, it goes by the first words of its first message."""
    words = " ".join(text.split())
    if not words:
        return UNTITLED
    return words if len(words) <= TITLE_LENGTH else words[: TITLE_LENGTH - 1].rstrip() + "…"


def _queue(command: Send, state: ThreadState) -> RunQueued:
    if command.on_conflict == "reject":
        raise RefusedError("run_active", "Wait for the answer that is being written, then send again.")
    size = _size_bytes(command) + sum(_size_bytes(queued) for queued in state.queue)
    if len(state.queue) >= QUEUE_LENGTH or size > QUEUE_BYTES:
        raise RefusedError("queue_full", f"At most {QUEUE_LENGTH} messages, of {QUEUE_BYTES >> 20} MiB, wait in line.")
    interrupts = command.on_conflict == "interrupt"
    return RunQueued(
        at=command.now,
        run_id=command.run_id,
        user_id=command.user_id,
        message=command.message,
        message_hash=command.message_hash,
        assistant_id=command.assistant_id,
        config=command.config,
        interrupts=interrupts,
        supersedes=state.active.run_id if interrupts and state.active is not None else None,
        traceparent=command.traceparent,
        tracestate=command.tracestate,
        baggage=command.baggage,
    )


def _size_bytes(asked: Send | RunQueued) -> int:
    return len(asked.message.model_dump_json()) + len(asked.config.model_dump_json())


def _resolve(command: Resolve, state: ThreadState) -> RunRequested | InteractionsResolved | None:
    waiting = state.waiting
    new = _new_resolutions(command, state)
    if not new or waiting is None:
        return None
    size = sum(len(resolution.model_dump_json()) for resolution in (*waiting.resolved, *new))
    resolved = {resolution.key for resolution in new}
    if any(interaction.key not in resolved for interaction in waiting.pending):
        if size > ANSWERS_BYTES:
            raise RefusedError("body_too_large", f"Answers of {ANSWERS_BYTES >> 20} MiB may be given one by one.")
        return InteractionsResolved(
            at=command.now, run_id=waiting.run_id, user_id=command.user_id, resolutions=tuple(new)
        )
    if size > 2 * ANSWERS_BYTES:
        raise RefusedError("body_too_large", f"The answers of a run may have {2 * ANSWERS_BYTES >> 20} MiB together.")
    return RunRequested(
        at=command.now,
        run_id=command.run_id,
        user_id=command.user_id,
        assistant_id=waiting.assistant_id,
        config=waiting.config,
        continues=waiting.run_id,
        resolutions=(*waiting.resolved, *new),
        traceparent=command.traceparent,
    )


def _new_resolutions(command: Resolve, state: ThreadState) -> list[Resolution]:
    """Tell which of the facts answer what is pending; one that was answered otherwise speaks against them all."""
    new: dict[str, Resolution] = {}
    settled: dict[str, str] = {}
    repeated = False
    for resolution in command.resolutions:
        verdict = _verdict(resolution, command.message_id, state)
        if verdict is None:
            if new.setdefault(resolution.key, resolution) != resolution:
                raise RefusedError("invalid_body", f"{resolution.id} is resolved in two ways at once.")
        elif verdict == "unknown":
            if not command.is_whole_message:
                raise RefusedError("interaction_not_found", f"The thread never waited for {resolution.id}.")
        elif verdict == "same":
            repeated = True
        else:
            settled[resolution.id] = verdict
    if settled:
        told: list[object] = [{"id": id_, "outcome": verdict} for id_, verdict in settled.items()]
        raise RefusedError("interaction_resolved", "It was resolved before, in another way.", {"interactions": told})
    if not new and not repeated:
        raise RefusedError("interaction_not_found", "Nothing in it answers what the thread waits for.")
    return list(new.values())


def _verdict(resolution: Resolution, message_id: MessageId | None, state: ThreadState) -> str | None:
    """Tell what came of the interaction: None while it is pending, `same` where this resolution settled it.

    Where it is said in which message the interaction stands, one of the same id in another message is not meant.
    """
    waiting: Waiting | None = state.waiting
    if waiting is not None and message_id in {waiting.assistant_id, None}:
        if any(pending.key == resolution.key for pending in waiting.pending):
            return None if waiting.dropped_by is None else "denied"
        for resolved in waiting.resolved:
            if resolved.key == resolution.key:
                return "same" if resolved.digest == resolution.digest else resolved.verdict
    settled = state.settled.get(resolution.key)
    if settled is None or message_id not in {settled.message_id, None}:
        return "unknown"
    return "same" if settled.digest == resolution.digest else settled.verdict


def _cancel(command: Cancel, state: ThreadState) -> Event | None:
    fields = {"at": command.now, "user_id": command.user_id}
    run_id: RunId | None = command.run_id
    if state.active is not None and run_id in {state.active.run_id, None}:
        if state.active.cancel is not None:
            return None
        return RunCancelRequested.model_validate(fields | {"run_id": state.active.run_id})
    if any(queued.run_id == run_id for queued in state.queue):
        return RunWithdrawn.model_validate(fields | {"run_id": run_id})
    if state.waiting is not None and run_id in {state.waiting.run_id, None}:
        return InteractionsDenied.model_validate(fields | {"run_id": state.waiting.run_id})
    return None


def _withdraw(command: Withdraw, state: ThreadState) -> RunWithdrawn | None:
    for queued in state.queue:
        if queued.message.id == command.message_id:
            return RunWithdrawn(at=command.now, run_id=queued.run_id, user_id=command.user_id)
    sent = state.sent.get(command.message_id)
    if sent is None:
        raise RefusedError("message_not_queued", f"No message {command.message_id} waits its turn.")
    if state.runs[sent.run_id].status == "withdrawn":
        return None
    raise RefusedError("run_started", "Its run has begun: cancel that.")
