"""Views: threads and finished messages in key-value buckets, written by the reactor, read by everyone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from pydantic import ValidationError

from decopilot.contracts import subjects
from decopilot.contracts.events import UnknownEventError
from decopilot.contracts.ids import MessageId, OrgId, ThreadId
from decopilot.contracts.messages import Frozen
from decopilot.contracts.views import StoredMessage, ThreadSummary
from decopilot.domain.thread import FOLD_VERSION, INITIAL, ThreadState
from decopilot.log.store import Store, Stored

_OPERATION = "KV-Operation"
_AT_ONCE = 32
_VIEWS_AT_ONCE = 64
"""So many are decoded before others have their turn."""


class ThreadView(Frozen):
    """The thread's view: a snapshot of its fold, valid only for the fold version that wrote it."""

    fold_version: int
    sequence: int
    state: ThreadState


class _Stamp(Frozen):
    """What a view of any version says of itself."""

    fold_version: int
    sequence: int


class ViewConflictError(Exception):
    """Another reactor wrote the view first."""


class Views:
    """Thread and message views over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def snapshot(self, org: OrgId, thread: ThreadId) -> ThreadView | None:
        """Read the thread's snapshot; None if there is none that this version can use."""
        view, _ = await self.read_thread(org, thread)
        return view

    async def read_thread(self, org: OrgId, thread: ThreadId) -> tuple[ThreadView | None, int]:
        """Read a thread's view and its revision, which guards its next write (0: never written, a deletion is one)."""
        stored = await self._last(subjects.THREADS_BUCKET, subjects.thread_key(org, thread))
        return (None, 0) if stored is None else (_view_of(stored), stored.sequence)

    async def is_left_to_newer(self, org: OrgId, thread: ThreadId, sequence: int) -> bool:
        """Tell whether a newer version has written the thread's view, of this event or a later one."""
        stored = await self._last(subjects.THREADS_BUCKET, subjects.thread_key(org, thread))
        if stored is None or _OPERATION in stored.headers:
            return False
        try:
            stamp = _Stamp.model_validate_json(stored.data)
        except ValidationError:
            return False
        return stamp.fold_version > FOLD_VERSION and stamp.sequence >= sequence

    async def write_thread(self, org: OrgId, thread: ThreadId, view: ThreadView, revision: int) -> None:
        """Write a thread's view in the place of a revision.

        Raises:
            ViewConflictError: it is no longer at that revision.

        """
        body = view.model_dump_json(exclude_defaults=True).encode()
        if not await self._store.replace(subjects.THREADS_BUCKET, subjects.thread_key(org, thread), body, revision):
            raise ViewConflictError

    async def read_message(self, org: OrgId, thread: ThreadId, message: MessageId) -> StoredMessage | None:
        """Read a finished message."""
        stored = await self._last(subjects.MESSAGES_BUCKET, subjects.message_key(org, thread, message))
        return None if stored is None or _OPERATION in stored.headers else _message_of(stored)

    async def write_message(self, org: OrgId, thread: ThreadId, message: StoredMessage, *, mends: bool = False) -> None:
        """Write a finished message, if the one that is there is not as new; never one of a deleted thread.

        One that `mends` takes the place of one that is as new, too: the log says it is this, whatever is there.

        Each write takes the place of what was read before it, and whoever erases a thread leaves a marker in every
        place: a writer who was held up in between is refused, looks again, and finds the thread deleted.
        """
        key = subjects.message_key(org, thread, message.message.id)
        body = message.model_dump_json(exclude_none=True).encode()
        while True:
            there = await self._last(subjects.MESSAGES_BUCKET, key)
            if there is not None:
                if _OPERATION not in there.headers:
                    found = _message_of(there)
                    newest = -1 if found is None else found.last_frame
                    if newest > message.last_frame or (newest == message.last_frame and not mends):
                        return
                elif await self.is_deleted(org, thread):
                    return
            if await self._replace(subjects.MESSAGES_BUCKET, key, body, there):
                return

    async def has_thread(self, org: OrgId, thread: ThreadId) -> bool:
        """Tell whether there is a view of a thread at all, of whichever fold version."""
        stored = await self._last(subjects.THREADS_BUCKET, subjects.thread_key(org, thread))
        return stored is not None and _OPERATION not in stored.headers

    async def is_deleted(self, org: OrgId, thread: ThreadId) -> bool:
        """Tell, by the leader's word, whether a thread is deleted: its tombstone stays for ever."""
        tombstone = subjects.event(org, thread, "thread_deleted")
        return await self._store.last(subjects.EVENTS_STREAM, tombstone) is not None

    async def erase(self, org: OrgId, thread: ThreadId, messages: Iterable[MessageId]) -> None:
        """Put a marker in the place of everything that a deleted thread has here, or may yet be given.

        `messages` are all that its events speak of: one that nobody has written yet must not be written later.
        """
        await self.erase_thread(org, thread)
        prefix = subjects.bucket_key(subjects.MESSAGES_BUCKET, subjects.thread_key(org, thread)) + "."
        stream = f"KV_{subjects.MESSAGES_BUCKET}"
        found = (await self._store.js.stream_info(stream, subjects_filter=f"{prefix}*")).state.subjects or {}
        keys = {subjects.message_key(org, thread, message) for message in messages}
        keys |= {subject.removeprefix(subjects.bucket_key(subjects.MESSAGES_BUCKET, "")) for subject in found}
        remaining = sorted(keys)
        for some in range(0, len(remaining), _AT_ONCE):
            await asyncio.gather(
                *(self._erase(subjects.MESSAGES_BUCKET, key) for key in remaining[some : some + _AT_ONCE])
            )

    async def erase_thread(self, org: OrgId, thread: ThreadId) -> None:
        """Put a marker in the place of a deleted thread's view."""
        await self._erase(subjects.THREADS_BUCKET, subjects.thread_key(org, thread))

    async def _erase(self, bucket: str, key: str) -> None:
        while True:
            there = await self._last(bucket, key)
            if there is not None and _OPERATION in there.headers:
                return
            if await self._replace(bucket, key, b"", there, **{_OPERATION: "DEL"}):
                return

    async def threads(
        self, org: OrgId, fold: Callable[[OrgId, ThreadId], Awaitable[ThreadState]] | None = None
    ) -> AsyncIterator[ThreadSummary]:
        """Yield every thread of an org, the one that changed longest ago first.

        `fold` reads one from the log whose view an older version folded, or that can't be read; without it, views of
        other versions are taken as far as they can be read: a list decides nothing.
        """
        found: dict[str, ThreadSummary | None] = {}
        stream = f"KV_{subjects.THREADS_BUCKET}"
        filter_ = subjects.bucket_key(subjects.THREADS_BUCKET, f"{org}.*")
        async for batch in self._store.read(stream, filter_, 0, count=_VIEWS_AT_ONCE):
            for stored in batch:
                # One that changes while this reads comes twice, the second time as it is now.
                found.pop(stored.subject, None)
                view = _readable(stored)
                if view is not None and (fold is None or view.fold_version >= FOLD_VERSION):
                    found[stored.subject] = summary(_thread_of(stored.subject), view.state)
                elif fold is not None and _OPERATION not in stored.headers:
                    found[stored.subject] = None
        # What was folded otherwise is folded anew, so many at once; none of them is held but for what lists show of it.
        outdated = [_thread_of(subject) for subject, entry in found.items() if entry is None]
        anew: dict[ThreadId, ThreadSummary | None] = {}
        for some in range(0, len(outdated), _AT_ONCE):
            names = outdated[some : some + _AT_ONCE]
            anew |= zip(names, await asyncio.gather(*(_summary(org, name, fold) for name in names)), strict=True)
        for subject, entry in found.items():
            listed = entry or anew[_thread_of(subject)]
            if listed is not None:
                yield listed

    async def _last(self, bucket: str, key: str) -> Stored | None:
        return await self._store.last(f"KV_{bucket}", subjects.bucket_key(bucket, key))

    async def _replace(self, bucket: str, key: str, body: bytes, there: Stored | None, **headers: str) -> bool:
        return await self._store.replace(bucket, key, body, 0 if there is None else there.sequence, **headers)


def summary(thread: ThreadId, state: ThreadState) -> ThreadSummary:
    """Tell a thread as lists show it."""
    return ThreadSummary(
        id=thread,
        title=state.title,
        status=state.status,
        failure_reason=state.failure,
        agent_id=state.agent_id,
        created_by=state.owner or "",
        created_at=state.created_at,
        updated_at=state.updated_at,
        first_title=state.first_title,
        archived=state.is_archived,
        visibility=state.visibility,
    )


async def _summary(
    org: OrgId, thread: ThreadId, fold: Callable[[OrgId, ThreadId], Awaitable[ThreadState]] | None
) -> ThreadSummary | None:
    try:
        state = INITIAL if fold is None else await fold(org, thread)
    except UnknownEventError:
        return None  # a newer version knows what it is
    return None if state.room is None else summary(thread, state)


def _thread_of(subject: str) -> ThreadId:
    return ThreadId(subject.rpartition(".")[2])


def _message_of(stored: Stored) -> StoredMessage | None:
    """Read a message; what can't be read is none: whoever finds it missing reads the log."""
    try:
        return StoredMessage.model_validate_json(stored.data)
    except ValidationError:
        return None


def _view_of(stored: Stored) -> ThreadView | None:
    view = _readable(stored)
    return view if view is not None and view.fold_version == FOLD_VERSION else None


def _readable(stored: Stored) -> ThreadView | None:
    if _OPERATION in stored.headers:
        return None
    try:
        return ThreadView.model_validate_json(stored.data)
    except ValidationError:
        return None
