"""Rebuilding: the views made anew from the event log, while reactors go on writing them (ADR 0049)."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from decopilot.contracts import subjects
from decopilot.contracts.events import Recorded, UnknownEventError
from decopilot.contracts.ids import MessageId, OrgId, ThreadId
from decopilot.contracts.views import StoredMessage
from decopilot.domain.thread import FOLD_VERSION, INITIAL, ThreadState, evolve
from decopilot.log.beginnings import beginnings
from decopilot.log.history import messages_of
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.views import ThreadView, ViewConflictError, Views

_AT_ONCE = 64

Difference = Literal["missing", "outdated", "wrong", "leftover", "unreadable"]
"""What a view is: not there; of another fold version; not what its events add up to; of no thread, or a deleted one.

Or its events are of a newer version, so that nothing can be said, and nothing was done.
"""


@dataclass(frozen=True, slots=True)
class Found:
    """One view that is not as the log has it: a thread's, or with `message` a message's."""

    org: OrgId
    thread: ThreadId
    difference: Difference
    message: MessageId | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rebuild is: everything of threads that began up to `sequence` is as the log has it."""

    sequence: int
    threads: int


class Rebuilder:
    """Brings views to what the event log says, or only tells where they differ (`writes` False)."""

    def __init__(self, store: Store, journal: Journal, views: Views, *, writes: bool = True) -> None:
        self._store = store
        self._journal = journal
        self._views = views
        self._writes = writes

    async def rebuild(
        self,
        *,
        org: OrgId | None = None,
        thread: ThreadId | None = None,
        after: int = 0,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> AsyncGenerator[Found, None]:
        """Go through the log once, behind a sequence, and yield what differed; of all orgs, one, or one thread.

        Each thread has its turn where it begins; never more than one thread's state and a message at a time are held.
        Whatever was right is left alone, so it may be stopped at any moment and begun anew, or behind the sequence
        that was told last. Then views that belong to no thread go.

        Raises:
            nats.errors.Error, TimeoutError, OSError: the broker does not answer; begin behind what was told last.

        """
        threads = 0
        async with aclosing(beginnings(self._store, org=org, thread=thread, after=after)) as begun:
            async for sequence, owner, name in begun:
                if owner is not None and name is not None:
                    async for found in self._thread(owner, name):
                        yield found
                    threads += 1
                progress(Progress(sequence, threads))
        async for found in self._leftovers(org, thread):
            yield found

    async def _thread(self, org: OrgId, thread: ThreadId) -> AsyncGenerator[Found, None]:
        try:
            while True:
                view, revision = await self._views.read_thread(org, thread)
                # Asked behind the view: the log is never behind what a reactor wrote.
                until = await self._journal.newest(org, thread)
                folded = await self._fold(org, thread, until, 0 if view is None else view.sequence)
                if not folded.state.is_deleted:
                    async for found in self._messages(org, thread, folded, until):
                        yield found
                difference = await self._compare(org, thread, view, folded)
                if difference is None:
                    return
                # Where a reactor was first, what it wrote is looked at as well.
                if not self._writes or await self._write(org, thread, folded, revision):
                    yield Found(org, thread, difference)
                    return
        except UnknownEventError:
            yield Found(org, thread, "unreadable")

    async def _compare(
        self, org: OrgId, thread: ThreadId, view: ThreadView | None, folded: "_Folded"
    ) -> Difference | None:
        is_there = await self._views.has_thread(org, thread)
        if folded.state.is_deleted or await self._views.is_deleted(org, thread):
            return "leftover" if is_there else None
        if view is None and await self._views.is_left_to_newer(org, thread, folded.sequence):
            # It holds more than this version could say, and is not to lose that.
            return None
        if view is None:
            return "outdated" if is_there else "missing"
        return None if view.state == folded.at_view else "wrong"

    async def _write(self, org: OrgId, thread: ThreadId, folded: "_Folded", revision: int) -> bool:
        if folded.state.is_deleted or await self._views.is_deleted(org, thread):
            await self._views.erase_thread(org, thread)
            return True
        view = ThreadView(fold_version=FOLD_VERSION, sequence=folded.sequence, state=folded.state)
        try:
            await self._views.write_thread(org, thread, view, revision)
        except ViewConflictError:
            return False
        return True

    async def _fold(self, org: OrgId, thread: ThreadId, until: int, known: int) -> "_Folded":
        state, sequence, at_view = INITIAL, 0, None
        newest: dict[MessageId, int] = {}
        async with aclosing(self._journal.each(org, thread, after=0, until=until)) as events:
            async for recorded in events:
                state, sequence = evolve(state, recorded.event), recorded.sequence
                newest |= {stored.message.id: stored.last_frame for stored in messages_of(recorded)}
                if sequence == known:
                    at_view = state
        return _Folded(state, sequence, at_view, newest)

    async def _messages(
        self, org: OrgId, thread: ThreadId, folded: "_Folded", until: int
    ) -> AsyncGenerator[Found, None]:
        async with aclosing(self._journal.each(org, thread, after=0, until=until)) as events:
            async for recorded in events:
                for stored in messages_of(recorded):
                    # One that went on was finished more than once: what it was before is nobody's to read.
                    if folded.newest.get(stored.message.id) == stored.last_frame:
                        found = await self._message(recorded, stored)
                        if found is not None:
                            yield found

    async def _message(self, recorded: Recorded, stored: StoredMessage) -> Found | None:
        org, thread, message = recorded.org, recorded.thread, stored.message.id
        there = await self._views.read_message(org, thread, message)
        if there is not None and (there == stored or there.last_frame > stored.last_frame):
            return None
        if self._writes:
            await self._views.write_message(org, thread, stored, mends=True)
        return Found(org, thread, "missing" if there is None else "wrong", message)

    async def _leftovers(self, org: OrgId | None, thread: ThreadId | None) -> AsyncGenerator[Found, None]:
        """Find views of threads that the log knows nothing of."""
        bucket = subjects.THREADS_BUCKET
        filter_ = subjects.bucket_key(bucket, f"{org or '*'}.{thread or '*'}")
        async with aclosing(self._store.read(f"KV_{bucket}", filter_, 0, count=_AT_ONCE)) as batches:
            async for batch in batches:
                for stored in batch:
                    _, _, owner, name = stored.subject.split(".")
                    its, of = OrgId(owner), ThreadId(name)
                    # Asked behind its view: a thread that is begun now has an event before it has that.
                    if stored.data and not await self._journal.newest(its, of):
                        yield Found(its, of, "leftover")
                        if self._writes:
                            await self._views.erase(its, of, [])


@dataclass(frozen=True, slots=True)
class _Folded:
    state: ThreadState
    sequence: int
    at_view: ThreadState | None
    """What it was where its view stands; None where the log has no event there."""
    newest: dict[MessageId, int]
    """Its messages, each with the last frame that it was folded up to."""
