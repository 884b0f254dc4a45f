"""What users wish of a thread's earlier messages: to have one answered anew, or to go on from it in another thread."""

from decopilot.contracts.commands import TITLE_MAX
from decopilot.contracts.events import RunRequested, ThreadCreated, ThreadForked
from decopilot.contracts.ids import MessageId, RunId
from decopilot.domain.commands import Fork, RefusedError, Regenerate
from decopilot.domain.thread import ThreadState

FORK_TITLE = "Fork of "


def regenerate(command: Regenerate, state: ThreadState) -> RunRequested | None:
    """Decide; None means that a run does so, or did, for this very wish.

    Raises:
        RefusedError: the thread is busy, or has no such message.

    """
    if regenerating_run(command.run_id, command.message_id, state) is not None:
        return None
    if not state.may_begin:
        raise RefusedError("run_active", "Wait for the answer that is being written, then ask for another one.")
    return RunRequested(
        at=command.now,
        run_id=command.run_id,
        user_id=command.user_id,
        assistant_id=command.assistant_id,
        config=command.config,
        regenerates=_question(command.message_id, state),
        traceparent=command.traceparent,
    )


def regenerating_run(run_id: RunId, message_id: MessageId | None, state: ThreadState) -> RunId | None:
    """Find the run that is what is wished: this one itself, or the one that has begun to answer the message anew."""
    if run_id in state.regenerations:
        return run_id
    if message_id is None:
        return None
    active = state.active
    if active is not None and active.requested.regenerates == message_id:
        return active.run_id
    return state.dropped.get(message_id)


def _question(message_id: MessageId | None, state: ThreadState) -> MessageId:
    """Find the user's message that is to be answered: the one that is named, or the nearest one before it."""
    ids = [ref.id for ref in state.messages]
    end = len(ids) if message_id is None else ids.index(message_id) + 1 if message_id in ids else 0
    for ref in reversed(state.messages[:end]):
        if ref.role == "user":
            return ref.id
    raise RefusedError("message_not_found", "The thread has no such message.")


def fork(command: Fork, state: ThreadState) -> ThreadForked | None:
    """Decide; None means that the thread is this fork already.

    Raises:
        RefusedError: there is another thread of this id, or nothing to begin with.

    """
    if state.owner is not None:
        if is_fork(command, state):
            return None
        raise RefusedError("thread_conflict", "There is a thread of this id already.")
    if not command.messages:
        raise RefusedError("message_not_found", "The thread has no message to begin another one with.")
    title = command.title if command.title.startswith(FORK_TITLE) else f"{FORK_TITLE}{command.title}"
    return ThreadForked(
        at=command.now,
        user_id=command.user_id,
        source=command.source,
        until=command.messages[-1].id,
        asked_until=command.asked_until,
        thread=ThreadCreated(
            owner=command.user_id,
            agent_id=command.agent_id,
            title=title[:TITLE_MAX],
            visibility=command.visibility,
            is_titled=True,
        ),
        messages=command.messages,
    )


def is_fork(command: Fork, state: ThreadState) -> bool:
    """Tell whether a thread is the fork that is wished for: the same user's, asked for in the same words."""
    forked = state.forked
    if forked is None or state.owner != command.user_id:
        return False
    return (forked.source, forked.asked_until) == (command.source, command.asked_until)
