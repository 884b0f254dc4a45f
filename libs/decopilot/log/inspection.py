"""Inspection: what the two logs hold of one run, as much at a time as somebody can look at."""

from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from pydantic_core import from_json

from decopilot.contracts.chunks import TOOL_STATES, Chunk
from decopilot.contracts.events import Recorded, RunQueued, RunRequested, ThreadDeleted, run_of
from decopilot.contracts.frames import Cursor, Frame, Ranges
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.contracts.views import RunSummary
from decopilot.domain.inspecting import Runs
from decopilot.domain.resuming import is_void
from decopilot.log.chunklog import ChunkLog
from decopilot.log.journal import Journal

FRAMES_MAX, FRAMES_BYTES = 1_000, 16 << 20
"""Frames that are told of at once, and what they may hold together (but for the last one): more is another page."""
CHUNKS_BYTES = 1 << 20
"""What the chunks of one page may have together, but for the last one."""
_BATCH = 64
"""So many frames are looked into before others have their turn."""


@dataclass(frozen=True, slots=True)
class ToolChunk:
    """A chunk that takes a tool call one state further; `name` where it is said."""

    index: int
    type: str
    call_id: str
    name: str | None


@dataclass(frozen=True, slots=True)
class InspectedFrame:
    """What there is to say of a frame without its chunks; `first_index` counts chunks within the run.

    `tools` are its chunks that take a tool call one state further: not deltas, nor outputs that are preliminary.
    """

    sequence: int
    attempt: int
    first_index: int
    chunks: int
    void_chunks: int
    size_bytes: int
    stored_at: datetime | None
    is_closing: bool
    kinds: dict[str, int]
    tools: tuple[ToolChunk, ...]


@dataclass(frozen=True, slots=True)
class InspectedFrames:
    """A page of a run's frames, in order; `following` is the sequence to go on behind, None at the end.

    `chunks` is how many chunks the run was given in all. With `is_gone` its beginning is not there any more.
    """

    frames: list[InspectedFrame]
    following: int | None
    chunks: int
    is_gone: bool


@dataclass(frozen=True, slots=True)
class InspectedChunk:
    """A chunk where it stands; a void one counts no more."""

    cursor: Cursor
    index: int
    attempt: int
    is_void: bool
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class InspectedChunks:
    """A page of a run's chunks, in order; `following` is the cursor to go on behind, None at the end."""

    chunks: list[InspectedChunk]
    following: Cursor | None
    is_gone: bool


@dataclass(frozen=True, slots=True)
class _Extent:
    """How far a run's chunk log reaches, and what of it counts no more."""

    chunks: int = 0
    void: Ranges = ()
    is_gone: bool = False


@dataclass(slots=True)
class _Page:
    """Chunks as they are gathered, until there are enough of them."""

    limit: int
    chunks: list[InspectedChunk] = field(default_factory=list)
    size_bytes: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.chunks) >= self.limit or self.size_bytes >= CHUNKS_BYTES


class Inspector:
    """Reads what a thread's log, and a run's, tell of runs; a thread that is not there, or no more, has none."""

    def __init__(self, journal: Journal, chunks: ChunkLog) -> None:
        self._journal = journal
        self._chunks = chunks

    async def runs(self, org: OrgId, thread: ThreadId) -> list[RunSummary] | None:
        """Read all runs of a thread, the newest first; None where there is no such thread."""
        found = await self._read(org, thread, None)
        return None if found is None else found[0].newest_first()

    async def run(self, org: OrgId, thread: ThreadId, run: RunId) -> tuple[RunSummary | None, list[Recorded]] | None:
        """Read a run (None where there is no such run) with its events; None where there is no such thread."""
        found = await self._read(org, thread, run)
        return None if found is None else (found[0].get(run), found[1])

    async def traceparent(self, org: OrgId, thread: ThreadId, run: RunId) -> str | None:
        """Read the trace context that a run was asked for in; None where it has none, or is not there."""
        until = await self._journal.newest(org, thread)
        async with aclosing(self._journal.each(org, thread, after=0, until=until)) as events:
            async for recorded in events:
                event = recorded.event
                if isinstance(event, RunRequested | RunQueued) and event.run_id == run:
                    return event.traceparent or recorded.traceparent
        return None

    async def frames(self, org: OrgId, thread: ThreadId, summary: RunSummary, *, after: int) -> InspectedFrames:
        """Read what there is to say of a run's frames behind a sequence."""
        extent = await self._extent(org, thread, summary.run_id, has_ended=summary.has_chunks)
        told: list[InspectedFrame] = []
        size = 0
        read = self._chunks.batches_of_run(org, thread, summary.run_id, after=after, count=_BATCH)
        async with aclosing(read) as batches:
            async for batch in batches:
                for frame in batch:
                    if len(told) >= FRAMES_MAX or size >= FRAMES_BYTES:
                        return InspectedFrames(told, told[-1].sequence, extent.chunks, extent.is_gone)
                    told.append(_inspected(frame, extent.void))
                    size += len(frame.body)
        return InspectedFrames(told, None, extent.chunks, extent.is_gone)

    async def chunks(
        self,
        org: OrgId,
        thread: ThreadId,
        run: RunId,
        *,
        behind: Cursor,
        limit: int,
        frame: int | None = None,
        has_ended: bool,
    ) -> InspectedChunks:
        """Read a run's chunks behind a cursor, up to `limit` of them; with `frame`, of that frame alone."""
        extent = await self._extent(org, thread, run, has_ended=has_ended)
        page = _Page(limit)
        after = max(behind.sequence, frame or 0, 1) - 1
        async with aclosing(self._chunks.batches_of_run(org, thread, run, after=after, count=_BATCH)) as batches:
            async for batch in batches:
                for there in batch:
                    if frame not in {None, there.sequence}:
                        return InspectedChunks(page.chunks, None, extent.is_gone)
                    if not _gather(page, there, behind, extent.void):
                        return InspectedChunks(page.chunks, page.chunks[-1].cursor, extent.is_gone)
        return InspectedChunks(page.chunks, None, extent.is_gone)

    async def _read(self, org: OrgId, thread: ThreadId, run: RunId | None) -> tuple[Runs, list[Recorded]] | None:
        """Feed all runs of a thread, and keep the events of one."""
        until = await self._journal.newest(org, thread)
        runs, kept = Runs(), list[Recorded]()
        async with aclosing(self._journal.each(org, thread, after=0, until=until)) as events:
            async for recorded in events:
                if isinstance(recorded.event, ThreadDeleted):
                    return None
                runs.add(recorded)
                if run is not None and run_of(recorded.event) == run:
                    kept.append(recorded)
        return (runs, kept) if until else None

    async def _extent(self, org: OrgId, thread: ThreadId, run: RunId, *, has_ended: bool) -> _Extent:
        last = await self._chunks.last_of_run(org, thread, run)
        if last is None:
            return _Extent(is_gone=has_ended)
        first = await self._chunks.first_of_run(org, thread, run)
        return _Extent(last.index + last.end.index + 1, last.void, first is None or first.index > 0)


def _inspected(frame: Frame, void: Ranges) -> InspectedFrame:
    # As one document: to parse them one by one takes several times as long.
    chunks: list[Chunk] = from_json(b"[" + frame.body.replace(b"\n", b",") + b"]")
    kinds = Counter(str(chunk["type"]) for chunk in chunks)
    count = frame.end.index + 1
    return InspectedFrame(
        sequence=frame.sequence,
        attempt=frame.attempt,
        first_index=frame.index,
        chunks=count,
        void_chunks=sum(is_void(index, void) for index in range(frame.index, frame.index + count)),
        size_bytes=len(frame.body),
        stored_at=frame.stored_at,
        is_closing=frame.outcome is not None,
        kinds=dict(kinds),
        tools=tuple(
            ToolChunk(index, chunk["type"], str(chunk.get("toolCallId") or ""), chunk.get("toolName"))
            for index, chunk in enumerate(chunks, frame.index)
            if chunk["type"] in TOOL_STATES and not chunk.get("preliminary")
        ),
    )


def _gather(page: _Page, frame: Frame, behind: Cursor, void: Ranges) -> bool:
    """Take a frame's chunks that stand behind a cursor; tell whether all of them had room."""
    begin = behind.index + 1 if frame.sequence == behind.sequence else 0
    for place, line in enumerate(frame.lines[begin:], begin):
        if page.is_full:
            return False
        index = frame.index + place
        cursor = Cursor(frame.sequence, place)
        page.chunks.append(InspectedChunk(cursor, index, frame.attempt, is_void(index, void), from_json(line)))
        page.size_bytes += len(line)
    return True
