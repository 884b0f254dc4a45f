"""The tail: the feeds of one process, each shared by all its readers, and what they follow."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Generic, NamedTuple

import structlog

from decopilot.contracts import subjects
from decopilot.contracts.frames import Frame, Ranges
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.log.blocks import KindT, Memory, Piece
from decopilot.log.chunklog import frame_of, is_erased
from decopilot.log.feed import KEEPALIVE_S, SILENCE_S, Feed, ItemT, Source
from decopilot.log.metrics import CHUNK_DELIVERY
from decopilot.log.store import UNCERTAIN, Store, Stored

__all__ = ["Feed", "Source", "Stretch", "Tails", "frames", "watch_events"]

CHECKS_AT_ONCE = 64
LINGERING = 1_000
"""Feeds without a reader that may linger."""

log = structlog.get_logger()


class Tails(Generic[ItemT, KindT]):
    """The feeds of one process, each opened for its first reader and closed with its last, or `linger_s` later.

    What they remember shares one `memory`. Lingering, they have it at hand for readers that were only cut off.
    """

    def __init__(self, store: Store, memory: Memory, *, linger_s: float = 0.0) -> None:
        self._store = store
        self._memory = memory
        self._linger_s = linger_s
        self._feeds: dict[str, Feed[ItemT, KindT]] = {}
        self._left: dict[str, float] = {}
        """When the last reader of a feed left it, the longest ago first."""
        self._doubts = asyncio.Event()

    @asynccontextmanager
    async def follow(self, source: Source[ItemT, KindT]) -> AsyncIterator[Feed[ItemT, KindT]]:
        """Share the feed of a source.

        Raises:
            nats.errors.Error, TimeoutError: the broker does not answer.

        """
        feed = self._feeds.get(source.live)
        if feed is None:
            feed = self._feeds[source.live] = Feed(self._store, source, self._memory)
        self._left.pop(source.live, None)
        feed.readers += 1
        try:
            await feed.open()
            yield feed
        finally:
            feed.readers -= 1
            if not feed.readers:
                self._left[source.live] = asyncio.get_running_loop().time()
                if not self._linger_s or not feed.is_open:
                    await self._close(source.live)
                elif len(self._left) > LINGERING:
                    await self._close(next(iter(self._left)))

    async def _close(self, live: str) -> None:
        del self._left[live]
        await self._feeds.pop(live).close()

    def interrupt(self) -> None:
        """Wake every reader: the process is about to leave."""
        for feed in self._feeds.values():
            feed.interrupt()

    async def check(self) -> None:
        """Have every feed compared soon: after a reconnect, and whenever messages may have been dropped.

        Only asks for it: the connection calls this from tasks that must go on for an answer to come.
        """
        self._doubt_all()

    async def keep_checking(self) -> None:
        """Look for what no live message will ever show: the loss of the last one; close who lingers. Until cancelled.

        A feed whose run is open is compared once it has been silent for a second and, while the silence
        lasts, after 2, 4, 8 … seconds more; every feed with each keepalive, if its stream has grown, and again where
        that failed.
        """
        clock = asyncio.get_running_loop().time
        keepalive_at = clock() + KEEPALIVE_S
        newest: dict[str, int] = {}
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SILENCE_S / 2):
                    await self._doubts.wait()
            self._doubts.clear()
            if clock() >= keepalive_at:
                keepalive_at = clock() + KEEPALIVE_S
                newest = await self._doubt_streams(newest)
            for live in [live for live, left_at in self._left.items() if clock() >= left_at + self._linger_s]:
                if live in self._left:
                    await self._close(live)
            due = [feed for feed in self._feeds.values() if feed.is_due(clock())]
            for some in range(0, len(due), CHECKS_AT_ONCE):
                await asyncio.gather(*map(self._check, due[some : some + CHECKS_AT_ONCE]))

    async def _doubt_streams(self, before: dict[str, int]) -> dict[str, int]:
        """Doubt every feed of the streams that have grown since; one question a stream, however many feeds it has.

        A feed that was compared, or opened, after a stream's newest message was stored can have missed nothing of it.
        """
        newest: dict[str, int] = {}
        for stream in {feed.source.stream for feed in self._feeds.values()}:
            try:
                last = await self._store.last(stream, ">")
                newest[stream] = 0 if last is None else last.sequence
            except UNCERTAIN as error:
                log.warning("stream_not_compared", stream=stream, error=repr(error))
        for feed in self._feeds.values():
            stream = feed.source.stream
            feed.doubtful |= stream not in newest or newest[stream] != before.get(stream)
        return newest

    def _doubt_all(self) -> None:
        for feed in self._feeds.values():
            feed.doubtful = True
        self._doubts.set()

    async def _check(self, feed: Feed[ItemT, KindT]) -> None:
        try:
            await feed.check()
        except Exception as error:  # noqa: BLE001  what ails one feed must not end the checking of all
            log.warning("tail_not_checked", subject=feed.source.live, error=repr(error))


class Stretch(NamedTuple):
    """What the frames of one block share: their run, and what was void of it as they were written."""

    run: RunId
    void: Ranges


def frames(
    org: OrgId, thread: ThreadId, encode: Callable[[Frame], bytes], *, decode: Callable[[Stored], Frame] = frame_of
) -> Source[Frame, Stretch]:
    """Follow the chunk frames of a thread."""

    def piece(frame: Frame, previous: int) -> Piece[Stretch]:
        kind = Stretch(frame.run, frame.void)
        return Piece(kind, previous, frame.sequence, encode(frame), frame.index, ends=frame.outcome is not None)

    return Source(
        stream=subjects.CHUNKS_STREAM,
        stored=subjects.chunks_of(org, thread),
        live=subjects.tail_of(org, thread),
        decode=decode,
        piece=piece,
        previous_of=lambda frame: frame.previous,
        is_open=lambda frame: frame.outcome is None,
        is_end=is_erased,
        delivered=CHUNK_DELIVERY.record,
    )


def watch_events(org: OrgId, piece: Callable[[Stored, int], Piece[KindT]]) -> Source[Stored, KindT]:
    """Follow the watch events of an org; they have no links, so live ones only say that there is something to read."""
    return Source(
        stream=subjects.WATCH_STREAM,
        stored=subjects.watch_of(org),
        live=subjects.watchtail_of(org),
        decode=lambda stored: stored,
        piece=piece,
        previous_of=None,
        is_open=lambda _item: False,
        is_end=lambda _item: False,
    )
