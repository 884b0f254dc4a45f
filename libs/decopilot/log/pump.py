"""The pump: writes one run's chunks, one guarded publish in flight, gathering while it waits (group commit)."""

import asyncio
import math
import time
import uuid
from typing import Self

import structlog

from decopilot.contracts import subjects
from decopilot.contracts.chunks import Chunk, encode_chunk
from decopilot.contracts.frames import Cursor, Frame, Outcome, Ranges, decode_frame, frame_headers
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.log.chunklog import ChunkLog
from decopilot.log.metrics import CHUNK_STORE
from decopilot.log.store import EXPECTED, UNCERTAIN, Store, is_conflict, is_passing

FRAME_BYTES = 256 * 1024
"""Chunks are gathered up to this size; a larger single chunk makes a frame of its own."""
BUFFER_BYTES = 1 << 20
HEADER_RESERVE_BYTES = 32 * 1024
"""An outcome's error text of 2000 characters may take 24 KiB in a header."""
PUBLISH_TIMEOUT_S = 2.0
_PAUSE_S, _PAUSE_MAX_S = 0.02, 0.5

log = structlog.get_logger()


class FencedError(Exception):
    """Another writer's frame stands behind ours: this attempt is over, by the broker's word."""

    def __init__(self, run: RunId, found: Frame | None) -> None:
        self.run, self.found = run, found
        where = "nothing" if found is None else f"frame {found.sequence} of attempt {found.attempt}"
        super().__init__(f"{run} is not ours any more: found {where}")


class ChunkTooLargeError(Exception):
    """One chunk does not fit a broker message."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        self.size_bytes, self.limit_bytes = size_bytes, limit_bytes
        super().__init__(f"a chunk of {size_bytes} bytes is above the limit of {limit_bytes}")


class Pump:
    """Writes the frames of one attempt of a run.

    `previous` is the sequence of the thread's last frame (0: none). `after` is the run's own last frame,
    if it has any: this pump's first frame is stored only directly behind it. A frame that the broker has not taken
    after `patience_s` ends the pump with the broker's error. Use as a context manager; leaving it drops what is not
    stored yet.
    """

    def __init__(
        self,
        store: Store,
        org: OrgId,
        thread: ThreadId,
        run: RunId,
        *,
        attempt: int,
        previous: int,
        after: Frame | None = None,
        patience_s: float = math.inf,
    ) -> None:
        self._store = store
        self._patience_s = patience_s
        self._log = ChunkLog(store)
        self._org, self._thread, self._run = org, thread, run
        self._subject = subjects.chunks(org, thread, run)
        self._attempt = attempt
        self._limit_bytes = store.nc.max_payload - HEADER_RESERVE_BYTES
        self._previous = previous
        self._last = 0 if after is None else after.sequence
        self._index = 0 if after is None else after.index + after.end.index + 1
        self._void: Ranges = () if after is None else after.void
        self._is_frame = self._rewinds = False
        self._stored: Frame
        self._lines: list[bytes] = []
        self._lines_bytes = 0
        self._outcome: Outcome | None = None
        self._end = Cursor(0, 0)
        self._wake = asyncio.Event()
        self._progress = asyncio.Condition()
        self._error: BaseException | None = None
        self._leaving = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work(), name=f"pump {self._run}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._leaving = True
            self._task.cancel()
            # Not awaited itself: our own cancellation must not be taken for the task's.
            await asyncio.wait([self._task])

    async def write(self, chunk: Chunk) -> None:
        """Take a chunk; waits only while 1 MiB is waiting for the broker.

        Raises:
            FencedError: another writer took the run over.
            ChunkTooLargeError: the broker can't hold the chunk; nothing was taken.
            ValueError: the chunk is no JSON, or the run is sealed.

        """
        line = encode_chunk(chunk)
        if len(line) > self._limit_bytes:
            raise ChunkTooLargeError(len(line), self._limit_bytes)
        if self._lines_bytes > BUFFER_BYTES or self._error is not None:
            async with self._progress:
                await self._progress.wait_for(lambda: self._lines_bytes <= BUFFER_BYTES or self._error is not None)
            self._raise()
        self._check_not_sealed()
        self._lines.append(line)
        self._lines_bytes += len(line)
        self._wake.set()

    async def barrier(self) -> None:
        """Wait until everything taken is stored.

        Raises:
            FencedError: another writer took the run over.

        """
        async with self._progress:
            await self._progress.wait_for(lambda: not self._lines_bytes or self._error is not None)
        self._raise()

    async def frame(self, chunks: list[Chunk], *, void: Ranges | None = None, rewinds: bool = False) -> Frame:
        """Store what is waiting, then these chunks as one frame; `void` holds from this frame on.

        Returns the frame, stored.

        Raises:
            FencedError: another writer took the run over.
            ChunkTooLargeError: the broker can't hold the frame; it was not taken.
            ValueError: a chunk is no JSON, or the run is sealed.

        """
        lines = self._encode(chunks)
        await self.barrier()
        self._check_not_sealed()
        if void is not None:
            self._void = void
        self._is_frame, self._rewinds = True, rewinds
        self._lines, self._lines_bytes = lines, sum(map(len, lines))
        self._wake.set()
        await self.barrier()
        self._is_frame = self._rewinds = False
        return self._stored

    def _encode(self, chunks: list[Chunk]) -> list[bytes]:
        lines = [encode_chunk(chunk) for chunk in chunks]
        if not lines:
            msg = "a frame has chunks"
            raise ValueError(msg)
        size = len(b"\n".join(lines))
        if size > self._limit_bytes:
            raise ChunkTooLargeError(size, self._limit_bytes)
        return lines

    async def close(self, chunks: list[Chunk], outcome: Outcome) -> Cursor:
        """Seal the run: store what is waiting and these chunks, the last frame being the closing one.

        Returns the position behind the closing frame's last chunk.

        Raises:
            FencedError: another writer took the run over.
            ChunkTooLargeError: the broker can't hold the closing frame; the run is not sealed.
            ValueError: a chunk is no JSON, there is none, or the run is sealed.

        """
        lines = self._encode(chunks)
        # Everything before is stored first: the closing frame then takes nothing but its own chunks.
        await self.barrier()
        self._check_not_sealed()
        self._outcome, self._lines, self._lines_bytes = outcome, lines, sum(map(len, lines))
        self._wake.set()
        await self.barrier()
        return self._end

    def _check_not_sealed(self) -> None:
        if self._outcome is not None:
            msg = f"{self._run} is sealed"
            raise ValueError(msg)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    async def _work(self) -> None:
        try:
            # Python 3.11 loses a cancellation that meets an ack in one turn of the loop, so a flag says it again.
            while not self._leaving:
                await self._wake.wait()
                self._wake.clear()
                while self._lines and not self._leaving:
                    lines = self._take()
                    await self._store_frame(lines)
                    async with self._progress:
                        self._lines_bytes -= sum(map(len, lines))
                        self._progress.notify_all()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  handed to whoever writes next
            self._error = error
            async with self._progress:
                self._progress.notify_all()

    def _take(self) -> list[bytes]:
        if self._outcome is not None or self._is_frame:
            taken, self._lines = self._lines, []
            return taken
        size = count = 0
        for line in self._lines:
            size += len(line) + 1
            if count and size > FRAME_BYTES:
                break
            count += 1
        taken, self._lines = self._lines[:count], self._lines[count:]
        return taken

    async def _store_frame(self, lines: list[bytes]) -> None:
        frame_id = uuid.uuid4().hex
        headers = frame_headers(
            frame_id,
            self._attempt,
            self._index,
            self._previous,
            self._outcome,
            void=self._void,
            rewinds=self._rewinds,
        )
        headers[EXPECTED] = str(self._last)
        body = b"\n".join(lines)
        began = time.perf_counter()
        sequence = await self._publish(body, headers, frame_id)
        CHUNK_STORE.record(time.perf_counter() - began)
        if self._is_frame:
            self._stored = decode_frame(self._subject, sequence, headers, body)
        self._last = self._previous = sequence
        self._index += len(lines)
        self._end = Cursor(sequence, len(lines) - 1)

    async def _publish(self, body: bytes, headers: dict[str, str], frame_id: str) -> int:
        clock = asyncio.get_running_loop().time
        began = clock()
        pause_s = _PAUSE_S
        while True:
            try:
                return await self._store.publish(
                    subjects.CHUNKS_STREAM, self._subject, body, headers, timeout_s=PUBLISH_TIMEOUT_S
                )
            except UNCERTAIN as error:
                # Full or without a leader: a running run waits for room, it does not lose its answer.
                if not is_passing(error) and not is_conflict(error):
                    raise
                log.warning("frame_uncertain", run_id=self._run, error=repr(error))
                uncertain = error
            try:
                found = await self._log.last_of_run(self._org, self._thread, self._run)
            except UNCERTAIN as error:
                if not is_passing(error):
                    raise
                log.warning("frame_unverified", run_id=self._run, error=repr(error))
            else:
                if found is not None and found.frame_id == frame_id:
                    return found.sequence
                if (0 if found is None else found.sequence) != self._last:
                    raise FencedError(self._run, found)
            if clock() - began >= self._patience_s:
                raise uncertain
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_MAX_S)
