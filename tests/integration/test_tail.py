"""The tail: whatever happens to live messages, each reader sees what the store holds behind its position, in order."""

import asyncio
import json
import random
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import pytest
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.frames import Frame, Outcome
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.contracts.watch import WatchEvent
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log import feed as feed_module
from decopilot.log.chunklog import ChunkLog
from decopilot.log.pump import Pump
from decopilot.log.store import UNCERTAIN, Store, Stored
from decopilot.log.tail import Feed, Source, Tails, frames, watch_events
from decopilot.log.watchlog import WatchLog
from support.proxy import proxied

ORG, THREAD = OrgId("org"), ThreadId("thread")
DONE = Outcome(status="completed", finish_reason="stop")
FINISH: Chunk = {"type": "finish"}
WAIT_S = 20.0
LIVE = b" decopilot.tail."


def source() -> Source[Frame]:
    return frames(ORG, THREAD, lambda frame: frame, lambda frame: frame)


@asynccontextmanager
async def viewing(url: str) -> AsyncIterator[tuple[Store, Tails[Frame]]]:
    """A gateway's half of the tail: its own connection, feeds, and the checking of them."""
    followed: list[Tails[Frame]] = []

    async def check() -> None:
        for tails in followed:
            await tails.check()

    settings = Settings(nats_url=url, instance="viewer")
    async with connected(settings, "viewer", on_gap=check) as nc, Store(nc) as store:
        tails: Tails[Frame] = Tails(store)
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
        self.position = position
        self.seen: list[Frame] = []
        self.hole: Frame | None = None

    async def read(self, feed: Feed[Frame], until: Callable[[], int]) -> None:
        while self.hole is None and self.position < until():
            try:
                near = feed.behind(self.position)
                if near is None:
                    async for batch in feed.read(self.position):
                        self._take(batch)
                elif near:
                    self._take(near)
                else:
                    await feed.wait(self.position)
            except UNCERTAIN:
                await asyncio.sleep(0.05)  # the broker is away

    def _take(self, batch: Sequence[Frame]) -> None:
        for frame in batch:
            if frame.sequence <= self.position or self.hole is not None:
                continue
            if frame.previous != self.position:
                self.hole = frame
                return
            self.seen.append(frame)
            self.position = frame.sequence


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
    own_broker: EmbeddedBroker, store: Store, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    # Room for a handful of frames: readers that are not quick fall out of the ring.
    monkeypatch.setattr(feed_module, "RING_BYTES", chance.choice((5_000, 20_000, 1 << 20)))
    writer = Writer(store, chance)
    readers: list[Reader] = []
    async with asyncio.timeout(WAIT_S), proxied(own_broker.port) as proxy, viewing(proxy.url) as (_, tails):
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
        begin = reader.position if not reader.seen else reader.seen[0].previous
        assert reader.hole is None
        assert [frame for frame in whole if frame.sequence > begin] == reader.seen
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
    own_broker: EmbeddedBroker, store: Store, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(1000 + seed)
    monkeypatch.setattr(feed_module, "RING_BYTES", 6_000)
    writer, recorder, readers = Writer(store, chance), Recorder(), [Reader(0) for _ in range(6)]
    await store.nc.subscribe(subjects.tail_of(ORG, THREAD), cb=recorder.hear)
    async with asyncio.timeout(WAIT_S), proxied(own_broker.port) as proxy, viewing(proxy.url) as (_, tails):
        proxy.treat = mischief(chance)

        async def join(reader: Reader) -> None:
            await asyncio.sleep(chance.random() * 0.4)
            async with tails.follow(source()) as feed:
                while reader.hole is None and reader.position < writer.target():
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
        assert whole[: len(reader.seen)] == reader.seen
        missed = whole[len(reader.seen) :]
        assert (reader.hole is not None) == bool(missed)
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
    assert await stored(store) == reader.seen


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
        await feed.wait(0)
        lost = 0
        for _ in range(2):
            proxy.lose(lambda message: LIVE in message[:200], times=1)
            await pump.write({"n": 1})
            await pump.barrier()
            began, head = clock(), feed.head
            await feed.wait(head)
            assert clock() - began < 2.0
            assert (await stored(store))[-1] == feed.last
            lost = proxy.lost
        assert 2 == lost


async def test_one_subscription_serves_all_readers_of_a_thread_and_ends_with_the_last(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    tails: Tails[Frame] = Tails(store)
    async with asyncio.timeout(WAIT_S):
        async with AsyncExitStack() as readers:
            joining = (readers.enter_async_context(tails.follow(source())) for _ in range(20))
            feeds = await asyncio.gather(*joining)
            assert len({id(feed) for feed in feeds}) == 1
            await store.nc.flush()
            assert 1 == await live_subscriptions(own_broker)
        await store.nc.flush()
        assert 0 == await live_subscriptions(own_broker)
        async with tails.follow(source()) as feed:
            assert feed is not feeds[0]


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
        await far.nc.flush()
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
        await far.nc.flush()
        assert 1 == await live_subscriptions(own_broker)
        leave.set()
        await second
        await far.nc.flush()
        assert 0 == await live_subscriptions(own_broker)
        proxy.talks.clear()
        alone = asyncio.create_task(follow())
        while not await live_subscriptions(own_broker):
            await asyncio.sleep(0.01)
        alone.cancel()
        await asyncio.wait([alone])
        proxy.talks.set()
        await far.nc.flush()
        assert 0 == await live_subscriptions(own_broker)


async def test_one_feed_that_can_not_be_checked_does_not_end_the_checking_of_the_others(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    bad = frames(ORG, ThreadId("bad"), lambda frame: frame, lambda frame: frame)
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
            for _ in range(2):
                await tails.check()
                await feed.wait(feed.head)
                await pump.write({"n": 1})
                await pump.barrier()


async def test_a_feed_remembers_no_more_than_its_bytes_whatever_the_size_of_frames(store: Store) -> None:
    tails: Tails[Frame] = Tails(store)
    async with asyncio.timeout(WAIT_S), tails.follow(source()) as feed:
        async with Pump(store, ORG, THREAD, RunId("r"), attempt=1, previous=0) as pump:
            for number in range(2000):
                await pump.write({"n": number})
                await pump.barrier()
            last = (await pump.close([FINISH], DONE)).sequence
        while feed.head < last:
            await feed.wait(feed.head)
        remembered = feed.behind(feed.base)
        assert remembered is not None
        assert 500 < len(remembered) < 1024
        assert feed.behind(feed.base - 1) is None


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

    async def watch(tails: Tails[Told], seen: list[int]) -> None:
        async with tails.follow(watch_events(ORG, Told.of)) as feed:
            position = 0
            while position < last:
                near = feed.behind(position)
                batches = [near] if near is not None else [batch async for batch in feed.read(position)]
                for item in (item for batch in batches for item in batch):
                    seen.append(item.sequence)
                    position = item.sequence
                if near == ():
                    await asyncio.wait([asyncio.create_task(feed.wait(position))], timeout=0.1)
                    await tails.check()

    last = 2 * count
    async with asyncio.timeout(WAIT_S), proxied(own_broker.port) as proxy:
        settings = Settings(nats_url=proxy.url, instance="w")
        async with connected(settings, "w") as nc, Store(nc) as far:
            tails: Tails[Told] = Tails(far)
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


@dataclass(frozen=True, slots=True)
class Told:
    """A watch event as stored."""

    sequence: int
    body: bytes

    @classmethod
    def of(cls, message: Stored) -> "Told":
        return cls(message.sequence, message.data)


async def live_subscriptions(broker: EmbeddedBroker) -> int:
    """How many subscriptions on tails the broker holds."""

    def ask() -> int:
        with urllib.request.urlopen(f"{broker.monitor_url}/connz?subs=1", timeout=5) as answer:
            connections = json.load(answer)["connections"]
        listed = [subject for connection in connections for subject in connection.get("subscriptions_list", [])]
        return sum(subject.startswith(("decopilot.tail.", "decopilot.watchtail.")) for subject in listed)

    return await asyncio.to_thread(ask)
