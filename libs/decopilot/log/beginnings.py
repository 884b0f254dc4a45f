"""Beginnings: every thread that the log knows, each where it begins, in one pass that remembers none."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from decopilot.contracts import subjects
from decopilot.contracts.events import RunRequested, ThreadDeleted, ThreadForked, UnknownEventError
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.journal import decode
from decopilot.log.store import Store, Stored

_TYPES = ("run_requested", "thread_forked", "thread_deleted")
"""Types of a thread's first event; the last one is all that is left of an erased one."""


class Beginning(NamedTuple):
    """A thread, and the sequence of its first event; without a thread, only how far the pass has come."""

    sequence: int
    org: OrgId | None = None
    thread: ThreadId | None = None


async def beginnings(
    store: Store, *, org: OrgId | None = None, thread: ThreadId | None = None, after: int = 0
) -> AsyncGenerator[Beginning, None]:
    """Yield the threads that begin behind a sequence, of all orgs or one; one that is deleted may come twice.

    Raises:
        nats.errors.Error, TimeoutError, OSError: the broker does not answer.

    """
    filter_ = f"{subjects.EVENT_PREFIX}.{org or '*'}.{thread or '*'}.>"
    async with aclosing(store.read(subjects.EVENTS_STREAM, filter_, after)) as batches:
        async for batch in batches:
            for stored in batch:
                if _begins(stored):
                    yield Beginning(stored.sequence, *subjects.owner_of(stored.subject)[:2])
            yield Beginning(batch[-1].sequence)


def _begins(stored: Stored) -> bool:
    if stored.subject.rpartition(".")[2] not in _TYPES:
        return False
    try:
        event = decode(stored).event
    except UnknownEventError:
        # Of a newer version: better looked at once too often.
        return True
    return isinstance(event, ThreadForked | ThreadDeleted) or (
        isinstance(event, RunRequested) and event.thread is not None
    )
