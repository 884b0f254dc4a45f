"""Erasures: which threads were deleted, and deleting those of an org or a user; reactors erase what they held."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import AwareDatetime

from decopilot.contracts import subjects
from decopilot.contracts.events import Recorded, ThreadDeleted
from decopilot.contracts.ids import OrgId, ThreadId, UserId
from decopilot.contracts.messages import Frozen
from decopilot.domain.commands import Delete, RefusedError
from decopilot.log.beginnings import beginnings
from decopilot.log.journal import Journal, decode
from decopilot.log.store import Store

OPERATOR = UserId("operator")
"""Who deletes, as tombstones say it."""
_LOOK_S = 0.2


class Erased(Frozen):
    """A thread that is deleted: a line of the ledger that a restore is told, lest it bring the thread back.

    When, who asked for it, and whose it was if it was private; lines of earlier versions don't say.
    """

    org: OrgId
    thread: ThreadId
    at: AwareDatetime | None = None
    by: UserId | None = None
    private_to: UserId | None = None

    @property
    def tombstone(self) -> ThreadDeleted:
        """The event that says so, of a log that has none of it."""
        return ThreadDeleted(at=self.at or datetime.now(UTC), user_id=self.by or OPERATOR, private_to=self.private_to)


@dataclass(frozen=True, slots=True)
class Owned:
    """A thread that there is, and whose it is; with a user asked for, whether they have only written to it."""

    org: OrgId
    thread: ThreadId
    owner: UserId
    is_theirs: bool = True


class Erasures:
    """Finds and deletes threads over one store."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal

    async def ledger(self, *, after: int = 0) -> AsyncGenerator[Erased, None]:
        """Yield every thread whose tombstone stands behind a sequence; tombstones stay for ever.

        Raises:
            UnknownEventError: one is of a newer version.

        """
        filter_ = subjects.events_of_type("thread_deleted")
        async with aclosing(self._store.read(subjects.EVENTS_STREAM, filter_, after)) as batches:
            async for batch in batches:
                for stored in batch:
                    yield _erased(decode(stored))

    async def find(self, org: OrgId, *, user: UserId | None = None) -> AsyncGenerator[Owned, None]:
        """Yield the threads of an org, or those of it that a user began or did something in.

        Raises:
            UnknownEventError: a newer version wrote to one.

        """
        async with aclosing(beginnings(self._store, org=org)) as begun:
            async for _, _, thread in begun:
                if thread is None:
                    continue
                state = (await self._journal.load(org, thread)).state
                if state.owner is None:
                    continue
                owner = UserId(state.owner)
                if user in {None, owner}:
                    yield Owned(org, thread, owner)
                elif await self._is_in(org, thread, user):
                    yield Owned(org, thread, owner, is_theirs=False)

    async def _is_in(self, org: OrgId, thread: ThreadId, user: UserId | None) -> bool:
        async with aclosing(self._journal.each(org, thread, after=0)) as events:
            async for recorded in events:
                if getattr(recorded.event, "user_id", None) == user:
                    return True
        return False

    async def delete(self, org: OrgId, thread: ThreadId, *, cause: str = "") -> bool:
        """Delete a thread; False where there is none, or no more. Its active run is ended, and all of it erased."""
        try:
            command = Delete(now=datetime.now(UTC), user_id=OPERATOR, role="owner")
            executed = await self._journal.execute(org, thread, command, cause=cause)
        except RefusedError:
            return False
        if executed.state.active is not None:
            await self._store.nc.publish(subjects.signal(org, executed.state.active.run_id))
        return executed.appended is not None

    async def wait(self, deleted: Iterable[Erased]) -> None:
        """Return once nothing but their tombstones is left of deleted threads; the caller bounds the time."""
        async for _ in self.each_erased(deleted):
            pass

    async def each_erased(self, deleted: Iterable[Erased]) -> AsyncGenerator[Erased, None]:
        """Yield each of some deleted threads once nothing but its tombstone is left; the caller bounds the time."""
        left = list(deleted)
        while left:
            for entry in tuple(left):
                if await self._is_gone(entry):
                    left.remove(entry)
                    yield entry
            if left:
                # What reactors do can only be asked for.
                await asyncio.sleep(_LOOK_S)

    async def left_of(self, org: OrgId, thread: ThreadId) -> bool | None:
        """Tell whether anything but its tombstone is left of a deleted thread; None of one that is not deleted."""
        if not (await self._journal.load(org, thread)).state.is_deleted:
            return None
        return not await self._is_gone(Erased(org=org, thread=thread))

    async def _is_gone(self, entry: Erased) -> bool:
        first = await self._store.first(subjects.EVENTS_STREAM, subjects.events_of(entry.org, entry.thread))
        return first is None or _is_tombstone(decode(first))


def _erased(recorded: Recorded) -> Erased:
    event, org, thread = recorded.event, recorded.org, recorded.thread
    if not isinstance(event, ThreadDeleted):
        return Erased(org=org, thread=thread)
    private_to = None if event.private_to is None else UserId(event.private_to)
    return Erased(org=org, thread=thread, at=event.at, by=UserId(event.user_id), private_to=private_to)


def _is_tombstone(recorded: Recorded) -> bool:
    return recorded.event.type == "thread_deleted"
