"""The pump: every chunk stored once, in order, behind the one before it, or the writer knows that it is over."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from nats.js.errors import APIError

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.chunks import Chunk, encode_chunk
from decopilot.contracts.frames import Cursor, Frame, Outcome
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.chunklog import ChunkLog
from decopilot.log.pump import BUFFER_BYTES, FRAME_BYTES, ChunkTooLargeError, FencedError, Pump
from decopilot.log.store import Store
from decopilot.log.topology import Sizes, provision
from support.proxy import Proxy, is_ack, proxied

ORG, THREAD, RUN = OrgId("org"), ThreadId("thread"), RunId("run")
DONE = Outcome(status="completed", finish_reason="stop")
FINISH: Chunk = {"type": "finish", "finishReason": "stop"}
WAIT_S = 20.0


def pump_over(
    store: Store, *, attempt: int = 1, after: Frame | None = None, run: RunId = RUN, previous: int = 0
) -> Pump:
    previous = previous if after is None else after.sequence
    return Pump(store, ORG, THREAD, run, attempt=attempt, previous=previous, after=after)


def chunk(number: int, filling: str = "") -> Chunk:
    return {"type": "text-delta", "id": "t", "delta": f"{number}{filling}"}


async def stored_frames(store: Store, run: RunId = RUN) -> list[Frame]:
    log = ChunkLog(store)
    last = await log.last_of_run(ORG, THREAD, run)
    return [] if last is None else await log.of_run(ORG, THREAD, run, until=last.sequence)


def chunks_of(frames: list[Frame], *, previous: int = 0) -> list[Chunk]:
    """The chunks of frames that must be linked to one another without a hole."""
    chunks: list[Chunk] = []
    for frame in frames:
        assert (previous, len(chunks)) == (frame.previous, frame.index)
        previous = frame.sequence
        chunks += frame.chunks
    return chunks


@asynccontextmanager
async def far(proxy: Proxy) -> AsyncIterator[Store]:
    """A store at the far end of a bad way."""
    async with connected(Settings(nats_url=proxy.url, instance="far"), "far") as nc, Store(nc) as store:
        yield store


async def test_chunks_are_stored_once_in_order_and_linked_though_the_broker_is_killed_again_and_again(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    count, kills = 6000, 3
    reached = {count * (nth + 1) // (kills + 1): asyncio.Event() for nth in range(kills)}

    async def kill() -> None:
        for event in reached.values():
            await event.wait()
            await asyncio.to_thread(own_broker.kill)
            await asyncio.to_thread(own_broker.start)

    async with asyncio.timeout(60), pump_over(store) as pump:
        killing = asyncio.create_task(kill())
        for number in range(count):
            await pump.write(chunk(number))
            if number in reached:
                # The kill meets chunks that wait and a frame on its way.
                reached[number].set()
            if not number % 10:
                await asyncio.sleep(0)
            if not number % 500:
                await pump.barrier()
        end = await pump.close([FINISH], DONE)
        await killing
    frames = await stored_frames(store)
    assert [*map(chunk, range(count)), FINISH] == chunks_of(frames)
    assert end == frames[-1].end
    assert [DONE] == [frame.outcome for frame in frames if frame.outcome is not None]
    assert DONE == frames[-1].outcome


@pytest.mark.parametrize("cut", [True, False])
async def test_a_frame_whose_ack_is_lost_is_stored_once(own_broker: EmbeddedBroker, store: Store, cut: bool) -> None:  # noqa: FBT001  a case
    async with (
        asyncio.timeout(WAIT_S),
        proxied(own_broker.port) as proxy,
        far(proxy) as shaky,
        pump_over(shaky) as pump,
    ):
        await pump.write(chunk(0))
        await pump.barrier()

        def lose_and_cut(message: bytes) -> list[bytes]:
            if not is_ack(message):
                return [message]
            proxy.lost += 1
            proxy.heal()
            if cut:
                proxy.cut()
            return []

        for number in (1, 2):
            proxy.treat = lose_and_cut
            await pump.write(chunk(number))
            await pump.barrier()
        await pump.close([FINISH], DONE)
    assert 2 == proxy.lost
    assert [chunk(0), chunk(1), chunk(2), FINISH] == chunks_of(await stored_frames(store))


async def test_the_first_chunk_leaves_at_once_and_the_next_gather_while_it_is_on_its_way(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with (
        asyncio.timeout(WAIT_S),
        proxied(own_broker.port) as proxy,
        far(proxy) as shaky,
        pump_over(shaky) as pump,
    ):
        proxy.talks.clear()
        await pump.write(chunk(0))
        live = await store.nc.subscribe(subjects.tail_of(ORG, THREAD))
        while not await stored_frames(store):
            await asyncio.sleep(0)
        for number in range(1, 100):
            await pump.write(chunk(number))
        assert 1 == len(await stored_frames(store))
        proxy.talks.set()
        await pump.barrier()
        await live.unsubscribe()
    frames = await stored_frames(store)
    assert [1, 99] == [len(frame.chunks) for frame in frames]
    chunks_of(frames)


async def test_a_barrier_ends_only_when_everything_is_acknowledged(own_broker: EmbeddedBroker, store: Store) -> None:
    async with (
        asyncio.timeout(WAIT_S),
        proxied(own_broker.port) as proxy,
        far(proxy) as shaky,
        pump_over(shaky) as pump,
    ):
        proxy.talks.clear()
        await pump.write(chunk(0))
        barrier = asyncio.create_task(pump.barrier())
        while not await stored_frames(store):
            await asyncio.sleep(0)
        assert not barrier.done()
        proxy.talks.set()
        await barrier
        await pump.barrier()


async def test_a_zombie_is_fenced_by_another_writers_frame(store: Store) -> None:
    async with asyncio.timeout(WAIT_S), pump_over(store) as zombie:
        await zombie.write(chunk(0))
        await zombie.barrier()
        found = await ChunkLog(store).last_of_run(ORG, THREAD, RUN)
        async with pump_over(store, attempt=2, after=found) as newer:
            await newer.write(chunk(1))
            await newer.barrier()
        await zombie.write(chunk(66))
        with pytest.raises(FencedError) as caught:
            await zombie.barrier()
        for again in (lambda: zombie.write(chunk(67)), lambda: zombie.close([FINISH], DONE)):
            with pytest.raises(FencedError):
                await again()
    assert caught.value.found is not None
    assert 2 == caught.value.found.attempt
    assert [chunk(0), chunk(1)] == chunks_of(await stored_frames(store))


async def test_a_zombie_is_fenced_by_the_closing_frame_even_after_the_purge(store: Store) -> None:
    async with asyncio.timeout(WAIT_S), pump_over(store) as zombie, pump_over(store) as late:
        await zombie.write(chunk(0))
        await zombie.barrier()
        found = await ChunkLog(store).last_of_run(ORG, THREAD, RUN)
        async with pump_over(store, attempt=2, after=found) as closer:
            end = await closer.close([FINISH], DONE)
        await ChunkLog(store).purge(ORG, THREAD, RUN)
        for pump in (zombie, late):
            await pump.write(chunk(66))
            with pytest.raises(FencedError, match="attempt 2"):
                await pump.barrier()
    assert [(end.sequence, [FINISH], DONE)] == [
        (frame.sequence, frame.chunks, frame.outcome) for frame in await stored_frames(store)
    ]


async def test_a_writer_that_waits_for_room_in_the_buffer_learns_that_it_is_fenced(store: Store) -> None:
    async with asyncio.timeout(WAIT_S), pump_over(store) as other, pump_over(store) as zombie:
        await other.write(chunk(0))
        await other.barrier()

        async def write_on() -> None:
            while True:
                await zombie.write(chunk(1, "x" * FRAME_BYTES))

        with pytest.raises(FencedError):
            await write_on()


@pytest.mark.parametrize("method", ["write", "close"])
async def test_what_no_message_can_hold_is_refused_and_nothing_of_it_stored(store: Store, method: str) -> None:
    huge = chunk(1, "x" * store.nc.max_payload)
    async with asyncio.timeout(WAIT_S), pump_over(store) as pump:
        await pump.write(chunk(0))
        with pytest.raises(ChunkTooLargeError):
            await (pump.write(huge) if method == "write" else pump.close([chunk(2), huge, FINISH], DONE))
        await pump.close([FINISH], DONE)
    assert [chunk(0), FINISH] == chunks_of(await stored_frames(store))


async def test_the_largest_chunk_and_the_longest_error_text_fit(store: Store) -> None:
    filling = "x" * (store.nc.max_payload - 32 * 1024 - len(encode_chunk(chunk(1))))
    outcome = Outcome(status="failed", finish_reason="error", error_text="😀" * 2000)
    async with asyncio.timeout(WAIT_S), pump_over(store) as pump:
        await pump.write(chunk(1, filling))
        largest = chunk(2, filling)
        await pump.close([largest], outcome)
    frames = await stored_frames(store)
    assert [chunk(1, filling), largest] == chunks_of(frames)
    assert outcome == frames[-1].outcome


async def test_a_chunk_that_is_no_json_is_refused_and_the_run_goes_on(store: Store) -> None:
    async with asyncio.timeout(WAIT_S), pump_over(store) as pump:
        with pytest.raises(ValueError, match="surrogates"):
            await pump.write(chunk(0, "\ud800"))
        await pump.close([FINISH], DONE)
    assert [FINISH] == chunks_of(await stored_frames(store))


async def test_a_writer_waits_while_a_mebibyte_waits_for_the_broker(own_broker: EmbeddedBroker, store: Store) -> None:
    piece = 16 * 1024
    async with (
        asyncio.timeout(WAIT_S),
        proxied(own_broker.port) as proxy,
        far(proxy) as shaky,
        pump_over(shaky) as pump,
    ):
        proxy.talks.clear()
        written = 0

        async def write() -> None:
            nonlocal written
            for number in range(200):
                await pump.write(chunk(number, "x" * piece))
                written += 1

        writing = asyncio.create_task(write())
        while not await stored_frames(store):
            await asyncio.sleep(0)
        # Whatever can run has run: now the writer stands still.
        for _ in range(1000):
            await asyncio.sleep(0)
        assert BUFFER_BYTES < written * (piece + 40) < BUFFER_BYTES + 2 * piece
        proxy.talks.set()
        await writing
        await pump.barrier()
    frames = await stored_frames(store)
    assert [chunk(number, "x" * piece) for number in range(200)] == chunks_of(frames)
    assert max(len(frame.body) for frame in frames) <= FRAME_BYTES


@pytest.mark.parametrize("waiting", [0, 1, 500])
async def test_closing_makes_one_closing_frame_of_all_its_chunks_whatever_came_before(
    store: Store, waiting: int
) -> None:
    filling = "x" * 2000
    closing = [chunk(900, "y" * FRAME_BYTES), chunk(901, "z" * FRAME_BYTES), FINISH]
    async with asyncio.timeout(WAIT_S), pump_over(store) as pump:
        for number in range(waiting):
            await pump.write(chunk(number, filling))
        end = await pump.close(closing, DONE)
        for late in (lambda: pump.write(chunk(1)), lambda: pump.close([FINISH], DONE)):
            with pytest.raises(ValueError, match="sealed"):
                await late()
    frames = await stored_frames(store)
    assert [*(chunk(number, filling) for number in range(waiting)), *closing] == chunks_of(frames)
    assert closing == frames[-1].chunks
    assert [None] * (len(frames) - 1) + [DONE] == [frame.outcome for frame in frames]
    assert Cursor(frames[-1].sequence, 2) == end


async def test_nothing_is_no_closing_frame(store: Store) -> None:
    async with asyncio.timeout(WAIT_S), pump_over(store) as pump:
        with pytest.raises(ValueError, match="has chunks"):
            await pump.close([], DONE)
    assert [] == await stored_frames(store)


async def test_the_next_run_is_linked_to_the_one_before(store: Store) -> None:
    async with asyncio.timeout(WAIT_S):
        async with pump_over(store) as pump:
            end = await pump.close([FINISH], DONE)
        second = RunId("second")
        async with pump_over(store, run=second, previous=end.sequence) as pump:
            await pump.write(chunk(0))
            await pump.close([FINISH], DONE)
    assert [chunk(0), FINISH] == chunks_of(await stored_frames(store, second), previous=end.sequence)


async def test_a_full_stream_makes_the_pump_wait_and_go_on_when_there_is_room(settings: Settings) -> None:
    room = 64 * 1024
    async with asyncio.timeout(WAIT_S), connected(settings, "test") as nc, Store(nc) as store:
        await provision(nc, Sizes(chunks_max_bytes=room))
        async with pump_over(store, run=RunId("old")) as old:
            await old.write(chunk(0, os.urandom(25_000).hex()))
            await old.close([FINISH], DONE)
        async with pump_over(store) as pump:
            await pump.write(chunk(0, "x" * 30_000))
            barrier = asyncio.create_task(pump.barrier())
            refused = await _until_refused(store, barrier)
            await ChunkLog(store).purge(ORG, THREAD, RunId("old"))
            await barrier
            await pump.close([FINISH], DONE)
        assert refused
        assert [chunk(0, "x" * 30_000), FINISH] == chunks_of(await stored_frames(store))


async def test_a_pump_of_little_patience_tells_that_there_is_no_room(settings: Settings) -> None:
    async with asyncio.timeout(WAIT_S), connected(settings, "test") as nc, Store(nc) as store:
        await provision(nc, Sizes(chunks_max_bytes=64 * 1024))
        async with Pump(store, ORG, THREAD, RUN, attempt=1, previous=0, patience_s=0.3) as pump:
            await pump.write(chunk(0))
            await pump.barrier()
            for _ in range(3):
                await pump.write(chunk(1, "x" * 30_000))
            began = time.monotonic()
            with pytest.raises(APIError, match="maximum bytes"):
                await pump.barrier()
            assert time.monotonic() - began >= 0.3
        assert chunk(0) == chunks_of(await stored_frames(store))[0]


async def _until_refused(store: Store, barrier: "asyncio.Task[None]") -> bool:
    """Wait until the pump has asked for the run's last frame, which it does only after a refusal."""
    asked = asyncio.Event()
    original = store.last

    async def last(stream: str, subject: str) -> object:
        asked.set()
        return await original(stream, subject)

    store.last = last  # type: ignore[method-assign,assignment]
    await asked.wait()
    return not barrier.done()


async def test_leaving_ends_the_pump_though_its_cancellation_is_lost_to_an_ack(store: Store) -> None:
    # Python 3.11: `wait_for` swallows a cancellation that comes in the turn in which its future is done.
    publishing = asyncio.Event()
    publish: Callable[..., Awaitable[int]] = store.publish

    async def swallowing(*args: object, **options: object) -> int:
        sequence = await publish(*args, **options)
        publishing.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return sequence

    store.publish = swallowing  # type: ignore[method-assign]
    async with asyncio.timeout(WAIT_S):
        async with pump_over(store) as pump:
            await pump.write(chunk(0))
            await publishing.wait()
            await pump.write(chunk(1))
    assert [chunk(0)] == chunks_of(await stored_frames(store))


async def test_leaving_does_not_swallow_the_cancellation_of_whoever_leaves(store: Store) -> None:
    holding, cancelled = asyncio.Event(), asyncio.Event()

    async def stubborn(*_: object, **__: object) -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            await holding.wait()
        raise FencedError(RUN, None)

    store.publish = stubborn  # type: ignore[method-assign]

    async def drive() -> str:
        async with pump_over(store) as pump:
            await pump.write(chunk(0))
            await asyncio.sleep(0)
        return "went on"

    async with asyncio.timeout(WAIT_S):
        driving = asyncio.create_task(drive())
        await cancelled.wait()
        driving.cancel()
        await asyncio.wait([driving])
        holding.set()
    assert driving.cancelled()
