"""The chunk log: reading the frames of a thread and of a run, purging a run that has ended, erasing a thread."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from nats.js.errors import APIError

from decopilot.contracts import subjects
from decopilot.contracts.chunks import THREAD_DELETED, encode_chunk, transient
from decopilot.contracts.frames import Frame, Outcome, decode_frame, frame_headers
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.log.direct import BATCH
from decopilot.log.store import EXPECTED, EXPECTED_SUBJECT, Store, Stored, is_conflict

_NOTHING_LEFT = encode_chunk(transient(THREAD_DELETED, {}))
_LOST = Outcome(status="failed", finish_reason="other", reason="cancelled")
"""Of a run that nobody sealed, because its thread does not know it."""


def frame_of(stored: Stored) -> Frame:
    """Read a stored message as the frame it is."""
    return decode_frame(stored.subject, stored.sequence, stored.headers, stored.data, stored.at)


def is_erased(frame: Frame) -> bool:
    """Tell whether a frame stands in the place of what a deleted thread's run held."""
    return frame.outcome is not None and frame.body == _NOTHING_LEFT


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
        batches = self.batches_of_run(org, thread, run, after=0, until=until)
        return [frame async for batch in batches for frame in batch]

    async def batches_of_run(
        self, org: OrgId, thread: ThreadId, run: RunId, *, after: int, until: int = 0, count: int = BATCH
    ) -> AsyncGenerator[list[Frame], None]:
        """Yield the run's frames behind a sequence, at least up to `until`, in order, so many at once."""
        filter_ = subjects.chunks(org, thread, run)
        read = self._store.read(subjects.CHUNKS_STREAM, filter_, after, until=until, count=count)
        async with aclosing(read) as batches:
            async for batch in batches:
                yield [replace(frame_of(stored), stored_at=stored.stored_at) for stored in batch]

    async def purge(self, org: OrgId, thread: ThreadId, run: RunId) -> None:
        """Remove a sealed run's frames but the closing one: an emptied subject would take a zombie's first frame."""
        await self._store.js.purge_stream(subjects.CHUNKS_STREAM, subject=subjects.chunks(org, thread, run), keep=1)

    async def erase(self, org: OrgId, thread: ThreadId) -> None:
        """Leave of each run of a deleted thread one closing frame without content: its subject stays sealed.

        Its runs must be sealed before. Safe to repeat, wherever an earlier call was cut off.
        """
        filter_ = subjects.chunks_of(org, thread)
        info = await self._store.js.stream_info(subjects.CHUNKS_STREAM, subjects_filter=filter_)
        for subject, count in sorted((info.state.subjects or {}).items()):
            run = RunId(subjects.owner_of(subject)[2])
            if count > 1 and await self._is_sealed(org, thread, run):
                # First, so that there is room for the frame that stays, however full the log is.
                await self.purge(org, thread, run)
            while not await self._empty(org, thread, run):
                pass

    async def _is_sealed(self, org: OrgId, thread: ThreadId, run: RunId) -> bool:
        last = await self.last_of_run(org, thread, run)
        return last is not None and last.outcome is not None

    async def _empty(self, org: OrgId, thread: ThreadId, run: RunId) -> bool:
        """Put the frame that stays behind the others, and remove these; False where another frame came between."""
        # Read before the run's own, and what guards it: no frame of the run came behind the one that is read next.
        newest = await self.last_of_thread(org, thread)
        last = await self.last_of_run(org, thread, run)
        if newest is None or last is None:
            return True
        if not is_erased(last):
            ended = last.outcome or _LOST
            headers = frame_headers(
                uuid.uuid4().hex,
                last.attempt,
                last.index + last.end.index + 1,
                newest.sequence,
                Outcome(status=ended.status, finish_reason=ended.finish_reason, reason=ended.reason),
            )
            headers |= {EXPECTED: str(newest.sequence), EXPECTED_SUBJECT: subjects.chunks_of(org, thread)}
            try:
                await self._store.publish(
                    subjects.CHUNKS_STREAM, subjects.chunks(org, thread, run), _NOTHING_LEFT, headers
                )
            except APIError as error:
                if is_conflict(error):
                    return False
                raise
        await self.purge(org, thread, run)
        return True
