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
        """Read a thread's view and its revision, which guards its next write (0: never written)."""
        stored = await self._get(subjects.THREADS_BUCKET, subjects.thread_key(org, thread))
        if stored is None:
            return None, 0
        return _view_of(stored), stored.sequence

    async def write_thread(self, org: OrgId, thread: ThreadId, view: ThreadView, revision: int) -> None:
        """Write a thread's view in the place of a revision.

        Raises:
            ViewConflictError: it is no longer at that revision.

        """
        subject = _subject(subjects.THREADS_BUCKET, subjects.thread_key(org, thread))
        try:
            await self._store.js.publish(
                subject, view.model_dump_json(exclude_defaults=True).encode(), headers={EXPECTED: str(revision)}
            )
        except APIError as error:
            if is_conflict(error):
                raise ViewConflictError from error
            raise

    async def read_message(self, org: OrgId, thread: ThreadId, message: MessageId) -> StoredMessage | None:
        """Read a finished message."""
        stored = await self._get(subjects.MESSAGES_BUCKET, subjects.message_key(org, thread, message))
        return None if stored is None else StoredMessage.model_validate_json(stored.data)

    async def write_message(self, org: OrgId, thread: ThreadId, message: StoredMessage) -> None:
        """Write a finished message; every writer writes the same."""
        subject = _subject(subjects.MESSAGES_BUCKET, subjects.message_key(org, thread, message.message.id))
        await self._store.js.publish(subject, message.model_dump_json(exclude_none=True).encode())

    async def threads(self, org: OrgId) -> AsyncIterator[ThreadSummary]:
        """Yield every thread of an org, the one that changed longest ago first."""
        stream = f"KV_{subjects.THREADS_BUCKET}"
        async for batch in self._store.read(stream, _subject(subjects.THREADS_BUCKET, f"{org}.*"), 0):
            for stored in batch:
                view = None if _OPERATION in stored.headers else _view_of(stored)
                if view is not None:
                    yield summary(ThreadId(stored.subject.rpartition(".")[2]), view.state)

    async def _get(self, bucket: str, key: str) -> Stored | None:
        stored = await self._store.last(f"KV_{bucket}", _subject(bucket, key))
        return None if stored is None or _OPERATION in stored.headers else stored


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
    try:
        view = ThreadView.model_validate_json(stored.data)
    except ValidationError:
        return None
    return view if view.fold_version == FOLD_VERSION else None
