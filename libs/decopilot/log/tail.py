"""The tail: one live subscription per thread or org, shared by all its readers, joined by sequence with the store.

Readers keep nothing but their position. What a reader needs next comes from the feed's ring of recent
messages where the ring reaches back to its position, and from the store where it does not: a slow reader
holds no memory, and a hole in the live subscription can't be seen by anybody.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from decopilot.contracts import subjects
from decopilot.contracts.frames import Frame
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.chunklog import frame_of
from decopilot.log.store import UNCERTAIN, Store, Stored

RING_BYTES = 1 << 20
"""What a feed remembers, so that readers near the tip are served from memory."""
SILENCE_S = 1.0
KEEPALIVE_S = 15.0

log = structlog.get_logger()


class Item(Protocol):
    """What a feed carries."""

    @property
    def sequence(self) -> int:
        """The stream sequence."""

    @property
    def body(self) -> bytes:
        """The bytes stored."""


ItemT = TypeVar("ItemT", bound=Item)


@dataclass(frozen=True, slots=True)
class Source(Generic[ItemT]):
    """What a feed follows: where it is stored and where it is re-published.

    `previous_of` tells the sequence of the item that comes before an item under this filter; with None,
    a live message only wakes the feed, which then reads the store. `is_open` tells whether more is
    expected soon after this item.
    """

    stream: str
    stored: str
    live: str
    decode: Callable[[Stored], ItemT]
    previous_of: Callable[[ItemT], int] | None
    is_open: Callable[[ItemT], bool]


class Feed(Generic[ItemT]):
    """The newest items of one source, without a hole: each in the ring follows the one before it."""

    def __init__(self, store: Store, source: Source[ItemT]) -> None:
        self.source = source
        self.readers = 0
        self._store = store
        self._ring: deque[ItemT] = deque()
        self._ring_bytes = 0
        self.base = 0
        """The ring holds everything behind this sequence."""
        self.head = 0
        self.heard_at = 0.0
        self._changed = asyncio.Event()
        self._heal = asyncio.Lock()
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Subscribe, then learn how far the store is."""
        self._subscription = await self._store.nc.subscribe(self.source.live, cb=self._heard)
        # The broker takes requests of one connection in turn: its answer says that it has the subscription.
        last = await self._store.last(self.source.stream, self.source.stored)
        if last is not None and last.sequence > self.head:
            self._restart(self.source.decode(last))

    async def close(self) -> None:
        """End the subscription."""
        if self._subscription is not None and not self._store.nc.is_closed:
            await self._subscription.unsubscribe()

    @property
    def last(self) -> ItemT | None:
        """The newest item known, if there is any."""
        return self._ring[-1] if self._ring else None

    @property
    def is_open(self) -> bool:
        """Whether the newest item is expected to be followed soon."""
        return self.last is not None and self.source.is_open(self.last)

    def behind(self, position: int) -> Sequence[ItemT] | None:
        """Everything behind a position; None where the ring does not reach back to it."""
        if position >= self.head:
            return ()
        if position < self.base:
            return None
        found: list[ItemT] = []
        for item in reversed(self._ring):
            if item.sequence <= position:
                break
            found.append(item)
        found.reverse()
        return found

    async def wait(self, position: int) -> None:
        """Wait until there is something behind a position, or until interrupted; the caller bounds the time."""
        if self.head <= position:
            await self._changed.wait()

    def interrupt(self) -> None:
        """Wake everyone who waits, with nothing new."""
        self._announce(self.head)

    async def read(self, position: int) -> AsyncIterator[Sequence[ItemT]]:
        """Read what is behind a position from the store, in batches, at the reader's pace."""
        async for batch in self._store.read(self.source.stream, self.source.stored, position, until=self.head):
            yield [self.source.decode(stored) for stored in batch]

    async def check(self) -> None:
        """Compare with the store's last item, and take in what the subscription has missed."""
        last = await self._store.last(self.source.stream, self.source.stored)
        if last is not None and last.sequence > self.head:
            await self._take_in(last.sequence)

    async def _heard(self, msg: Msg) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        headers = msg.headers or {}
        stored = Stored(int(headers["Nats-Sequence"]), headers["Nats-Subject"], headers, msg.data)
        if stored.sequence <= self.head:
            return
        if self.source.previous_of is not None:
            item = self.source.decode(stored)
            if not self._ring:
                self._restart(item)
                return
            if self.source.previous_of(item) == self.head:
                self._push(item)
                return
        try:
            await self._take_in(stored.sequence)
        except UNCERTAIN as error:
            log.warning("tail_not_healed", subject=stored.subject, error=repr(error))

    async def _take_in(self, until: int) -> None:
        async with self._heal:
            if until <= self.head:
                return
            async for batch in self._store.read(self.source.stream, self.source.stored, self.head, until=until):
                for stored in batch:
                    if stored.sequence > self.head:
                        self._push(self.source.decode(stored))

    def _push(self, item: ItemT) -> None:
        self._ring.append(item)
        self._ring_bytes += len(item.body)
        while self._ring_bytes > RING_BYTES and len(self._ring) > 1:
            dropped = self._ring.popleft()
            self._ring_bytes -= len(dropped.body)
            self.base = dropped.sequence
        self._announce(item.sequence)

    def _restart(self, item: ItemT) -> None:
        previous_of = self.source.previous_of
        self._ring = deque((item,))
        self._ring_bytes = len(item.body)
        self.base = item.sequence - 1 if previous_of is None else previous_of(item)
        self._announce(item.sequence)

    def _announce(self, head: int) -> None:
        self.head = head
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Tails(Generic[ItemT]):
    """The feeds of one process, each opened for its first reader and closed with its last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._feeds: dict[str, Feed[ItemT]] = {}
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def follow(self, source: Source[ItemT]) -> AsyncIterator[Feed[ItemT]]:
        """Share the feed of a source.

        Raises:
            nats.errors.Error, TimeoutError: the broker does not answer.

        """
        feed = await self._join(source)
        try:
            yield feed
        finally:
            feed.readers -= 1
            if not feed.readers:
                del self._feeds[source.live]
                await feed.close()

    async def _join(self, source: Source[ItemT]) -> Feed[ItemT]:
        async with self._opening:
            feed = self._feeds.get(source.live)
            if feed is None:
                feed = Feed(self._store, source)
                try:
                    await feed.open()
                except BaseException:
                    await feed.close()
                    raise
                self._feeds[source.live] = feed
            feed.readers += 1
            return feed

    def interrupt(self) -> None:
        """Wake every reader: the process is about to leave."""
        for feed in self._feeds.values():
            feed.interrupt()

    async def check(self) -> None:
        """Compare every feed with the store: after a reconnect, and whenever messages may have been dropped."""
        for feed in list(self._feeds.values()):
            await self._check(feed)

    async def keep_checking(self) -> None:
        """Look for what no live message will ever show: the loss of the last one. Runs until cancelled.

        A feed whose run is open is compared once it has been silent for a second, every feed with each
        keepalive.
        """
        clock = asyncio.get_running_loop().time
        checked_all_at = clock()
        checked_at: dict[str, float] = {}
        while True:
            await asyncio.sleep(SILENCE_S / 2)
            now = clock()
            if now - checked_all_at >= KEEPALIVE_S:
                checked_all_at = now
                checked_at = {}
                await self.check()
                continue
            for key, feed in list(self._feeds.items()):
                silent = now - feed.heard_at >= SILENCE_S
                if feed.is_open and silent and checked_at.get(key, 0.0) <= feed.heard_at:
                    checked_at[key] = now
                    await self._check(feed)

    async def _check(self, feed: Feed[ItemT]) -> None:
        try:
            await feed.check()
        except UNCERTAIN as error:
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
