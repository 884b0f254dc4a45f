"""Views: threads and finished messages in key-value buckets, written by the reactor, read by everyone."""

from collections.abc import AsyncIterator

from nats.js.errors import APIError
from pydantic import ValidationError

from decopilot.contracts import subjects
from decopilot.contracts.ids import MessageId, OrgId, ThreadId
from decopilot.contracts.messages import Frozen
from decopilot.contracts.views import StoredMessage, ThreadSummary
from decopilot.domain.thread import FOLD_VERSION, ThreadState
from decopilot.log.store import EXPECTED, Store, Stored, is_conflict

_OPERATION = "KV-Operation"


class ThreadView(Frozen):
    """The thread's view: a snapshot of its fold, valid only for the fold version that wrote it."""

    fold_version: int
    sequence: int
    state: ThreadState


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

    async def write_thread(self, org: OrgId, thread: ThreadId, view: ThreadView, revision: int) -> None:
        """Write a thread's view in the place of a revision.

        Raises:
            ViewConflictError: it is no longer at that revision.

        """
        body = view.model_dump_json(exclude_defaults=True).encode()
        try:
            await self._put(subjects.THREADS_BUCKET, subjects.thread_key(org, thread), body, revision)
        except APIError as error:
            if is_conflict(error):
                raise ViewConflictError from error
            raise

    async def read_message(self, org: OrgId, thread: ThreadId, message: MessageId) -> StoredMessage | None:
        """Read a finished message."""
        stored = await self._last(subjects.MESSAGES_BUCKET, subjects.message_key(org, thread, message))
        if stored is None or _OPERATION in stored.headers:
            return None
        return StoredMessage.model_validate_json(stored.data)

    async def write_message(self, org: OrgId, thread: ThreadId, message: StoredMessage) -> None:
        """Write a finished message; every writer writes the same."""
        key = subjects.message_key(org, thread, message.message.id)
        await self._put(subjects.MESSAGES_BUCKET, key, message.model_dump_json(exclude_none=True).encode())

    async def threads(self, org: OrgId) -> AsyncIterator[ThreadSummary]:
        """Yield every thread of an org, the one that changed longest ago first."""
        found: dict[str, ThreadSummary] = {}
        stream = f"KV_{subjects.THREADS_BUCKET}"
        async for batch in self._store.read(stream, _subject(subjects.THREADS_BUCKET, f"{org}.*"), 0):
            for stored in batch:
                # One that changes while this reads comes twice, the second time as it is now.
                found.pop(stored.subject, None)
                view = _view_of(stored)
                if view is not None:
                    found[stored.subject] = summary(ThreadId(stored.subject.rpartition(".")[2]), view.state)
        for entry in found.values():
            yield entry

    async def _last(self, bucket: str, key: str) -> Stored | None:
        return await self._store.last(f"KV_{bucket}", _subject(bucket, key))

    async def _put(self, bucket: str, key: str, body: bytes, revision: int | None = None) -> None:
        headers = {} if revision is None else {EXPECTED: str(revision)}
        await self._store.publish(f"KV_{bucket}", _subject(bucket, key), body, headers)


def summary(thread: ThreadId, state: ThreadState) -> ThreadSummary:
    """Tell a thread as lists show it."""
    return ThreadSummary(
        id=thread,
        title=state.title,
        status=state.status,
        agent_id=state.agent_id,
        created_by=state.owner or "",
        created_at=state.created_at,
        updated_at=state.updated_at,
    )


def _subject(bucket: str, key: str) -> str:
    return f"$KV.{bucket}.{key}"


def _view_of(stored: Stored) -> ThreadView | None:
    if _OPERATION in stored.headers:
        return None
    try:
        view = ThreadView.model_validate_json(stored.data)
    except ValidationError:
        return None
    return view if view.fold_version == FOLD_VERSION else None
