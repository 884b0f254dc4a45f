"""Readers: what somebody reads is held for as long as they say so, and not for ever by anything left behind."""

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.readers import ANNOUNCE_S, Readers
from decopilot.log.store import UNCERTAIN, Store, Stored
from decopilot.log.topology import READERS_TTL_S, Sizes, provision
from support.services import until

ORG, THREAD = OrgId("org"), ThreadId("thread")
BUCKET = f"KV_{subjects.READERS_BUCKET}"


@pytest.fixture
def readers(store: Store) -> Readers:
    return Readers(store)


async def stored(store: Store) -> Stored | None:
    return await store.last(BUCKET, f"$KV.{subjects.READERS_BUCKET}.org.thread")


async def test_a_thread_is_held_from_the_first_announcement_on_and_no_other_is(readers: Readers) -> None:
    assert not await readers.is_held(ORG, THREAD)
    await readers.announce(ORG, THREAD)
    assert await readers.is_held(ORG, THREAD)
    for other in ((OrgId("other"), THREAD), (ORG, ThreadId("other")), (ORG, ThreadId("thre"))):
        assert not await readers.is_held(*other)


async def test_an_announcement_takes_the_place_of_the_one_before_whoever_made_it(
    store: Store, readers: Readers
) -> None:
    await readers.announce(ORG, THREAD)
    first = await stored(store)
    await Readers(store).announce(ORG, THREAD)
    second = await stored(store)
    assert first is not None
    assert second is not None
    assert first.at is not None
    assert second.at is not None
    assert second.at > first.at
    assert 1 == (await store.js.stream_info(BUCKET)).state.messages
    assert await readers.is_held(ORG, THREAD)


async def test_an_announcement_runs_out_and_may_be_made_again(store: Store, readers: Readers) -> None:
    await provision(store.nc, Sizes(readers_ttl_s=1))
    await readers.announce(ORG, THREAD)

    async def is_free() -> bool:
        return not await readers.is_held(ORG, THREAD)

    await until(is_free)
    assert None is await stored(store)
    await provision(store.nc)
    await readers.announce(ORG, THREAD)
    assert await readers.is_held(ORG, THREAD)


def test_a_reader_may_miss_one_announcement_and_still_holds_its_thread() -> None:
    assert 2 * ANNOUNCE_S < READERS_TTL_S


@pytest.mark.parametrize("how", ["delete", "purge"])
async def test_a_marker_holds_nothing_and_stands_in_nobodys_way(store: Store, readers: Readers, how: str) -> None:
    await readers.announce(ORG, THREAD)
    kv = await store.js.key_value(subjects.READERS_BUCKET)
    await getattr(kv, how)(subjects.thread_key(ORG, THREAD))
    assert None is not await stored(store)
    assert not await readers.is_held(ORG, THREAD)
    await readers.announce(ORG, THREAD)
    assert await readers.is_held(ORG, THREAD)


async def test_the_marker_of_an_age_limit_holds_nothing_and_stands_in_nobodys_way(
    store: Store, readers: Readers
) -> None:
    await provision(store.nc, Sizes(readers_ttl_s=1))
    there = (await store.js.stream_info(BUCKET)).config
    await store.js.update_stream(there.evolve(subject_delete_marker_ttl=60))
    await readers.announce(ORG, THREAD)

    async def has_marker() -> bool:
        last = await stored(store)
        return last is not None and "MaxAge" == last.headers.get("Nats-Marker-Reason")

    await until(has_marker)
    assert not await readers.is_held(ORG, THREAD)
    await provision(store.nc)
    await readers.announce(ORG, THREAD)
    assert await readers.is_held(ORG, THREAD)


async def test_an_announcement_outlives_a_killed_broker(own_broker: EmbeddedBroker, readers: Readers) -> None:
    await readers.announce(ORG, THREAD)
    own_broker.kill()
    own_broker.start()

    async def is_held() -> bool:
        try:
            return await readers.is_held(ORG, THREAD)
        except UNCERTAIN:
            return False

    await until(is_held)


async def test_without_the_bucket_nobody_is_told_that_nobody_reads(store: Store, readers: Readers) -> None:
    await store.js.delete_stream(BUCKET)
    for call in (readers.announce, readers.is_held):
        with pytest.raises(UNCERTAIN):
            await call(ORG, THREAD)
