"""A feed: the newest items of a thread or an org, one live subscription joined by sequence with the store.

Readers keep nothing but their position. What a reader needs next comes from the feed's ring of recent
messages where the ring reaches back to its position, and from the store where it does not: a slow reader
holds no memory, and a hole in the live subscription can't be seen by anybody.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from decopilot.log.store import UNCERTAIN, Store, Stored

RING_BYTES = 1 << 20
"""What a feed remembers, so that readers near the tip are served from memory."""
ITEM_BYTES = 1024
"""What an item takes besides its body: most frames are small, and the objects around them are not."""
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
        self.doubtful = False
        """Whether messages may have been missed since it was last compared with the store."""
        self._look_at = 0.0
        self._patience_s = SILENCE_S
        self._changed = asyncio.Event()
        self._heal = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._is_opened = False
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Subscribe, then learn how far the store is; once, whoever asks."""
        async with self._opening:
            if self._is_opened:
                return
            if self._subscription is None:
                self._subscription = await self._store.nc.subscribe(self.source.live, cb=self._heard)
            # The answer also proves that the broker has taken the subscription: it came before on the same connection.
            # No `flush`: in nats-py 2.16 the answer to one that was cancelled ends the connection's read loop.
            last = await self._store.last(self.source.stream, self.source.stored)
            if last is not None and last.sequence > self.head:
                self._restart(self.source.decode(last))
            self._is_opened = True

    async def close(self) -> None:
        """End the subscription."""
        if self._subscription is not None and not self._store.nc.is_closed:
            await self._subscription.unsubscribe()

    @property
    def last(self) -> ItemT | None:
        """The newest item known, if there is any."""
        return self._ring[-1] if self._ring else None

    def is_due(self, now: float) -> bool:
        """Tell whether it is time to compare: after doubts, and ever more seldom in the silence of an open run."""
        if self.doubtful:
            return self._is_opened
        return self.last is not None and self.source.is_open(self.last) and now >= self._look_at

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
        self._look_at = asyncio.get_running_loop().time() + self._patience_s
        self._patience_s = min(2 * self._patience_s, KEEPALIVE_S)
        self.doubtful = False
        last = await self._store.last(self.source.stream, self.source.stored)
        if last is not None and last.sequence > self.head:
            await self._take_in(last.sequence)

    async def _heard(self, msg: Msg) -> None:
        # What comes while opening is judged once it is known how far the store is.
        async with self._opening:
            if not self._is_opened:
                return
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
        self._ring_bytes += len(item.body) + ITEM_BYTES
        while self._ring_bytes > RING_BYTES and len(self._ring) > 1:
            dropped = self._ring.popleft()
            self._ring_bytes -= len(dropped.body) + ITEM_BYTES
            self.base = dropped.sequence
        self._announce(item.sequence)

    def _restart(self, item: ItemT) -> None:
        previous_of = self.source.previous_of
        self._ring = deque((item,))
        self._ring_bytes = len(item.body) + ITEM_BYTES
        self.base = item.sequence - 1 if previous_of is None else previous_of(item)
        self._announce(item.sequence)

    def _announce(self, head: int) -> None:
        if head > self.head:
            self._patience_s = SILENCE_S
            self._look_at = asyncio.get_running_loop().time() + SILENCE_S
        self.head = head
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
