"""The tail: the feeds of one process, each shared by all its readers, and what they follow."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Generic

import structlog

from decopilot.contracts import subjects
from decopilot.contracts.frames import Frame
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.chunklog import frame_of
from decopilot.log.feed import KEEPALIVE_S, SILENCE_S, Feed, ItemT, Source
from decopilot.log.store import Store, Stored

__all__ = ["Feed", "Source", "Tails", "frames", "watch_events"]

CHECKS_AT_ONCE = 64

log = structlog.get_logger()


class Tails(Generic[ItemT]):
    """The feeds of one process, each opened for its first reader and closed with its last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._feeds: dict[str, Feed[ItemT]] = {}
        self._doubts = asyncio.Event()

    @asynccontextmanager
    async def follow(self, source: Source[ItemT]) -> AsyncIterator[Feed[ItemT]]:
        """Share the feed of a source.

        Raises:
            nats.errors.Error, TimeoutError: the broker does not answer.

        """
        feed = self._feeds.setdefault(source.live, Feed(self._store, source))
        feed.readers += 1
        try:
            await feed.open()
            yield feed
        finally:
            feed.readers -= 1
            if not feed.readers:
                del self._feeds[source.live]
                await feed.close()

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
        """Look for what no live message will ever show: the loss of the last one. Runs until cancelled.

        A feed whose run is open is compared once it has been silent for a second and, while the silence
        lasts, after 2, 4, 8 … seconds more; every feed with each keepalive, and again where that failed.
        """
        clock = asyncio.get_running_loop().time
        keepalive_at = clock() + KEEPALIVE_S
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SILENCE_S / 2):
                    await self._doubts.wait()
            self._doubts.clear()
            if clock() >= keepalive_at:
                keepalive_at = clock() + KEEPALIVE_S
                self._doubt_all()
            due = [feed for feed in self._feeds.values() if feed.is_due(clock())]
            for some in range(0, len(due), CHECKS_AT_ONCE):
                await asyncio.gather(*map(self._check, due[some : some + CHECKS_AT_ONCE]))

    def _doubt_all(self) -> None:
        for feed in self._feeds.values():
            feed.doubtful = True
        self._doubts.set()

    async def _check(self, feed: Feed[ItemT]) -> None:
        try:
            await feed.check()
        except Exception as error:  # noqa: BLE001  what ails one feed must not end the checking of all
            feed.doubtful = True
            log.warning("tail_not_checked", subject=feed.source.live, error=repr(error))


def frames(
    org: OrgId, thread: ThreadId, wrap: Callable[[Frame], ItemT], unwrap: Callable[[ItemT], Frame]
) -> Source[ItemT]:
    """Follow the chunk frames of a thread, each in the form its readers want."""
    return Source(
        stream=subjects.CHUNKS_STREAM,
        stored=subjects.chunks_of(org, thread),
        live=subjects.tail_of(org, thread),
        decode=lambda stored: wrap(frame_of(stored)),
        previous_of=lambda item: unwrap(item).previous,
        is_open=lambda item: unwrap(item).outcome is None,
    )


def watch_events(org: OrgId, decode: Callable[[Stored], ItemT]) -> Source[ItemT]:
    """Follow the watch events of an org; they have no links, so live ones only say that there is something to read."""
    return Source(
        stream=subjects.WATCH_STREAM,
        stored=subjects.watch_of(org),
        live=subjects.watchtail_of(org),
        decode=decode,
        previous_of=None,
        is_open=lambda _item: False,
    )
