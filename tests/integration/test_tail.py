"""The tail: whatever happens to live messages, each reader sees what the store holds behind its position, in order."""

import asyncio
import json
import random
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.frames import Frame, Outcome
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.contracts.watch import WatchEvent
from decopilot.kit.connection import connected, flushed
from decopilot.kit.settings import Settings
from decopilot.log.blocks import Block, Memory, Piece
from decopilot.log.chunklog import ChunkLog
from decopilot.log.pump import Pump
from decopilot.log.store import UNCERTAIN, Store, Stored
from decopilot.log.tail import Feed, Source, Stretch, Tails, frames, watch_events
from decopilot.log.watchlog import WatchLog
from support.proxy import proxied

ORG, THREAD = OrgId("org"), ThreadId("thread")
DONE = Outcome(status="completed", finish_reason="stop")
FINISH: Chunk = {"type": "finish"}
WAIT_S = 20.0
LIVE = b" decopilot.tail."


def source(thread: ThreadId = THREAD) -> Source[Frame, Stretch]:
    return frames(ORG, thread, encode)


def encode(frame: Frame) -> bytes:
    """Make what a reader is given of a frame: all that says which one it is."""
    return b"".join(b"%d %s\n" % (frame.sequence, line) for line in frame.lines)


@asynccontextmanager
async def viewing(url: str, memory_bytes: int = 1 << 20) -> AsyncIterator[tuple[Store, Tails[Frame, Stretch]]]:
    """A gateway's half of the tail: its own connection, feeds, and the checking of them."""
    followed: list[Tails[Frame, Stretch]] = []

    async def check() -> None:
        for tails in followed:
            await tails.check()

    settings = Settings(nats_url=url, instance="viewer")
    async with connected(settings, "viewer", on_gap=check) as nc, Store(nc) as store:
        tails: Tails[Frame, Stretch] = Tails(store, Memory(memory_bytes))
        followed.append(tails)
        checking = asyncio.create_task(tails.keep_checking())
        try:
            yield store, tails
        finally:
            checking.cancel()
            await asyncio.wait([checking])


class Reader:
    """Reads one feed as a gateway does, from a position to the last frame there will be."""

    def __init__(self, position: int) -> None:
        self.begin = self.position = position
        self.seen: list[bytes] = []
        self.hole = False

    async def read(self, feed: Feed[Frame, Stretch], until: Callable[[], int]) -> None:
        def tell() -> bool:
            block = feed.near(self.position)
            if block is not None:
                self._take(block)
            return block is not None and not self.hole and self.position < until()

        while not self.hole and self.position < until():
            try:
                if self.position >= feed.head:
                    await feed.follow(tell)
                else:
                    self._take(await feed.behind(self.position))
            except UNCERTAIN:
                await asyncio.sleep(0.05)  # the broker is away

    def _take(self, block: Block[Stretch] | None) -> None:
        if block is None or not block.follows(self.position):
            self.hole = True
            return
        self.seen += block.behind(self.position).splitlines()
        self.position = block.sequence


def told(whole: list[Frame]) -> list[bytes]:
    return [line for frame in whole for line in encode(frame).splitlines()]


async def news(feed: Feed[Frame, Stretch], position: int) -> None:
    """Wait until there is something behind a position."""
    while feed.head <= position:
        await feed.follow(lambda: feed.head <= position)


async def stored(store: Store, *, after: int = 0) -> list[Frame]:
    last = await ChunkLog(store).last_of_thread(ORG, THREAD)
    until = 0 if last is None else last.sequence
    return [
        frame async for batch in ChunkLog(store).of_thread(ORG, THREAD, after=after, until=until) for frame in batch
    ]


class Writer:
    """Writes runs, frame by frame, and tells how far it is."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self._store, self._chance = store, chance
        self.last = 0
        self.is_done = False

    async def write(self, runs: int, chunks: int, *, pause_s: float = 0.0) -> None:
        for run in range(runs):
            pump = Pump(self._store, ORG, THREAD, RunId(f"run-{run}"), attempt=1, previous=self.last)
            async with pump:
                for number in range(chunks):
                    await pump.write({"n": number, "filling": "x" * self._chance.randint(0, 600)})
                    if self._chance.random() < 0.7:
                        await pump.barrier()
                    await asyncio.sleep(pause_s * self._chance.random())
                self.last = (await pump.close([FINISH], DONE)).sequence
        self.is_done = True

    def target(self) -> int:
        return self.last if self.is_done else 1 << 62


def mischief(chance: random.Random) -> Callable[[bytes], list[bytes]]:
    """Lose, repeat, hold and swap live messages."""
    held: list[bytes] = []

    def treat(message: bytes) -> list[bytes]:
        if LIVE not in message[:200]:
            return [message]
        match chance.choice(("pass", "pass", "pass", "lose", "twice", "hold", "release")):
            case "lose":
                return []
            case "twice":
                return [message, message]
            case "hold":
                held.append(message)
                return []
            case "release":
                out = [*held, message]
                chance.shuffle(out)
                held.clear()
                return out
            case _:
                return [message]

    return treat


@pytest.mark.parametrize("seed", range(6))
async def test_readers_see_exactly_what_is_stored_whatever_happens_to_live_messages(
    own_broker: EmbeddedBroker, store: Store, seed: int
) -> None:
    chance = random.Random(seed)
    writer = Writer(store, chance)
    readers: list[Reader] = []
    # Room for a handful of frames: readers that are not quick find them forgotten.
    memory_bytes = chance.choice((5_000, 20_000, 1 << 20))
    async with (
        asyncio.timeout(WAIT_S),
        proxied(own_broker.port) as proxy,
        viewing(proxy.url, memory_bytes) as (_, tails),
    ):
        proxy.treat = mischief(chance)

        async def join() -> None:
            await asyncio.sleep(chance.random() * 0.3)
            there = await stored(store)
            reader = Reader(chance.choice([0, *(frame.sequence for frame in there)]))
            readers.append(reader)
            async with tails.follow(source()) as feed:
                reading = asyncio.create_task(reader.read(feed, writer.target))
                while not reading.done():
                    # A slow reader is one that is seldom asked.
                    await asyncio.wait([reading], timeout=chance.random() * 0.05)
                    if writer.is_done:
                        tails.interrupt()
                await reading

        async with asyncio.TaskGroup() as group:
            group.create_task(writer.write(3, 60, pause_s=0.004))
            for _ in range(8):
                group.create_task(join())
    whole = await stored(store)
    for reader in readers:
        assert not reader.hole
        assert told([frame for frame in whole if frame.sequence > reader.begin]) == reader.seen
        assert writer.last == reader.position


class Recorder:
    """Keeps every frame that ever was, as its own undisturbed subscription hears it."""

    def __init__(self) -> None:
        self.frames: dict[int, Frame] = {}

    async def hear(self, msg: Msg) -> None:
        headers = msg.headers or {}
        stored_ = Stored(int(headers["Nats-Sequence"]), headers["Nats-Subject"], headers, msg.data)
        self.frames[stored_.sequence] = source().decode(stored_)


async def purge_when_sealed(store: Store, run: RunId) -> None:
    log = ChunkLog(store)
    while (last := await log.last_of_run(ORG, THREAD, run)) is None or last.outcome is None:
        await asyncio.sleep(0.005)
    await log.purge(ORG, THREAD, run)


@pytest.mark.parametrize("seed", range(4))
async def test_after_a_purge_a_reader_sees_all_or_a_frame_that_does_not_follow(
    own_broker: EmbeddedBroker, store: Store, seed: int
) -> None:
    chance = random.Random(1000 + seed)
    writer, recorder, readers = Writer(store, chance), Recorder(), [Reader(0) for _ in range(6)]
    await store.nc.subscribe(subjects.tail_of(ORG, THREAD), cb=recorder.hear)
    async with asyncio.timeout(WAIT_S), proxied(own_broker.port) as proxy, viewing(proxy.url, 6_000) as (_, tails):
        proxy.treat = mischief(chance)

        async def join(reader: Reader) -> None:
            await asyncio.sleep(chance.random() * 0.4)
            async with tails.follow(source()) as feed:
                while not reader.hole and reader.position < writer.target():
                    # At most one look at a time, and then a pause: the slow ones meet the purge.
                    target = reader.position + 1
                    reading = asyncio.create_task(reader.read(feed, partial(int, target)))
                    while not reading.done():
                        await asyncio.wait([reading], timeout=0.05)
                        tails.interrupt()
                    await asyncio.sleep(chance.random() * 0.05)

        async with asyncio.TaskGroup() as group:
            group.create_task(writer.write(3, 40, pause_s=0.004))
            for run in ("run-0", "run-1"):
                group.create_task(purge_when_sealed(store, RunId(run)))
            for reader in readers:
                group.create_task(join(reader))
        while writer.last not in recorder.frames:
            await asyncio.sleep(0.005)
    whole = [recorder.frames[sequence] for sequence in sorted(recorder.frames)]
    gone = {*recorder.frames} - {frame.sequence for frame in await stored(store)}
    assert gone
    for reader in readers:
        had = [frame for frame in whole if frame.sequence <= reader.position]
        assert told(had) == reader.seen
        missed = whole[len(had) :]
        assert reader.hole == bool(missed)
        assert not missed or missed[0].sequence in gone


async def test_readers_go_on_exactly_across_restarts_of_the_broker_and_cut_connections(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    writer, reader = Writer(store, random.Random(7)), Reader(0)
    async with (
        asyncio.timeout(WAIT_S),
        proxied(own_broker.port) as proxy,
        viewing(proxy.url) as (_, tails),
        tails.follow(source()) as feed,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(writer.write(2, 80, pause_s=0.01))
        reading = group.create_task(reader.read(feed, writer.target))
        for nth in range(4):
            position = reader.position
            while reader.position < position + 8 and not reading.done():
                await asyncio.sleep(0.005)
            if nth % 2:
                proxy.cut()
            else:
                await asyncio.to_thread(own_broker.kill)
                await asyncio.to_thread(own_broker.start)
        while not reading.done():
            await asyncio.wait([reading], timeout=0.05)
            tails.interrupt()
    assert told(await stored(store)) == reader.seen


async def test_the_loss_of_the_last_live_message_of_an_open_run_is_healed_in_two_seconds(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    clock = asyncio.get_running_loop().time
    async with (
        asyncio.timeout(WAIT_S),
        proxied(own_broker.port) as proxy,
        viewing(proxy.url) as (_, tails),
        tails.follow(source()) as feed,
        Pump(store, ORG, THREAD, RunId("r"), attempt=1, previous=0) as pump,
    ):
        await pump.write({"n": 0})
        await news(feed, 0)
        lost = 0
        for _ in range(2):
            proxy.lose(lambda message: LIVE in message[:200], times=1)
            await pump.write({"n": 1})
            await pump.barrier()
            began, head = clock(), feed.head
            await news(feed, head)
            assert clock() - began < 2.0
            assert (await stored(store))[-1] == feed.last
            lost = proxy.lost
        assert 2 == lost


async def test_one_subscription_serves_all_readers_of_a_thread_and_ends_with_the_last(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    tails: Tails[Frame, Stretch] = Tails(store, Memory(1 << 20))
    async with asyncio.timeout(WAIT_S):
        async with AsyncExitStack() as readers:
            joining = (readers.enter_async_context(tails.follow(source())) for _ in range(20))
            feeds = await asyncio.gather(*joining)
            assert len({id(feed) for feed in feeds}) == 1
            await flushed(store.nc)
            assert 1 == await live_subscriptions(own_broker)
        await flushed(store.nc)
        assert 0 == await live_subscriptions(own_broker)
        async with tails.follow(source()) as feed:
            assert feed is not feeds[0]


async def test_a_feed_lingers_for_readers_that_come_back_and_not_for_long(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with Pump(store, ORG, THREAD, RunId("r"), attempt=1, previous=0) as pump:
        await pump.write({"n": 0})
        tails: Tails[Frame, Stretch] = Tails(store, Memory(1 << 20), linger_s=1.5)
        checking = asyncio.create_task(tails.keep_checking())
        async with asyncio.timeout(WAIT_S):
            async with tails.follow(source()) as first:
                pass
            await pump.close([FINISH], DONE)
            async with tails.follow(source()) as feed:
                assert first is feed
                reader = Reader(0)
                await reader.read(feed, lambda: feed.head)
                assert told(await stored(store)) == reader.seen
            while await live_subscriptions(own_broker):
                await asyncio.sleep(0.05)
            async with tails.follow(source()) as feed:
                assert first is not feed
        checking.cancel()
        await asyncio.wait([checking])


async def test_opening_that_fails_leaves_nothing_behind_and_the_next_reader_opens(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with Pump(store, ORG, THREAD, RunId("r"), attempt=1, previous=0) as pump:
        await pump.close([FINISH], DONE)
    async with asyncio.timeout(WAIT_S), proxied(own_broker.port) as proxy, viewing(proxy.url) as (far, tails):
        proxy.lose(lambda message: b"stream_msg_get_response" in message)
        with pytest.raises((NatsError, TimeoutError)):
            async with tails.follow(source()):
                pass
        proxy.heal()
        await flushed(far.nc)
        assert 0 == await live_subscriptions(own_broker)
        async with tails.follow(source()) as feed:
            assert feed.last is not None


async def test_a_reader_that_leaves_while_opening_leaves_the_feed_to_those_who_wait_for_it(
    own_broker: EmbeddedBroker,
    store: Store,  # noqa: ARG001  provisioned
) -> None:
    async with asyncio.timeout(WAIT_S), proxied(own_broker.port) as proxy, viewing(proxy.url) as (far, tails):
        leave = asyncio.Event()

        async def follow() -> None:
            async with tails.follow(source()):
                await leave.wait()

        proxy.talks.clear()
        first, second = asyncio.create_task(follow()), asyncio.create_task(follow())
        while not await live_subscriptions(own_broker):
            await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        proxy.talks.set()
        await flushed(far.nc)
        assert 1 == await live_subscriptions(own_broker)
        leave.set()
        await second
        await flushed(far.nc)
        assert 0 == await live_subscriptions(own_broker)
        proxy.talks.clear()
        alone = asyncio.create_task(follow())
        while not await live_subscriptions(own_broker):
            await asyncio.sleep(0.01)
        alone.cancel()
        await asyncio.wait([alone])
        proxy.talks.set()
        await flushed(far.nc)
        assert 0 == await live_subscriptions(own_broker)


async def test_one_feed_that_can_not_be_checked_does_not_end_the_checking_of_the_others(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    bad = source(ThreadId("bad"))
    async with (
        asyncio.timeout(WAIT_S),
        proxied(own_broker.port) as proxy,
        viewing(proxy.url) as (_, tails),
        tails.follow(bad),
        tails.follow(source()) as feed,
    ):
        proxy.lose(lambda message: LIVE in message[:200])
        await store.publish(subjects.CHUNKS_STREAM, subjects.chunks(ORG, ThreadId("bad"), RunId("r")), b"no frame")
        async with Pump(store, ORG, THREAD, RunId("r"), attempt=1, previous=0) as pump:
            await pump.write({"n": 0})
            await pump.barrier()
            head = feed.head
            for _ in range(2):
                await tails.check()
                await news(feed, head)
                head = feed.head
                await pump.write({"n": 1})
                await pump.barrier()


async def test_feeds_remember_no_more_than_their_memory_and_nothing_once_they_are_closed(store: Store) -> None:
    memory = Memory(200_000)
    tails: Tails[Frame, Stretch] = Tails(store, memory)
    threads = [ThreadId(f"t{number}") for number in range(3)]
    async with asyncio.timeout(WAIT_S), AsyncExitStack() as readers:
        feeds = [await readers.enter_async_context(tails.follow(source(thread))) for thread in threads]
        for thread, feed in zip(threads, feeds, strict=True):
            async with Pump(store, ORG, thread, RunId(f"r-{thread}"), attempt=1, previous=0) as pump:
                for number in range(300):
                    await pump.write({"n": number, "filling": "x" * 700})
                    await pump.barrier()
                last = (await pump.close([FINISH], DONE)).sequence
            while feed.head < last:
                await news(feed, feed.head)
            assert memory.used_bytes <= 200_000
        assert memory.used_bytes > 100_000
        # Whoever comes from far behind is served all the same, and that is not kept either.
        reader = Reader(0)
        await reader.read(feeds[0], lambda: feeds[0].head)
        assert 301 == len(reader.seen)
        assert memory.used_bytes <= 200_000
    assert 0 == memory.used_bytes


async def test_those_who_come_back_together_cost_one_reading(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    read = Store.read

    def counting(self: Store, stream: str, subject: str, after: int, *, until: int = 0) -> AsyncIterator[list[Stored]]:
        asked.append(after)
        return read(self, stream, subject, after, until=until)

    monkeypatch.setattr(Store, "read", counting)
    async with Pump(store, ORG, THREAD, RunId("r"), attempt=1, previous=0) as pump:
        for number in range(100):
            await pump.write({"n": number})
            await pump.barrier()
        last = (await pump.close([FINISH], DONE)).sequence
    tails: Tails[Frame, Stretch] = Tails(store, Memory(1 << 20))
    readers = [Reader(chance) for chance in [0] * 20 + list(range(1, 20))]
    async with asyncio.timeout(WAIT_S), tails.follow(source()) as feed:
        await asyncio.gather(*(reader.read(feed, lambda: last) for reader in readers))
    assert [0] == asked
    whole = await stored(store)
    assert [told([frame for frame in whole if frame.sequence > one.begin]) for one in readers] == [
        one.seen for one in readers
    ]


async def test_what_an_erased_thread_held_is_forgotten_at_once(store: Store) -> None:
    async with Pump(store, ORG, THREAD, RunId("r"), attempt=1, previous=0) as pump:
        await pump.write({"n": 0})
        await pump.close([FINISH], DONE)
    tails: Tails[Frame, Stretch] = Tails(store, Memory(1 << 20))
    async with asyncio.timeout(WAIT_S), tails.follow(source()) as feed:
        assert await feed.behind(0) is not None
        head = feed.head
        await ChunkLog(store).erase(ORG, THREAD)
        await news(feed, head)
        block = await feed.behind(0)
        assert block is not None
        assert not block.follows(0)


async def test_who_reads_on_while_a_thread_is_erased_run_by_run_misses_none_of_what_stands_in_their_place(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = 0
    for run in ("r", "s"):
        async with Pump(store, ORG, THREAD, RunId(run), attempt=1, previous=last) as pump:
            last = (await pump.close([FINISH], DONE)).sequence
    is_read, is_put = asyncio.Event(), asyncio.Event()
    put, read = Store.publish, Store.read

    async def putting(self: Store, *what: Any, **how: Any) -> int:  # noqa: ANN401
        if is_put.is_set():
            await is_read.wait()
        is_put.set()
        return await put(self, *what, **how)

    async def reading(self: Store, *what: Any, **how: Any) -> AsyncIterator[list[Stored]]:  # noqa: ANN401
        async for batch in read(self, *what, **how):
            head = feed.head
            is_read.set()
            await news(feed, head)
            yield batch

    # It remembers nothing: all is read.
    tails: Tails[Frame, Stretch] = Tails(store, Memory(0))
    async with asyncio.timeout(WAIT_S), tails.follow(source()) as feed:
        monkeypatch.setattr(Store, "publish", putting)
        erasing = asyncio.create_task(ChunkLog(store).erase(ORG, THREAD))
        await news(feed, last)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "read", reading)
            reads = asyncio.create_task(feed.behind(last))
            await is_read.wait()
            patch.setattr(Store, "read", read)
            block = await reads
        await erasing
        assert block is not None
        assert block.follows(last)


async def test_watchers_see_exactly_what_is_stored_whatever_happens_to_live_messages(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    chance = random.Random(5)
    log, count = WatchLog(store), 120
    at = datetime(2026, 1, 2, tzinfo=UTC)

    async def tell(thread: ThreadId) -> None:
        position = 0
        for number in range(count):
            told = WatchEvent(id=f"{number}-0", type="decopilot.step", subject=thread, data={}, time=at)
            position = await log.append(ORG, thread, "step", told, after=position)

    async def watch(tails: Tails[Stored, str], seen: list[int]) -> None:
        async with tails.follow(watch_events(ORG, _watched)) as feed:
            position = 0
            while position < last:
                block = await feed.behind(position)
                if block is not None:
                    seen += map(int, block.behind(position).split())
                    position = block.sequence
                else:
                    await asyncio.wait([asyncio.create_task(feed.follow(lambda: False))], timeout=0.1)
                    await tails.check()

    last = 2 * count
    async with asyncio.timeout(WAIT_S), proxied(own_broker.port) as proxy:
        settings = Settings(nats_url=proxy.url, instance="w")
        async with connected(settings, "w") as nc, Store(nc) as far:
            tails: Tails[Stored, str] = Tails(far, Memory(chance.choice((5_000, 1 << 20))))
            checking = asyncio.create_task(tails.keep_checking())
            proxy.lose(lambda message: b" decopilot.watchtail." in message[:200] and chance.random() < 0.4)
            seen: list[list[int]] = [[], [], []]
            async with asyncio.TaskGroup() as group:
                for one in seen:
                    group.create_task(watch(tails, one))
                for thread in ("a", "b"):
                    group.create_task(tell(ThreadId(thread)))
            checking.cancel()
            await asyncio.wait([checking])
    assert proxy.lost
    assert [list(range(1, last + 1))] * 3 == seen


def _watched(stored_: Stored, previous: int) -> Piece[str]:
    return Piece("any", previous, stored_.sequence, b"%d\n" % stored_.sequence)


async def live_subscriptions(broker: EmbeddedBroker) -> int:
    """How many subscriptions on tails the broker holds."""

    def ask() -> int:
        with urllib.request.urlopen(f"{broker.monitor_url}/connz?subs=1", timeout=5) as answer:
            connections = json.load(answer)["connections"]
        listed = [subject for connection in connections for subject in connection.get("subscriptions_list", [])]
        return sum(subject.startswith(("decopilot.tail.", "decopilot.watchtail.")) for subject in listed)

    return await asyncio.to_thread(ask)
