"""Purging: a run's chunks go once nobody reads them, or somebody has for too long, and never by mistake."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.ids import RunId, ThreadId
from decopilot.kit.settings import Settings
from decopilot.log.readers import Readers
from decopilot.log.store import Store
from decopilot.log.topology import Sizes, provision
from support.measuring import measured
from support.reactors import T1, ByHand, now, reactors
from support.services import ORG, Record, Services, until

RUN = RunId("run-t1-m1")
"""What the hand calls the run of the first message."""


@pytest.fixture
def readers(store: Store) -> Readers:
    return Readers(store)


@pytest.fixture
def services(own_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Services]:
    started = Services(tmp_path, own_broker.url)
    yield started
    started.end()


async def is_purged(record: Record, run: RunId, thread: str = "t1") -> None:
    """Wait until nothing but the closing frame is left of a run."""

    async def look() -> bool:
        return 1 == len(await record.frames_of(thread, run))

    await until(look)
    assert None is not (await record.frames_of(thread, run))[0].outcome


async def is_looked_at(record: Record, times: int) -> None:
    """Wait until a single item is left, and the janitor was given it so many times more."""

    async def is_alone() -> bool:
        info = await record.consumer("janitor")
        return (0, 1) == (info.num_pending, info.num_ack_pending)

    await until(is_alone)
    looks = await record.deliveries("janitor")

    async def again() -> bool:
        return await record.deliveries("janitor") >= looks + times

    await until(again)


@pytest.mark.parametrize("ends", ["expires", "is deleted"])
async def test_a_run_that_somebody_reads_is_not_purged_until_the_announcement(
    settings: Settings, record: Record, hand: ByHand, readers: Readers, ends: str
) -> None:
    await readers.announce(ORG, T1)
    async with reactors(settings, purge_grace_s=0, look_s=0.1):
        assert RUN == await hand.whole_run()
        whole = await record.frames_of("t1", RUN)
        unread = ByHand(record, ThreadId("t2"))
        await is_purged(record, await unread.whole_run(), "t2")
        await is_looked_at(record, 5)
        assert whole == await record.frames_of("t1", RUN)
        assert len(whole) > 1
        if ends == "expires":
            await provision(record.store.nc, Sizes(readers_ttl_s=1))
        else:
            kv = await record.store.js.key_value(subjects.READERS_BUCKET)
            await kv.delete(subjects.thread_key(ORG, T1))
        await is_purged(record, RUN)
        await record.drained("janitor")
    assert whole[-1:] == await record.frames_of("t1", RUN)


async def test_nobody_is_waited_for_longer_than_the_maximum(
    settings: Settings, record: Record, hand: ByHand, readers: Readers
) -> None:
    await readers.announce(ORG, T1)
    with measured() as counted:
        async with reactors(settings, purge_grace_s=0.1, purge_wait_s=2, look_s=600):
            await hand.whole_run()
            ended = (await record.events("t1"))[-1].at
            await is_purged(record, RUN)
            assert now() - ended >= timedelta(seconds=2)
            await record.drained("janitor")
    assert await readers.is_held(ORG, T1)
    assert 1 == counted["decopilot.purges"][""]


async def test_a_deleted_thread_is_erased_whoever_reads_it(
    settings: Settings, record: Record, hand: ByHand, readers: Readers
) -> None:
    await readers.announce(ORG, T1)
    async with reactors(settings, purge_grace_s=0, look_s=0.1):
        await hand.whole_run()
        await is_looked_at(record, 2)
        assert len(await record.frames_of("t1", RUN)) > 1
        await hand.delete()

        async def is_erased() -> bool:
            return ["data-thread-deleted"] == [chunk["type"] for chunk in await record.chunks_of("t1", RUN)]

        await until(is_erased)
    assert await readers.is_held(ORG, T1)


async def test_while_nobody_can_say_whether_a_run_is_read_it_stays_and_is_asked_for_again(
    record: Record, hand: ByHand, services: Services
) -> None:
    await record.store.js.delete_stream(f"KV_{subjects.READERS_BUCKET}")
    service = services.start("reactor", purge_grace_s=0)
    await service.ready()
    await hand.whole_run()
    whole = await record.frames_of("t1", RUN)
    await is_looked_at(record, 2)
    assert whole == await record.frames_of("t1", RUN)
    await provision(record.store.nc)
    await is_purged(record, RUN)
    await record.drained("janitor")
    assert [] == service.complaints()
    assert {"reaction_delayed"} == {line["event"] for line in service.lines() if line["level"] == "warning"}


async def test_a_bucket_that_never_comes_keeps_no_chunks_for_ever(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    await record.store.js.delete_stream(f"KV_{subjects.READERS_BUCKET}")
    async with reactors(settings, purge_grace_s=0, purge_wait_s=1):
        await hand.whole_run()
        await is_purged(record, RUN)
        await record.drained("janitor")


async def test_whoever_announces_itself_too_late_finds_that_what_comes_next_does_not_follow(
    record: Record, hand: ByHand, readers: Readers
) -> None:
    await hand.whole_run()
    whole = await record.frames_of("t1", RUN)
    assert len(whole) > 2
    assert not await readers.is_held(ORG, T1)
    await readers.announce(ORG, T1)
    await record.frames.purge(ORG, T1, RUN)
    position = whole[0].sequence
    behind = [frame async for batch in record.frames.of_thread(ORG, T1, after=position) for frame in batch]
    assert whole[-1:] == behind
    assert position != behind[0].previous
