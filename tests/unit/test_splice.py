"""The splice, driven through adversarial interleavings: live messages lost, late, doubled and swapped, replicas behind.

The feed is the real one; beneath it stands a log whose every answer takes as long as the example says, and whose
replicas know as little as the example says.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg

from decopilot.log.blocks import Block, Memory, Piece
from decopilot.log.feed import Feed, Source
from decopilot.log.store import Stored

Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("tell", "tell", "tell", "lose", "twice", "hold", "release", "swap", "purge", "check", "join")),
        st.integers(0, 7),
    ),
    max_size=60,
)
PAUSES = st.lists(st.integers(0, 4), min_size=1, max_size=30)
LAGS = st.lists(st.integers(0, 6), min_size=1, max_size=30)
BATCHES = st.integers(1, 4)


class Log:
    """A log of one subject, with a leader, replicas that lag, and a live subscription that can't be trusted."""

    def __init__(self, pauses: list[int], lags: list[int], batch: int) -> None:
        self.frames: dict[int, Stored] = {}
        self.last_sequence = 0
        self.gone: set[int] = set()
        self.hear: Callable[[Msg], Awaitable[None]] | None = None
        self._pauses, self._lags, self._batch = pauses, lags, batch
        self._turn = 0

    @property
    def nc(self) -> "Log":
        return self

    async def subscribe(self, _subject: str, cb: Callable[[Msg], Awaitable[None]]) -> "Log":
        await self._pause()
        self.hear = cb
        return self

    is_closed = False

    async def unsubscribe(self) -> None:
        self.hear = None

    def append(self) -> Stored:
        # Other threads write between: sequences have gaps.
        sequence = self.last_sequence + 1 + self.last_sequence % 3
        headers = {"Nats-Sequence": str(sequence), "Nats-Subject": "s", "Previous": str(self.last_sequence)}
        self.last_sequence = sequence
        stored = self.frames[sequence] = Stored(sequence, "s", headers, b"%d;" % sequence)
        return stored

    def purge(self) -> None:
        """Take everything but the last one."""
        taken = {sequence for sequence in self.frames if sequence < self.last_sequence}
        self.gone |= taken
        for sequence in taken:
            del self.frames[sequence]

    async def last(self, _stream: str, _subject: str) -> Stored | None:
        await self._pause()
        found = self.frames.get(self.last_sequence)
        await self._pause()
        return found

    async def read(
        self, _stream: str, _subject: str, after: int, *, until: int = 0
    ) -> AsyncGenerator[list[Stored], None]:
        lag = self._next(self._lags)
        while True:
            await self._pause()
            known = sorted(sequence for sequence in self.frames if sequence > after)
            seen = known[: max(0, len(known) - lag)][: self._batch]
            # It catches up.
            lag = max(0, lag - 1)
            if seen:
                batch = [self.frames[sequence] for sequence in seen]
                await self._pause()
                after = seen[-1]
                yield batch
            if after >= until or not [sequence for sequence in self.frames if after < sequence <= until]:
                return

    async def _pause(self) -> None:
        for _ in range(self._next(self._pauses)):
            await asyncio.sleep(0)

    def _next(self, among: list[int]) -> int:
        self._turn += 1
        return among[self._turn % len(among)]


class Reader:
    def __init__(self, log: Log, feed: Feed[Stored, str], position: int) -> None:
        self.begin = self.position = position
        self.seen = b""
        self.hole = False
        self._log, self._feed = log, feed

    async def read(self, *, until: Callable[[], int]) -> None:
        def tell() -> bool:
            block = self._feed.near(self.position)
            if block is not None:
                self._take(block)
            return block is not None and not self.hole and self.position < until()

        while not self.hole and self.position < until():
            if self.position >= self._feed.head:
                await self._feed.follow(tell)
            else:
                self._take(await self._feed.behind(self.position))

    def _take(self, block: Block[str] | None) -> None:
        if block is None or not block.follows(self.position):
            self.hole = True
            return
        self.seen += block.behind(self.position)
        self.position = block.sequence


def source() -> Source[Stored, str]:
    def previous(stored: Stored) -> int:
        return int(stored.headers["Previous"])

    return Source(
        stream="S",
        stored="s",
        live="l",
        decode=lambda stored: stored,
        piece=lambda stored, before: Piece("k", before, stored.sequence, stored.data),
        previous_of=previous,
        is_open=lambda _: True,
        is_end=lambda _: False,
    )


class Play:
    """One example, played step by step on an event loop of its own."""

    def __init__(self, pauses: list[int], lags: list[int], batch: int, memory_bytes: int) -> None:
        self.log = Log(pauses, lags, batch)
        store: Any = self.log  # the four calls of a store that a feed makes
        self.feed: Feed[Stored, str] = Feed(store, source(), Memory(memory_bytes))
        self.whole: dict[int, bytes] = {}
        self.readers: list[Reader] = []
        self._held: list[Stored] = []
        self._live: asyncio.Queue[Stored] = asyncio.Queue()
        self.is_done = False

    async def run(self, steps: list[Step]) -> None:
        for _ in range(steps[0][1] if steps else 0):
            self._append()
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(self._listen())
            await self.feed.open()
            for kind, number in steps:
                await self._step(group, kind, number)
            self.is_done = True
            await self.feed.check()
            for _ in range(1000):
                self.feed.interrupt()
                await asyncio.sleep(0)
            listening.cancel()

    async def _step(self, group: asyncio.TaskGroup, kind: str, number: int) -> None:
        if kind == "check":
            await self.feed.check()
        elif kind == "purge":
            self.log.purge()
        elif kind == "join":
            positions = [0, *self.whole]
            reader = Reader(self.log, self.feed, positions[number % len(positions)])
            self.readers.append(reader)
            group.create_task(reader.read(until=self._target))
        else:
            for stored in self._said(kind):
                self._live.put_nowait(stored)
        for _ in range(number):
            await asyncio.sleep(0)

    def _said(self, kind: str) -> list[Stored]:
        """Tell what is heard live of what is stored, or of what was held back."""
        if kind == "release":
            held, self._held = self._held, []
            return held[::-1]
        stored = [self._append() for _ in range(2 if kind == "swap" else 1)]
        match kind:
            case "lose":
                return []
            case "hold":
                self._held += stored
                return []
            case "twice":
                return stored * 2
            case _:
                return stored[::-1]

    def _append(self) -> Stored:
        stored = self.log.append()
        self.whole[stored.sequence] = stored.data
        return stored

    def _target(self) -> int:
        return self.log.last_sequence if self.is_done else 1 << 62

    async def _listen(self) -> None:
        while True:
            stored = await self._live.get()
            if self.log.hear is not None:
                await self.log.hear(Msg(Client(), "l", data=stored.data, headers=dict(stored.headers)))


@settings(max_examples=400, deadline=None)
@given(STEPS, PAUSES, LAGS, BATCHES, st.sampled_from((100, 400, 1 << 20)))
def test_every_reader_has_exactly_what_is_stored_or_finds_that_it_is_gone(
    steps: list[Step], pauses: list[int], lags: list[int], batch: int, memory_bytes: int
) -> None:
    play = Play(pauses, lags, batch, memory_bytes)
    asyncio.run(play.run(steps))
    assert play.feed.head == play.log.last_sequence
    for reader in play.readers:
        had = [data for sequence, data in play.whole.items() if reader.begin < sequence <= reader.position]
        assert b"".join(had) == reader.seen
        if reader.hole:
            following = min(sequence for sequence in play.whole if sequence > reader.position)
            assert following in play.log.gone
        else:
            assert play.log.last_sequence == reader.position
