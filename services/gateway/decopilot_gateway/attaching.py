"""Attaching: a thread's chunks from a cursor on, each once and in order, across runs, for as long as one likes."""

import asyncio
from collections.abc import Sequence

import structlog
from aiohttp import web

from decopilot.contracts.frames import Cursor, Frame, Ranges
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.log.store import UNCERTAIN
from decopilot.log.tail import Feed, Tails, frames
from decopilot_gateway import sse
from decopilot_gateway.auth import Doorman, thread_in_path
from decopilot_gateway.locating import Locator, Start
from decopilot_gateway.problems import ProblemError
from decopilot_gateway.rewinding import covers
from decopilot_gateway.sse import EncodedFrame
from decopilot_gateway.streaming import RETRY_MS, WRITE_BYTES, Leaving, stream

RETRY_S = 0.25

log = structlog.get_logger()


class HoleError(Exception):
    """A frame does not follow on what the viewer has: frames before it are gone. `run` is the one that lost them."""

    def __init__(self, run: RunId) -> None:
        self.run = run
        super().__init__(f"frames of {run} are missing")


class RewoundError(Exception):
    """Chunks that the viewer was given are void from here on, and it did not say that it can take them back."""

    def __init__(self, run: RunId) -> None:
        self.run = run
        super().__init__(f"chunks of {run} that were delivered are void")


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
        takes_rewinds = _takes_rewinds(request)
        source = frames(org, thread, EncodedFrame, lambda encoded: encoded.frame)
        async with self._tails.follow(source) as feed:
            # The feed listens before the start is looked up: nothing can fall between the two.
            start = await self._locator.locate(org, thread, _newest(feed), cursor, takes_rewinds=takes_rewinds)
            return await stream(
                request,
                self._leaving,
                lambda response: self._stream(org, thread, feed, _Viewer(response, start, takes_rewinds=takes_rewinds)),
            )

    async def _stream(self, org: OrgId, thread: ThreadId, feed: Feed[EncodedFrame], viewer: "_Viewer") -> None:
        hole: HoleError | None = None
        while not self._leaving.started:
            try:
                if hole is not None:
                    await self._reset(org, thread, feed, viewer, hole.run)
                    hole = None
                elif viewer.has_news:
                    await viewer.flush()
                else:
                    await self._find_news(feed, viewer)
            except HoleError as found:
                hole = found
            except RewoundError as rewound:
                log.info("viewer_rewound", org=org, thread=thread, run_id=rewound.run)
                viewer.say(sse.retry(RETRY_MS) + sse.DONE)
                await viewer.flush()
                return
            except UNCERTAIN as error:
                if isinstance(error, ConnectionResetError):
                    raise
                # The viewer's position is good for as long as it takes.
                log.warning("viewer_waits", org=org, thread=thread, error=repr(error))
                viewer.say(sse.KEEPALIVE)
                await asyncio.sleep(RETRY_S)

    async def _find_news(self, feed: Feed[EncodedFrame], viewer: "_Viewer") -> None:
        near = feed.behind(viewer.position)
        if near is None:
            await self._catch_up(feed, viewer)
        elif near:
            await self._take(feed, viewer, near)
        else:
            try:
                async with asyncio.timeout(self._keepalive_s):
                    await feed.wait(viewer.position)
            except TimeoutError:
                viewer.say(sse.KEEPALIVE)

    async def _catch_up(self, feed: Feed[EncodedFrame], viewer: "_Viewer") -> None:
        before = viewer.position
        async for batch in feed.read(before):
            while viewer.position < batch[-1].sequence:
                if self._leaving.started:
                    return
                await self._take(feed, viewer, batch)
                await viewer.flush()
        if viewer.position == before and feed.last is not None:
            raise HoleError(feed.last.frame.run)

    async def _take(self, feed: Feed[EncodedFrame], viewer: "_Viewer", items: Sequence[EncodedFrame]) -> None:
        run = next(item.frame.run for item in items if item.sequence > viewer.position)
        if run != viewer.run:
            # The items at hand mostly reach to where the run ends or the thread does: then nobody is asked.
            seen = next(item.frame for item in reversed(items) if item.frame.run == run)
            viewer.enter(run, await self._locator.void_of(seen, _newest(feed)))
        viewer.take(items)

    async def _reset(
        self, org: OrgId, thread: ThreadId, feed: Feed[EncodedFrame], viewer: "_Viewer", run: RunId
    ) -> None:
        viewer.begin(await self._locator.reset(org, thread, "hole", _newest(feed), lost=run))


class _Viewer:
    """One connection: its position, and what is to be written next. Holds nothing else that belongs to the stream.

    `run` is the one at its position, and what was known to be void of that when it was entered is skipped.
    """

    def __init__(self, response: web.StreamResponse, start: Start, *, takes_rewinds: bool) -> None:
        self._response = response
        self._takes_rewinds = takes_rewinds
        self.begin(start)

    @property
    def has_news(self) -> bool:
        return bool(self._news)

    def begin(self, start: Start) -> None:
        self.position = start.sequence
        self.run, self._void = start.run, start.void
        self._news = start.first

    def enter(self, run: RunId, void: Ranges) -> None:
        self.run, self._void = run, void

    def say(self, news: bytes) -> None:
        self._news = news

    def take(self, items: Sequence[EncodedFrame]) -> None:
        """Take frames that follow on one another, about 256 KiB of them, up to the end of the run.

        Raises:
            HoleError: the first of them does not follow on the viewer's position.
            RewoundError: by the first of them chunks are void that the viewer was given.

        """
        pieces: list[bytes] = []
        size = 0
        for item in items:
            if item.sequence <= self.position:
                continue
            frame = item.frame
            if frame.run != self.run:
                break
            try:
                self._follow(frame)
            except (HoleError, RewoundError):
                if pieces:
                    break
                raise
            pieces.append(item.living_events(self._void))
            size += len(pieces[-1])
            if size >= WRITE_BYTES:
                break
        self._news = b"".join(pieces)

    def _follow(self, frame: Frame) -> None:
        if frame.previous != self.position:
            raise HoleError(frame.run)
        if frame.void and not self._takes_rewinds and not covers(self._void, frame.void):
            raise RewoundError(frame.run)
        self.position = frame.sequence

    async def flush(self) -> None:
        news, self._news = self._news, b""
        if news:
            await self._response.write(news)


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


def _takes_rewinds(request: web.Request) -> bool:
    said = request.query.get("rewind", "false")
    if said not in {"true", "false"}:
        raise ProblemError("invalid_query", "rewind is true or false.")
    return said == "true"
