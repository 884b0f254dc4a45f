"""Readers: whoever still reads a thread's chunks from the store says so, and their purge waits (ADR 0020)."""

from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.store import Store
from decopilot.log.topology import READERS_TTL_S

ANNOUNCE_S = READERS_TTL_S / 3
"""How often a reader announces itself again: one announcement may be late and another one lost."""

_STREAM = f"KV_{subjects.READERS_BUCKET}"
_READING = b"reading"


class Readers:
    """Announcements of readers over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def announce(self, org: OrgId, thread: ThreadId) -> None:
        """Say that somebody reads this thread; its runs are held from the return on, for `READERS_TTL_S`.

        One publish. Nobody takes it back, because others may be reading the same thread: it runs out.

        Raises:
            nats.errors.Error, TimeoutError, OSError: nobody knows whether they are held. A reader may go on without:
                at worst it is reset.

        """
        await self._store.publish(_STREAM, _subject(org, thread), _READING)

    async def is_held(self, org: OrgId, thread: ThreadId) -> bool:
        """Tell, by the leader's word, whether somebody announced lately that they read this thread.

        Raises:
            nats.errors.Error, TimeoutError: no answer, or the bucket is missing.

        """
        stored = await self._store.last(_STREAM, _subject(org, thread))
        # Markers are empty, whatever put them there: a deletion, a purge, or an age limit that leaves some.
        return stored is not None and bool(stored.data)


def _subject(org: OrgId, thread: ThreadId) -> str:
    return subjects.bucket_key(subjects.READERS_BUCKET, subjects.thread_key(org, thread))
