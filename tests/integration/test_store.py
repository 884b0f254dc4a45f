"""Reading a stream: everything behind a position, in order, however much it is and whatever gets lost on the way."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from nats.js.errors import NotFoundError, ServiceUnavailableError

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.direct import BATCH, BATCH_BYTES, StoreError
from decopilot.log.store import UNCERTAIN, MessageTooLargeError, Store, Stored, is_passing, patiently
from support.proxy import Proxy, proxied

ORG = OrgId("org")
MINE, OTHERS = ThreadId("mine"), ThreadId("others")
STREAM = subjects.CHUNKS_STREAM
FILTER = subjects.chunks_of(ORG, MINE)
WAIT_S = 20.0


@asynccontextmanager
async def far_from(proxy: Proxy) -> AsyncIterator[Store]:
    """A store at the far end of a bad way."""
    async with connected(Settings(nats_url=proxy.url, instance="far"), "far") as nc, Store(nc) as store:
        yield store


async def put(store: Store, body: bytes, thread: ThreadId = MINE, run: str = "r") -> int:
    return await store.publish(STREAM, subjects.chunks(ORG, thread, RunId(run)), body, {"Number": body[:8].decode()})


async def batches(store: Store, after: int = 0, *, until: int = 0, subject: str = FILTER) -> list[list[Stored]]:
    async with asyncio.timeout(WAIT_S):
        return [batch async for batch in store.read(STREAM, subject, after, until=until)]


async def fill(store: Store, count: int, size: int = 0) -> list[bytes]:
    bodies = [f"{number:08}".encode() + os.urandom(size) for number in range(count)]
    for first in range(0, count, 100):
        # Sent at once they are stored in the order of sending: one connection.
        await asyncio.gather(*(put(store, body) for body in bodies[first : first + 100]))
    return bodies


async def test_there_may_be_nothing_to_read(store: Store) -> None:
    assert [] == await batches(store)
    assert None is await store.first(STREAM, FILTER)
    assert None is await store.last(STREAM, FILTER)
    assert None is await store.get(STREAM, 1)
    await put(store, b"theirs", OTHERS)
    assert [] == await batches(store)
    last = await put(store, b"mine")
    assert [] == await batches(store, last)
    assert [] == await batches(store, last + 1000)


async def test_more_messages_than_a_batch_holds_are_read_in_order(store: Store) -> None:
    bodies = await fill(store, 2 * BATCH + 7)
    read = await batches(store)
    assert [BATCH, BATCH, 7] == [len(batch) for batch in read]
    assert bodies == [stored.data for batch in read for stored in batch]
    assert [stored.data[:8].decode() for stored in read[0]] == [stored.headers["Number"] for stored in read[0]]
    sequences = [stored.sequence for batch in read for stored in batch]
    assert sorted(set(sequences)) == sequences
    assert bodies[300:] == [stored.data for batch in await batches(store, sequences[299]) for stored in batch]


async def test_more_bytes_than_a_batch_holds_are_read_in_order(store: Store) -> None:
    bodies = await fill(store, 40, 100_000)
    read = await batches(store)
    assert len(read) >= 4
    assert max(sum(len(stored.data) for stored in batch) for batch in read) <= BATCH_BYTES + 100_100
    assert bodies == [stored.data for batch in read for stored in batch]


async def test_a_message_larger_than_a_batch_is_read(store: Store) -> None:
    largest = store.nc.max_payload - 1024
    bodies = [b"small", os.urandom(2_000_000), b"small again", os.urandom(largest), b"last"]
    sequences = [await store.publish(STREAM, subjects.chunks(ORG, MINE, RunId("r")), body) for body in bodies]
    assert bodies == [stored.data for batch in await batches(store) for stored in batch]
    assert [bodies[1]] == [stored.data for stored in (await batches(store, sequences[0]))[0]]
    found = await store.get(STREAM, sequences[3])
    assert found is not None
    assert bodies[3] == found.data


async def test_a_message_that_fits_only_without_its_headers_is_refused_and_the_connection_lives(store: Store) -> None:
    subject, headers = subjects.chunks(ORG, MINE, RunId("r")), {"Long": "ä" * 1000}
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(MessageTooLargeError):
            await store.publish(STREAM, subject, bytes(store.nc.max_payload - 1500), headers)
        assert [] == await batches(store)
        await store.publish(STREAM, subject, bytes(store.nc.max_payload - 2500), headers)
        assert 1 == len(await batches(store))


async def test_only_what_the_filter_names_is_read(store: Store) -> None:
    for number in range(20):
        await put(store, b"%d" % number, MINE if number % 2 else OTHERS, run=f"r{number % 3}")
    odd = [b"%d" % number for number in range(1, 20, 2)]
    assert odd == [stored.data for batch in await batches(store) for stored in batch]
    third = [b"%d" % number for number in range(20) if number % 2 and number % 3 == 0]
    subject = subjects.chunks(ORG, MINE, RunId("r0"))
    assert third == [stored.data for batch in await batches(store, subject=subject) for stored in batch]
    first = await store.first(STREAM, FILTER)
    last = await store.last(STREAM, FILTER)
    assert first is not None
    assert last is not None
    assert (b"1", b"19") == (first.data, last.data)


async def test_reading_goes_on_until_the_message_that_is_known_to_be_there(store: Store) -> None:
    await put(store, b"first")
    until = await put(store, b"second")
    assert [b"first", b"second"] == [stored.data for batch in await batches(store, until=until) for stored in batch]
    assert [] == await batches(store, until, until=until)


async def test_what_was_purged_is_not_waited_for(store: Store) -> None:
    await put(store, b"first")
    until = await put(store, b"second")
    await store.js.purge_stream(STREAM, subject=FILTER)
    began = asyncio.get_running_loop().time()
    assert [] == await batches(store, until=until)
    assert asyncio.get_running_loop().time() - began < 1


async def test_answers_lost_in_the_middle_of_a_batch_leave_no_hole(own_broker: EmbeddedBroker, store: Store) -> None:
    bodies = await fill(store, 100)
    async with asyncio.timeout(WAIT_S), proxied(own_broker.port) as proxy, far_from(proxy) as far:
        for number in (0, 50, 99):
            proxy.lose(_holds(bodies[number]), times=1)
            assert bodies == [stored.data for batch in await batches(far) for stored in batch]
        assert 3 == proxy.lost


def _holds(body: bytes) -> Callable[[bytes], bool]:
    return lambda message: message.endswith(body + b"\r\n")


async def test_a_silent_broker_ends_a_read_with_a_timeout(own_broker: EmbeddedBroker, store: Store) -> None:
    await put(store, b"first")
    async with asyncio.timeout(WAIT_S), proxied(own_broker.port) as proxy, far_from(proxy) as far:
        proxy.lose(lambda message: b"Nats-Sequence" in message)
        with pytest.raises(TimeoutError):
            [_ async for _ in far.read(STREAM, FILTER, 0, timeout_s=0.2)]
        with pytest.raises(TimeoutError):
            await far.first(STREAM, FILTER, timeout_s=0.2)
        proxy.heal()
        assert [b"first"] == [stored.data for batch in await batches(far) for stored in batch]


async def test_a_stream_that_nobody_serves_is_a_passing_error_and_a_refused_read_is_not(store: Store) -> None:
    with pytest.raises(ServiceUnavailableError) as unavailable:
        [_ async for _ in store.read("NOBODYS", FILTER, 0)]
    assert is_passing(unavailable.value)
    assert isinstance(unavailable.value, UNCERTAIN)
    with pytest.raises(NotFoundError) as missing:
        await store.last("NOBODYS", FILTER)
    assert not is_passing(missing.value)
    with pytest.raises(StoreError, match="408"):
        [_ async for _ in store.read(STREAM, FILTER, -2)]


async def test_patience_outlasts_what_passes_and_nothing_else() -> None:
    # What nats-py raises where nobody serves an API carries no code.
    failures: list[Exception] = [ServiceUnavailableError(), TimeoutError(), ConnectionResetError()]

    async def call() -> str:
        if failures:
            raise failures.pop(0)
        return "answered"

    async def refuse() -> str:
        raise NotFoundError(code=404, err_code=10059)

    async with asyncio.timeout(WAIT_S):
        assert "answered" == await patiently(call)
        with pytest.raises(NotFoundError):
            await patiently(refuse)


async def test_patience_ends_so_long_after_the_first_failure_however_long_an_answer_takes() -> None:
    clock = asyncio.get_running_loop().time
    failed_at: list[float] = []

    async def call() -> str:
        await asyncio.sleep(0.2)
        failed_at.append(clock())
        raise TimeoutError

    async def slowly() -> str:
        await asyncio.sleep(0.2)
        return "answered"

    async with asyncio.timeout(WAIT_S):
        assert "answered" == await patiently(slowly, patience_s=0.1)
        with pytest.raises(TimeoutError):
            await patiently(call, patience_s=0.1)
    assert 2 == len(failed_at)
