"""Attaching: a thread's chunks from a cursor on, each once and in order, across runs, for as long as one likes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from aiohttp import web

from decopilot.contracts.frames import Cursor, Frame
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.chunklog import ChunkLog
from decopilot.log.journal import Journal
from decopilot.log.store import UNCERTAIN
from decopilot.log.tail import Feed, Tails, frames
from decopilot_gateway import sse
from decopilot_gateway.auth import Doorman, thread_in_path
from decopilot_gateway.problems import ProblemError
from decopilot_gateway.sse import EncodedFrame
from decopilot_gateway.streaming import WRITE_BYTES, Leaving, streaming

RETRY_S = 0.25

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Start:
    """Where a viewer's stream begins: behind frame `sequence`, after `first` has been written."""

    sequence: int
    first: bytes = b""


class Locator:
    """Finds where a viewer begins, from the logs."""

    def __init__(self, chunks: ChunkLog, journal: Journal) -> None:
        self._chunks = chunks
        self._journal = journal

    async def locate(self, org: OrgId, thread: ThreadId, last: Frame | None, cursor: Cursor | None) -> Start:
        """Find the start: behind the cursor; without one, at the first chunk of the active run, or in wait for it.

        `last` is the newest frame of the thread that is known. A cursor that can't be served exactly is
        answered by a reset.
        """
        if cursor is None:
            return Start(await self._present(org, thread, last))
        if cursor == Cursor(0, 0) and last is not None:
            return Start(0)
        found = await self._chunks.get(org, thread, cursor.sequence) if cursor.sequence else None
        if found is not None and cursor.index <= found.end.index:
            return Start(found.sequence, sse.chunk_events(found, after=cursor.index))
        if found is None and (await self._journal.load(org, thread)).state.cursor == cursor:
            # The frame has expired, but the event log knows it as the last one there was.
            return Start(cursor.sequence)
        return await self.reset(org, thread, last, "cursor")

    async def reset(self, org: OrgId, thread: ThreadId, last: Frame | None, reason: str) -> Start:
        """Begin anew, telling the viewer so."""
        sequence = await self._present(org, thread, last)
        frame = await self._chunks.get(org, thread, sequence) if sequence else None
        state = (await self._journal.load(org, thread)).state
        end = frame.end if frame is not None else Cursor(sequence, state.last_index)
        log.info("viewer_reset", org=org, thread=thread, reason=reason, cursor=str(end))
        return Start(sequence, sse.reset_event(end, reason))

    async def _present(self, org: OrgId, thread: ThreadId, last: Frame | None) -> int:
        if last is None:
            return (await self._journal.load(org, thread)).state.last_frame
        if last.outcome is not None:
            return last.sequence
        first = await self._chunks.first_of_run(org, thread, last.run)
        # A run that has lost its beginning can't be shown from there.
        return first.previous if first is not None and first.index == 0 else last.sequence


class Attach:
    """Handles `GET /{org}/decopilot/attach/{thread}`."""

    def __init__(
        self, doorman: Doorman, tails: Tails[EncodedFrame], locator: Locator, leaving: Leaving, *, keepalive_s: float
    ) -> None:
        self._doorman = doorman
        self._tails = tails
        self._locator = locator
        self._leaving = leaving
        self._keepalive_s = keepalive_s

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Stream the thread's chunks."""
        org = self._doorman.caller(request).org
        thread = thread_in_path(request)
        cursor = _cursor(request)
        source = frames(org, thread, EncodedFrame, lambda encoded: encoded.frame)
        async with self._tails.follow(source) as feed:
            # The feed listens before the start is looked up: nothing can fall between the two.
            start = await self._locator.locate(org, thread, _newest(feed), cursor)
            async with streaming(request, self._leaving) as response:
                await self._stream(org, thread, feed, start, response)
        return response

    async def _stream(
        self, org: OrgId, thread: ThreadId, feed: Feed[EncodedFrame], start: Start, response: web.StreamResponse
    ) -> None:
        viewer = _Viewer(response, start)
        while not self._leaving.started:
            try:
                hole = await self._bring_on(feed, viewer)
                if hole:
                    viewer.begin(await self._locator.reset(org, thread, _newest(feed), "hole"))
            except UNCERTAIN as error:
                # The viewer's position is good for as long as it takes.
                if isinstance(error, ConnectionResetError):
                    raise
                log.warning("viewer_waits", org=org, thread=thread, error=repr(error))
                await asyncio.sleep(RETRY_S)

    async def _bring_on(self, feed: Feed[EncodedFrame], viewer: "_Viewer") -> bool:
        """Bring the viewer one stretch on; tell whether a hole came up."""
        await viewer.flush()
        near = feed.behind(viewer.position)
        if near is None:
            before = viewer.position
            async for batch in feed.read(viewer.position):
                if not await viewer.take(batch):
                    return True
            return viewer.position == before
        if near:
            return not await viewer.take(near)
        try:
            async with asyncio.timeout(self._keepalive_s):
                await feed.wait(viewer.position)
        except TimeoutError:
            await viewer.response.write(sse.KEEPALIVE)
        return False


class _Viewer:
    """One connection: its position, and what is to be written before anything else."""

    def __init__(self, response: web.StreamResponse, start: Start) -> None:
        self.response = response
        self.begin(start)

    def begin(self, start: Start) -> None:
        self.position = start.sequence
        self._first = start.first

    async def flush(self) -> None:
        if self._first:
            first, self._first = self._first, b""
            await self.response.write(first)

    async def take(self, items: Sequence[EncodedFrame]) -> bool:
        """Write frames that follow on one another; tell whether they all did."""
        pieces: list[bytes] = []
        size = 0
        position = self.position
        linked = True
        for item in items:
            if item.sequence <= position:
                continue
            linked = item.frame.previous == position
            if not linked:
                break
            position = item.sequence
            pieces.append(item.events)
            size += len(pieces[-1])
            if size >= WRITE_BYTES:
                await self._write(pieces, position)
                pieces, size = [], 0
        await self._write(pieces, position)
        return linked

    async def _write(self, pieces: list[bytes], position: int) -> None:
        if pieces:
            await self.response.write(b"".join(pieces))
            self.position = position


def _newest(feed: Feed[EncodedFrame]) -> Frame | None:
    return None if feed.last is None else feed.last.frame


def _cursor(request: web.Request) -> Cursor | None:
    # A browser that reconnects repeats the URL it began with: what it has seen since is in the header.
    text = request.headers.get("Last-Event-ID") or request.query.get("cursor")
    if not text:
        return None
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise ProblemError("invalid_cursor", "A cursor reads <sequence>-<index>, as the stream's ids do.") from error
