"""The chunk log: reading the frames of a thread and of a run, and purging a run that has ended."""

from collections.abc import AsyncIterator

from decopilot.contracts import subjects
from decopilot.contracts.frames import Frame, decode_frame
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.log.store import Store, Stored


def frame_of(stored: Stored) -> Frame:
    """Read a stored message as the frame it is."""
    return decode_frame(stored.subject, stored.sequence, stored.headers, stored.data)


class ChunkLog:
    """Frames over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def last_of_thread(self, org: OrgId, thread: ThreadId) -> Frame | None:
        """Read the thread's last frame, from the leader."""
        stored = await self._store.last(subjects.CHUNKS_STREAM, subjects.chunks_of(org, thread))
        return None if stored is None else frame_of(stored)

    async def last_of_run(self, org: OrgId, thread: ThreadId, run: RunId) -> Frame | None:
        """Read the run's last frame, from the leader."""
        stored = await self._store.last(subjects.CHUNKS_STREAM, subjects.chunks(org, thread, run))
        return None if stored is None else frame_of(stored)

    async def first_of_run(self, org: OrgId, thread: ThreadId, run: RunId) -> Frame | None:
        """Read the first frame that is left of a run."""
        stored = await self._store.first(subjects.CHUNKS_STREAM, subjects.chunks(org, thread, run))
        return None if stored is None else frame_of(stored)

    async def get(self, org: OrgId, thread: ThreadId, sequence: int) -> Frame | None:
        """Read the frame at a sequence; None where it is gone, or another thread's."""
        stored = await self._store.get(subjects.CHUNKS_STREAM, sequence)
        if stored is None or subjects.owner_of(stored.subject)[:2] != (org, thread):
            return None
        return frame_of(stored)

    async def of_thread(
        self, org: OrgId, thread: ThreadId, *, after: int, until: int = 0
    ) -> AsyncIterator[list[Frame]]:
        """Yield the thread's frames behind a sequence, at least up to `until`, in order, in batches."""
        filter_ = subjects.chunks_of(org, thread)
        async for batch in self._store.read(subjects.CHUNKS_STREAM, filter_, after, until=until):
            yield [frame_of(stored) for stored in batch]

    async def of_run(self, org: OrgId, thread: ThreadId, run: RunId, *, until: int) -> list[Frame]:
        """Read all frames of a run, at least up to `until`."""
        filter_ = subjects.chunks(org, thread, run)
        return [
            frame_of(stored)
            async for batch in self._store.read(subjects.CHUNKS_STREAM, filter_, 0, until=until)
            for stored in batch
        ]

    async def purge(self, org: OrgId, thread: ThreadId, run: RunId) -> None:
        """Remove a sealed run's frames but the closing one: an emptied subject would take a zombie's first frame."""
        await self._store.js.purge_stream(subjects.CHUNKS_STREAM, subject=subjects.chunks(org, thread, run), keep=1)
