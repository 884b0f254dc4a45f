"""A feed: a source as it is told live, joined by sequence with what the store holds of it.

Readers keep nothing but their position. What a reader needs next comes from the feed's memory where that has it, and
from the store where it has not: a slow reader holds nothing, and a hole in the live subscription can't be seen by
anybody. Readers who have everything are told of news at once, all of them in one go.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from decopilot.log.blocks import Block, Blocks, KindT, Memory, Piece
from decopilot.log.metrics import since_s
from decopilot.log.store import UNCERTAIN, Store, Stored

SILENCE_S = 1.0
KEEPALIVE_S = 15.0
TURN_S = 0.05
"""How long followers are told of news before others have their turn on the event loop."""
MEASURE_S = 0.1
"""So far apart rounds of news are measured: what comes late comes after a silence, so it always is."""

log = structlog.get_logger()


class Item(Protocol):
    """What a source holds."""

    @property
    def sequence(self) -> int:
        """The stream sequence."""


ItemT = TypeVar("ItemT", bound=Item)


@dataclass(frozen=True, slots=True)
class Source(Generic[ItemT, KindT]):
    """What a feed follows: where it is stored, where it is re-published, and how it goes over the wire.

    `piece` encodes an item, given the sequence behind which it is the next one. `previous_of` tells that sequence where
    an item names it; with None, a live message only wakes the feed, which then reads the store. `is_open` tells whether
    more is expected soon after this item, and `is_end` whether nothing from before it is to be told any more.
    `delivered` hears of rounds of news how many seconds ago their oldest was stored, once the last follower is told.
    """

    stream: str
    stored: str
    live: str
    decode: Callable[[Stored], ItemT]
    piece: Callable[[ItemT, int], Piece[KindT]]
    previous_of: Callable[[ItemT], int] | None
    is_open: Callable[[ItemT], bool]
    is_end: Callable[[ItemT], bool]
    delivered: Callable[[float], None] | None = None


class Feed(Generic[ItemT, KindT]):
    """What there is of one source, up to `head`."""

    def __init__(self, store: Store, source: Source[ItemT, KindT], memory: Memory) -> None:
        self.source = source
        self.readers = 0
        self.head = 0
        self.last: ItemT | None = None
        """The newest item, if there is any."""
        self.doubtful = False
        """Whether messages may have been missed since it was last compared with the store."""
        self._store = store
        self._blocks: Blocks[KindT] = Blocks(memory)
        self._look_at = 0.0
        self._patience_s = SILENCE_S
        self._followers: dict[asyncio.Future[None], Callable[[], bool]] = {}
        self._telling: asyncio.Handle | None = None
        self._untold: list[tuple[asyncio.Future[None], Callable[[], bool]]] = []
        self._is_news = False
        self._oldest_news: Stored | None = None
        self._oldest_told: Stored | None = None
        self._measure_at = 0.0
        self._ends = 0
        self._heal = asyncio.Lock()
        self._reading = asyncio.Lock()
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
                self._begin(self.source.decode(last))
            self._is_opened = True

    async def close(self) -> None:
        """End the subscription, and forget."""
        if self._telling is not None:
            self._telling.cancel()
        self._blocks.clear()
        # It calls us back: without a word from us, the two would keep each other until garbage is collected.
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._store.nc.is_closed:
            await subscription.unsubscribe()

    @property
    def is_open(self) -> bool:
        """Whether it has subscribed, and knows how far the store is."""
        return self._is_opened

    def is_due(self, now: float) -> bool:
        """Tell whether it is time to compare: after doubts, and ever more seldom in the silence of an open run."""
        if self.doubtful:
            return self._is_opened
        return self.last is not None and self.source.is_open(self.last) and now >= self._look_at

    def near(self, position: int) -> Block[KindT] | None:
        """Return the block that is next behind a position, if it is remembered."""
        return self._blocks.near(position)

    async def behind(self, position: int) -> Block[KindT] | None:
        """Return the block that is next behind a position: from memory, or else from the store.

        It may begin behind the position: then what was there between is gone. None where there is nothing.

        Raises:
            nats.errors.Error, TimeoutError: the broker does not answer.

        """
        if position >= self.head:
            return None
        if (block := self.near(position)) is not None:
            return block
        # One at a time: those who come back together find what the first of them has read.
        async with self._reading:
            while (block := self.near(position)) is None:
                source, ends = self.source, self._ends
                batches = self._store.read(source.stream, source.stored, position, until=self.head)
                async with aclosing(batches):
                    read: list[Stored] = await anext(batches, [])
                # What was read before an end came is not to be told any more; what is there now may be.
                if ends == self._ends:
                    return self._blocks.fill(position, self._pieces(position, map(source.decode, read)))
            return block

    def _pieces(self, position: int, items: Iterable[ItemT]) -> Iterable[Piece[KindT]]:
        previous_of = self.source.previous_of
        for item in items:
            if item.sequence > self.head:
                # It is about to be told, and remembered then.
                return
            yield self.source.piece(item, position if previous_of is None else previous_of(item))
            position = item.sequence

    async def follow(self, tell: Callable[[], bool]) -> None:
        """Call `tell` whenever there is something new, until it returns False, or all are interrupted.

        It is called from the event loop, one follower after the other: it must be quick, and must not raise.
        """
        left = asyncio.get_running_loop().create_future()
        self._followers[left] = tell
        try:
            await left
        finally:
            self._followers.pop(left, None)

    def interrupt(self) -> None:
        """Have every follower look for itself, with nothing new."""
        for left in self._followers:
            if not left.done():
                left.set_result(None)

    async def check(self) -> None:
        """Compare with the store's last item, and take in what the subscription has missed."""
        self._look_at = asyncio.get_running_loop().time() + self._patience_s
        self._patience_s = min(2 * self._patience_s, KEEPALIVE_S)
        self.doubtful = False
        try:
            last = await self._store.last(self.source.stream, self.source.stored)
            if last is not None and last.sequence > self.head:
                await self._take_in(last.sequence)
        except BaseException:
            self.doubtful = True
            raise

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
            if self.last is None or self.source.previous_of(item) == self.head:
                self._oldest_news = self._oldest_news or stored
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
                        self._oldest_news = self._oldest_news or stored
                        self._push(self.source.decode(stored))

    def _begin(self, item: ItemT) -> None:
        # Of what comes before the first one nothing is known, unless it says so itself.
        self._push(item, item.sequence - 1)

    def _push(self, item: ItemT, previous: int | None = None) -> None:
        if self.source.previous_of is not None:
            previous = self.source.previous_of(item)
        if self.source.is_end(item):
            self._ends += 1
            self._blocks.clear()
        self._blocks.push(self.source.piece(item, self.head if previous is None else previous))
        self.last, self.head = item, item.sequence
        loop = asyncio.get_running_loop()
        self._patience_s = SILENCE_S
        self._look_at = loop.time() + SILENCE_S
        # What comes in one go is told in one go.
        self._is_news = True
        if self._telling is None:
            self._telling = loop.call_soon(self._tell)

    def _tell(self) -> None:
        """Tell followers, for a turn; those who are left, and all of them what came meanwhile, in the next one."""
        if not self._untold:
            self._untold, self._is_news = list(reversed(self._followers.items())), False
            self._oldest_told, self._oldest_news = self._oldest_news if self._untold else None, None
        loop = asyncio.get_running_loop()
        until = loop.time() + TURN_S
        while self._untold and loop.time() < until:
            left, tell = self._untold.pop()
            if not left.done() and not tell():
                left.set_result(None)
        if not self._untold:
            self._measure(loop.time())
        self._telling = loop.call_soon(self._tell) if self._untold or self._is_news else None

    def _measure(self, now: float) -> None:
        told, self._oldest_told = self._oldest_told, None
        if told is None or self.source.delivered is None or now < self._measure_at or told.stored_at is None:
            return
        self._measure_at = now + MEASURE_S
        self.source.delivered(since_s(told.stored_at))
