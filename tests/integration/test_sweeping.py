"""Sweeping: a blob stays while its thread answers for it; of others nothing is left, however their writers ended."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from nats.aio.msg import Msg

from decopilot.contracts import subjects
from decopilot.contracts.events import ThreadDeleted
from decopilot.contracts.ids import OrgId, ThreadId, UserId
from decopilot.log.blobs import Blobs
from decopilot.log.clock import BrokerClock
from decopilot.log.leftovers import Leftovers
from decopilot.log.objects import CHUNK_BYTES, STREAM, ObjectInfo, Place, nuid
from decopilot.log.store import Store
from decopilot_reactor.handling import NotYetError
from decopilot_reactor.sweeping import Sweeper
from support.gateways import Run
from support.services import Record

ORG, THREAD, BLOB = OrgId("acme"), ThreadId("t1"), "blob"
DATA = bytes(2 * CHUNK_BYTES)


class Sweeping:
    """A sweeper, and the items of its consumer."""

    def __init__(self, store: Store) -> None:
        self._record = Record.of(store)
        self.blobs, self.leftovers = Blobs(store), Leftovers(store)

    async def items(self, store: Store) -> list[Msg]:
        """Take what the consumer has; it counts a moment later than the store, and so is not asked how much."""
        subscription = await store.js.pull_subscribe_bind(durable=subjects.SWEEPER_CONSUMER, stream=STREAM)
        found = await subscription.fetch(1, timeout=5)
        await subscription.unsubscribe()
        return list(found)

    def sweeper(self, *, unused_s: float = 3600, writing_s: float = 3600) -> Sweeper:
        """Make one."""
        journal, views = self._record.journal, self._record.views
        return Sweeper(
            self.leftovers,
            journal,
            views,
            clock=BrokerClock(self._record.store),
            unused_s=unused_s,
            writing_s=writing_s,
        )


@pytest.fixture
def sweeping(store: Store) -> Sweeping:
    return Sweeping(store)


async def left(store: Store) -> int:
    """Count all that the store still holds."""
    return int((await store.js.stream_info(STREAM)).state.messages)


async def delete_thread(store: Store) -> None:
    deleted = ThreadDeleted(at=datetime.now(UTC), user_id=UserId("ann"))
    subject = subjects.event(ORG, THREAD, deleted.type)
    await store.publish(subjects.EVENTS_STREAM, subject, deleted.model_dump_json().encode())


async def test_the_blob_of_a_thread_stays(store: Store, sweeping: Sweeping) -> None:
    await Run(store, THREAD).record_request()
    await sweeping.blobs.put(ORG, THREAD, BLOB, DATA)
    (item,) = await sweeping.items(store)
    await sweeping.sweeper(unused_s=0, writing_s=0).look(item)
    assert DATA == await sweeping.blobs.read(ORG, THREAD, BLOB)


async def test_a_blob_whose_thread_never_came_waits_for_it_and_then_goes_whole(
    store: Store, sweeping: Sweeping
) -> None:
    await sweeping.blobs.put(ORG, THREAD, BLOB, DATA)
    (item,) = await sweeping.items(store)
    with pytest.raises(NotYetError) as not_yet:
        await sweeping.sweeper().look(item)
    assert 3590 < not_yet.value.delay_s <= 3600
    await sweeping.sweeper(unused_s=0).look(item)
    assert await sweeping.blobs.info(ORG, THREAD, BLOB) is None
    # Its marker stays for as long as somebody may still be writing in its place.
    (marker,) = await sweeping.items(store)
    with pytest.raises(NotYetError):
        await sweeping.sweeper(unused_s=0).look(marker)
    await sweeping.sweeper(unused_s=0, writing_s=0).look(marker)
    assert 0 == await left(store)


async def test_a_blob_that_was_used_again_meanwhile_stays(store: Store, sweeping: Sweeping) -> None:
    await sweeping.blobs.put(ORG, THREAD, BLOB, DATA)
    (item,) = await sweeping.items(store)
    await sweeping.blobs.renew(ORG, THREAD, BLOB)
    await sweeping.sweeper(unused_s=0).look(item)
    assert DATA == await sweeping.blobs.read(ORG, THREAD, BLOB)


async def test_a_blob_that_came_behind_its_threads_erasing_goes(store: Store, sweeping: Sweeping) -> None:
    await Run(store, THREAD).record_request()
    await delete_thread(store)
    await sweeping.blobs.erase(ORG, THREAD)
    await sweeping.blobs.put(ORG, THREAD, BLOB, DATA)
    (item,) = await sweeping.items(store)
    await sweeping.sweeper().look(item)
    assert await sweeping.blobs.info(ORG, THREAD, BLOB) is None
    (marker,) = await sweeping.items(store)
    await sweeping.sweeper(writing_s=0).look(marker)
    assert 0 == await left(store)


async def test_what_a_dead_writer_left_goes_once_nobody_can_be_writing_it(store: Store, sweeping: Sweeping) -> None:
    place = Place(ORG, THREAD, BLOB)
    announced = ObjectInfo(name=place.name, nuid=nuid(place, "w1"), mtime=datetime.now(UTC), deleted=True)
    await store.publish(STREAM, place.meta, announced.model_dump_json().encode())
    await store.publish(STREAM, place.chunks("w1"), DATA[:CHUNK_BYTES])
    (item,) = await sweeping.items(store)
    with pytest.raises(NotYetError):
        await sweeping.sweeper().look(item)
    await sweeping.sweeper(writing_s=0).look(item)
    assert 0 == await left(store)


async def test_whoever_writes_in_the_place_of_a_dead_writer_is_not_touched(store: Store, sweeping: Sweeping) -> None:
    place = Place(ORG, THREAD, BLOB)
    announced = ObjectInfo(name=place.name, nuid=nuid(place, "w1"), mtime=datetime.now(UTC), deleted=True)
    await store.publish(STREAM, place.meta, announced.model_dump_json().encode())
    (item,) = await sweeping.items(store)

    async def swept() -> AsyncIterator[bytes]:
        yield DATA
        await sweeping.sweeper(writing_s=0).look(item)
        yield DATA

    await sweeping.blobs.put(ORG, THREAD, BLOB, swept())
    assert DATA * 2 == await sweeping.blobs.read(ORG, THREAD, BLOB)


async def test_an_object_of_somebody_elses_is_left_alone(store: Store, sweeping: Sweeping) -> None:
    bucket = await store.js.object_store(subjects.BLOBS_BUCKET)
    await bucket.put("a picture.png", DATA)
    (item,) = await sweeping.items(store)
    await sweeping.sweeper(unused_s=0, writing_s=0).look(item)
    assert DATA == (await bucket.get("a picture.png")).data
