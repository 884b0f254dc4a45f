"""History: the finished messages of a thread with the cursor that belongs to them, in one consistent reading."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from decopilot.contracts.events import (
    Recorded,
    RunCompleted,
    RunFailed,
    RunRequested,
    RunRequiresAction,
    ThreadForked,
)
from decopilot.contracts.frames import Cursor
from decopilot.contracts.ids import MessageId, OrgId, ThreadId
from decopilot.contracts.messages import UIMessage
from decopilot.contracts.views import StoredMessage
from decopilot.domain.interactions import with_verdicts, without_unanswered
from decopilot.domain.thread import INITIAL, MessageRef, ThreadState, evolve
from decopilot.log.journal import Journal
from decopilot.log.views import Views

_TRIES, _PAUSE_S = 50, 0.02
_TRIES_WITH_VIEWS = 10
"""So often the views are believed. Then, as while they are rebuilt, all is read from the log."""
_AT_ONCE = 64


class HistoryError(Exception):
    """A listed message can't be read."""

    def __init__(self, org: OrgId, thread: ThreadId) -> None:
        self.org, self.thread = org, thread
        super().__init__(f"the messages of {thread} are not as its view lists them")


@dataclass(frozen=True, slots=True)
class History:
    """Messages, oldest first, and the state they belong to."""

    messages: list[UIMessage]
    state: ThreadState

    @property
    def cursor(self) -> Cursor:
        """Where to attach to miss nothing and see nothing twice."""
        return self.state.cursor


def messages_of(recorded: Recorded) -> list[StoredMessage]:
    """Tell the messages that an event finishes, or brings along."""
    event = recorded.event
    match event:
        case ThreadForked():
            return [StoredMessage(message=message) for message in event.messages]
        case RunRequested():
            return [] if event.message is None else [StoredMessage(message=event.message)]
        case RunCompleted() | RunRequiresAction() | RunFailed():
            return [] if event.message is None else [StoredMessage(message=event.message, last_frame=event.last_frame)]
        case _:
            return []


def shown(message: UIMessage, state: ThreadState) -> UIMessage:
    """Return a message as it stands by now: what was answered since it ended, and what never will be."""
    if message.role != "assistant":
        return message
    waiting, active = state.waiting, state.active
    if waiting is not None and waiting.assistant_id == message.id:
        message = with_verdicts(message, waiting.resolved)
        return without_unanswered(message, (*waiting.pending, *waiting.resolved))
    if active is not None and active.requested.continues is not None and active.requested.assistant_id == message.id:
        return with_verdicts(message, active.requested.resolutions)
    return without_unanswered(message, ())


def left_behind(message: UIMessage, _: ThreadState) -> UIMessage:
    """Return a message as one that nobody goes on with: what it waits for is denied, whatever was resolved of it."""
    return without_unanswered(message, ()) if message.role == "assistant" else message


class Histories:
    """Reads histories: what the view lists, and what the log holds behind it."""

    def __init__(self, journal: Journal, views: Views) -> None:
        self._journal = journal
        self._views = views

    async def read(
        self,
        org: OrgId,
        thread: ThreadId,
        *,
        check: Callable[[ThreadState], None] = lambda _: None,
        limit: int | None = None,
        show: Callable[[UIMessage, ThreadState], UIMessage] = shown,
    ) -> History:
        """Read a thread's messages, the newest `limit` of them; none for a thread that does not exist.

        `check` raises what speaks against reading them, before any is read.

        Raises:
            HistoryError: a listed message stays missing.

        """
        for tried in range(_TRIES):
            view = await self._views.snapshot(org, thread) if tried < _TRIES_WITH_VIEWS else None
            state, sequence = (INITIAL, 0) if view is None else (view.state, view.sequence)
            newer: dict[MessageId, StoredMessage] = {}
            until = await self._journal.newest(org, thread)
            for recorded in await self._journal.events(org, thread, after=sequence, until=until):
                state = evolve(state, recorded.event)
                newer |= {stored.message.id: stored for stored in messages_of(recorded)}
            check(state)
            refs = state.messages if limit is None else state.messages[-limit:]
            messages: list[UIMessage] = []
            for some in range(0, len(refs), _AT_ONCE):
                wanted = refs[some : some + _AT_ONCE]
                found = await asyncio.gather(*(self._find(org, thread, ref, newer) for ref in wanted))
                messages += [show(stored.message, state) for stored in found if stored is not None]
            if len(messages) == len(refs):
                return History(messages, state)
            # A message that is not as listed was written for a newer view, which is about to be there.
            await asyncio.sleep(_PAUSE_S)
        raise HistoryError(org, thread)

    async def _find(
        self, org: OrgId, thread: ThreadId, ref: MessageRef, newer: dict[MessageId, StoredMessage]
    ) -> StoredMessage | None:
        stored = newer.get(ref.id) or await self._views.read_message(org, thread, ref.id)
        return stored if stored is not None and stored.last_frame == ref.last_frame else None
