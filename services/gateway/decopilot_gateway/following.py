"""Following: one viewer over one feed, from its position on: told of news at the tip, and at its own pace behind it."""

import asyncio
from typing import Generic, Protocol

import structlog

from decopilot.log.blocks import Block, KindT
from decopilot.log.feed import Feed, ItemT
from decopilot.log.store import UNCERTAIN
from decopilot_gateway import sse
from decopilot_gateway.metrics import FALLBACKS
from decopilot_gateway.streaming import Channel, Leaving

RETRY_S = 0.25
HELD_UP_S = 2.0

log = structlog.get_logger()


class OddError(Exception):
    """What is next can't just be written: it needs a question, a reset, or the end of the stream."""


class Reader(Protocol[KindT]):
    """A viewer's place in a feed, and what it is to be given."""

    position: int

    def take(self, block: Block[KindT]) -> bytes:
        """Go to the end of a block; returns the events to write.

        Raises:
            OddError: the viewer stays where it is, and is to `meet` it.

        """

    def find_nothing(self, head: int) -> None:
        """Be told that nothing is left of what was stored behind the position and up to `head`.

        Raises:
            OddError: that has to be met.

        """

    async def meet(self, odd: OddError) -> tuple[bytes, bool]:
        """Deal with what can't be taken; returns the events to write, and whether the stream goes on."""

    async def held_up(self) -> None:
        """Be told, now and then, that the client reads slowly, or has a long way to go."""


async def follow(feed: Feed[ItemT, KindT], reader: Reader[KindT], channel: Channel, leaving: Leaving) -> None:
    """Write what a feed has behind a reader's position until the gateway leaves, or the reader has met its end.

    Raises:
        ConnectionResetError: the client is gone.

    """
    following = _Following(feed, reader, channel)
    while not leaving.started:
        try:
            if not await following.go_on():
                return
        except UNCERTAIN as error:
            if isinstance(error, ConnectionResetError):
                raise
            # The viewer's position is good for as long as it takes.
            log.warning("viewer_waits", subject=feed.source.live, error=repr(error))
            channel.write(sse.KEEPALIVE)
            await asyncio.sleep(RETRY_S)


class _Following(Generic[ItemT, KindT]):
    def __init__(self, feed: Feed[ItemT, KindT], reader: Reader[KindT], channel: Channel) -> None:
        self._feed = feed
        self._reader = reader
        self._channel = channel
        self._clock = asyncio.get_running_loop().time
        self._behind_since = self._clock()

    async def go_on(self) -> bool:
        """Write what is next, or wait for it; tell whether the stream goes on."""
        if self._reader.position >= self._feed.head:
            await self._wait()
        elif not await self._read_on():
            return False
        while not await self._channel.drains(HELD_UP_S):
            await self._reader.held_up()
        if self._clock() - self._behind_since > HELD_UP_S:
            await self._reader.held_up()
        return True

    async def _wait(self) -> None:
        """Be told of news for as long as the client keeps up."""
        await self._feed.follow(self._tell)
        self._behind_since = self._clock()

    def _tell(self) -> bool:
        reader, channel = self._reader, self._channel
        while (block := self._feed.near(reader.position)) is not None:
            try:
                events = reader.take(block)
            except Exception:  # noqa: BLE001  it has to fail in its own task: others are yet to be told
                return False
            if not channel.write(events):
                FALLBACKS.add(1)
                return False
        return reader.position >= self._feed.head

    async def _read_on(self) -> bool:
        """Write what is next; tell whether the stream goes on."""
        head = self._feed.head
        block = await self._feed.behind(self._reader.position)
        try:
            if block is None:
                self._reader.find_nothing(head)
            else:
                self._channel.write(self._reader.take(block))
        except OddError as odd:
            events, goes_on = await self._reader.meet(odd)
            self._channel.write(events)
            return goes_on
        return True
