"""Ending a run: however long it is to read, whatever of it is lost, and whether or not its event is taken."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.js.errors import ServiceUnavailableError

from decopilot.contracts import subjects
from decopilot.contracts.events import RunCompleted, RunFailed
from decopilot.contracts.frames import Frame
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.kit.settings import Settings
from decopilot.log.chunklog import ChunkLog
from decopilot.log.ending import Attempt, Ender
from decopilot.log.history import Histories
from decopilot.log.store import Store
from support.ends import FAR_S, is_closed_once, is_fenced, speak_until_fenced, was_due
from support.reactors import T1, ByHand, now, reactors
from support.services import ORG, Record

READING_S = 6.0
"""Longer than an end waits for room in the log, and than an item is nobody else's without heartbeats."""


async def test_a_run_that_can_not_be_read_ends_without_a_message_also_where_it_is_found_sealed(
    record: Record, hand: ByHand
) -> None:
    run = await hand.post()
    await hand.start(run)
    async with await hand.pump(run) as pump:
        await hand.open(run, pump)
        for _ in range(2):
            await hand.say(pump)
        await hand.seal(run, pump)
    _, lost, *_ = [frame for frame in await record.frames_of("t1", run) if b"secret" in frame.body]
    await record.store.js.delete_msg(subjects.CHUNKS_STREAM, lost.sequence)
    ender = Ender(record.store, record.journal, Histories(record.journal, record.views))
    await ender.seal(Attempt.of(ORG, T1, (await record.journal.load(ORG, T1)).state), "cancelled")
    end = await record.end_of("t1", run)
    assert isinstance(end, RunFailed)
    assert ("log_lost", None) == (end.error_category, end.message)


async def test_an_end_whose_event_is_not_taken_is_given_up_and_told_later(
    record: Record, hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Store.publish

    async def take_no_events(store: Store, stream: str, *args: Any, **rest: Any) -> int:  # noqa: ANN401  of `publish`
        if stream == subjects.EVENTS_STREAM:
            raise ServiceUnavailableError
        return await publish(store, stream, *args, **rest)

    run = await hand.post()
    ender = Ender(record.store, record.journal, Histories(record.journal, record.views), patience_s=0.3)
    attempt = Attempt.of(ORG, T1, (await record.journal.load(ORG, T1)).state)
    with monkeypatch.context() as full:
        full.setattr(Store, "publish", take_no_events)
        with pytest.raises(TimeoutError):
            await ender.seal(attempt, "cancelled")
    assert await ender.end_if_sealed(attempt)
    await is_closed_once(record, run, "cancelled")


def read_slowly(monkeypatch: pytest.MonkeyPatch) -> list[RunId]:
    """Have a run be read as slowly as one of some hundred thousand frames; tells which were, and how often."""
    read, begun = ChunkLog.batches_of_run, list[RunId]()

    async def slowly(
        chunks: ChunkLog, org: OrgId, thread: ThreadId, run: RunId, *, after: int, **more: int
    ) -> AsyncGenerator[list[Frame], None]:
        if not after:
            begun.append(run)
            await asyncio.sleep(READING_S)
        async for batch in read(chunks, org, thread, run, after=after, **more):
            yield batch

    monkeypatch.setattr(ChunkLog, "batches_of_run", slowly)
    return begun


async def test_a_run_that_takes_long_to_read_is_ended_for_its_silence(
    settings: Settings, record: Record, hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(msg: Msg) -> None:
        if msg.reply:
            await msg.respond(b"here")

    began = now()
    run = await hand.post()
    await hand.start(run)
    await record.store.nc.subscribe(subjects.signal(ORG, run), cb=answer)
    async with await hand.pump(run) as pump:
        await hand.open(run, pump)
    with monkeypatch.context() as slow:
        read = read_slowly(slow)
        async with reactors(settings, 3, idle_limit_s=1):
            await record.end_of("t1", run)
            was_due(began, 1 + READING_S)
            await record.drained("reactor")
    await is_closed_once(record, run, "timed_out")
    assert [run] == read


async def test_a_run_that_takes_long_to_read_and_goes_on_is_ended_at_its_time_limit(
    settings: Settings, record: Record, hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = now()
    run = await hand.post()
    await hand.start(run)
    with monkeypatch.context() as slow:
        read = read_slowly(slow)
        async with reactors(settings, 3, run_limit_s=2), await hand.pump(run) as pump:
            await hand.open(run, pump)
            speaking = asyncio.create_task(speak_until_fenced(hand, pump))
            await record.end_of("t1", run)
            was_due(began, 2 + READING_S)
            await speaking
            await record.drained("reactor")
    await is_closed_once(record, run, "timed_out")
    assert [run] == read


async def test_a_sealed_run_that_takes_long_to_read_ends_as_its_closing_frame_says(
    settings: Settings, record: Record, hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = now()
    run = await hand.post()
    await hand.start(run)
    async with await hand.pump(run) as pump:
        await hand.open(run, pump)
        await hand.say(pump, "whole")
        await hand.seal(run, pump)
    read = read_slowly(monkeypatch)
    async with reactors(settings, 3):
        end = await record.end_of("t1", run)
        was_due(began, READING_S)
        await record.drained("reactor")
    assert isinstance(end, RunCompleted)
    assert end.message is not None
    assert "whole" == end.message.text
    assert [run] == read


async def test_two_who_end_a_run_that_takes_long_to_read_do_not_refuse_each_other_for_ever(
    record: Record, hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await hand.post()
    await hand.start(run)
    async with await hand.pump(run) as pump:
        await hand.open(run, pump)
        ender = Ender(record.store, record.journal, Histories(record.journal, record.views))
        attempt = Attempt.of(ORG, T1, (await record.journal.load(ORG, T1)).state)
        with monkeypatch.context() as slow:
            read_slowly(slow)
            first = asyncio.create_task(ender.seal(attempt, "cancelled"))
            await asyncio.sleep(READING_S / 2)
            second = asyncio.create_task(ender.seal(attempt, "cancelled"))
            async with asyncio.timeout(READING_S + FAR_S):
                await asyncio.wait([first, second])
            assert (None, None) == (first.exception(), second.exception())
        await is_fenced(hand, pump, run)
    await is_closed_once(record, run, "cancelled")
