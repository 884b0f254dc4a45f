"""Deleting: of a deleted thread nothing is left but what keeps its places guarded, whoever was still writing."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.events import Recorded, RunFailed, ThreadDeleted
from decopilot.contracts.frames import Frame, Outcome
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId
from decopilot.contracts.messages import UIMessage
from decopilot.contracts.views import StoredMessage
from decopilot.domain.commands import RefusedError, StaleError
from decopilot.domain.thread import FOLD_VERSION, INITIAL, ThreadState, evolve
from decopilot.kit.settings import Settings
from decopilot.log.blobs import Blobs
from decopilot.log.chunklog import ChunkLog
from decopilot.log.clock import BrokerClock
from decopilot.log.ending import Attempt, Ender
from decopilot.log.erasing import Eraser
from decopilot.log.history import Histories
from decopilot.log.journal import Journal
from decopilot.log.pump import FencedError, Pump
from decopilot.log.store import Store
from decopilot.log.views import ThreadView, Views
from decopilot.log.watchlog import WatchLog
from decopilot_reactor.projecting import Projector
from decopilot_reactor.telling import Teller
from support.reactors import T1, ByHand, reactors
from support.services import ORG, Record, Services, until

DELETED = {"type": "data-thread-deleted", "data": {}, "transient": True}
WAITS = Outcome(status="requires_action", finish_reason="stop")
FAILED = Outcome(status="failed", finish_reason="error", reason="error", error_text="a secret of the agent's")
STREAMS = (
    subjects.EVENTS_STREAM,
    subjects.CHUNKS_STREAM,
    subjects.WATCH_STREAM,
    f"KV_{subjects.THREADS_BUCKET}",
    f"KV_{subjects.MESSAGES_BUCKET}",
    subjects.BLOBS_STREAM,
)


@pytest.fixture
def services(own_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Services]:
    started = Services(tmp_path, own_broker.url)
    yield started
    started.end()


def eraser(record: Record) -> Eraser:
    return Eraser(record.journal, record.views, record.frames, Blobs(record.store))


async def secrets(record: Record, thread: ThreadId) -> list[str]:
    """Where anything of what was said on a thread is still to be found."""
    found = []
    for stream in STREAMS:
        async for batch in record.store.read(stream, ">", 0):
            found += [
                stored.subject
                for stored in batch
                if thread in stored.subject.split(".")
                and (b"secret" in stored.data or any("secret" in value for value in stored.headers.values()))
            ]
    return found


async def is_erased(record: Record, tombstone: int, runs: list[RunId], thread: ThreadId = T1) -> None:
    events = await record.events(thread)
    assert tombstone == events[0].sequence
    assert isinstance(events[0].event, ThreadDeleted)
    assert {"run_failed", "run_completed", "run_started"} >= {recorded.event.type for recorded in events[1:]}
    for run in runs:
        frames = await record.frames_of(thread, run)
        assert [[DELETED]] == [frame.chunks for frame in frames]
        assert frames[0].outcome is not None
        assert "" == frames[0].outcome.error_text
    assert None is await record.views.snapshot(ORG, thread)
    assert [] == await secrets(record, thread)
    loaded = await record.journal.load(ORG, thread)
    assert (True, None, events[-1].sequence) == (loaded.state.is_deleted, loaded.state.active, loaded.sequence)


async def erased(record: Record, tombstone: int, thread: ThreadId = T1) -> None:
    """Wait until the thread was erased for the first time."""

    async def look() -> bool:
        return (await record.events(thread))[0].sequence == tombstone

    await until(look)


async def test_of_a_deleted_thread_a_tombstone_and_closing_frames_without_content_stay(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    other = ByHand(record, ThreadId("other"))
    kept = await other.whole_run()
    blobs = Blobs(record.store)
    for thread in (T1, ThreadId("other")):
        await blobs.put(ORG, thread, "file", b"a secret")
    async with reactors(settings, 3, erase_again_s=1.5, purge_grace_s=1):
        runs = [await hand.whole_run("m1"), await hand.whole_run("m2", FAILED)]
        await record.drained("reactor")
        before = [(await record.frames_of("t1", run))[-1].outcome for run in runs]
        tombstone = await hand.delete()
        await erased(record, tombstone)
        await is_erased(record, tombstone, runs)
        await record.drained("janitor")
        await record.drained("reactor")
    await is_erased(record, tombstone, runs)
    for ended, run in zip(before, runs, strict=True):
        outcome = (await record.frames_of("t1", run))[0].outcome
        assert ended is not None
        assert outcome is not None
        assert (ended.status, ended.finish_reason, ended.reason) == (
            outcome.status,
            outcome.finish_reason,
            outcome.reason,
        )
    assert ["t1"] != [entry.id async for entry in record.views.threads(ORG)]
    told = [event["type"].removeprefix("decopilot.") for event in await record.watched("t1")]
    assert ["thread.status", "thread.status", "finish"] * 2 + ["thread.deleted"] == told
    with pytest.raises(RefusedError, match="thread_not_found"):
        await hand.post("m3")
    assert "run_completed" == (await record.end_of("other", kept)).type
    assert b"a secret" == await blobs.read(ORG, ThreadId("other"), "file")
    history = await Histories(record.journal, record.views).read(ORG, ThreadId("other"))
    assert ["secret of m1", "secret"] == [message.text for message in history.messages]
    assert [] == (await Histories(record.journal, record.views).read(ORG, T1)).messages


async def test_the_frames_that_stay_are_linked_over_the_thread_however_many_erase_it(
    record: Record, hand: ByHand
) -> None:
    runs = [await hand.whole_run(f"m{number}") for number in range(5)]
    newest = await record.frames.last_of_thread(ORG, T1)
    tombstone = await hand.delete()
    await asyncio.gather(*(eraser(record).erase(ORG, T1, tombstone=tombstone) for _ in range(4)))
    await is_erased(record, tombstone, runs)
    frames = sorted([(await record.frames_of("t1", run))[0] for run in runs], key=lambda frame: frame.sequence)
    assert newest is not None
    assert [newest.sequence, *(frame.sequence for frame in frames[:-1])] == [frame.previous for frame in frames]


async def test_a_frame_that_comes_between_is_linked_too(record: Record, hand: ByHand) -> None:
    run = await hand.whole_run()
    stray: list[Frame] = []

    class Between(ChunkLog):
        """Lets another run's frame come behind the one that it has read."""

        async def last_of_thread(self, org: OrgId, thread: ThreadId) -> Frame | None:
            found = await super().last_of_thread(org, thread)
            if found is not None and not stray:
                async with Pump(
                    record.store, org, thread, RunId("stray"), attempt=1, previous=found.sequence
                ) as between:
                    stray.append(await between.frame([DELETED]))
            return found

    await hand.delete()
    await Between(record.store).erase(ORG, T1)
    (kept,) = await record.frames_of("t1", run)
    assert [DELETED] == kept.chunks
    assert [kept.previous] == [frame.sequence for frame in stray]


async def test_an_active_run_is_ended_and_what_its_writer_goes_on_to_say_is_refused(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    run = await hand.post()
    await hand.start(run)
    waiting = await hand.post("m2")
    async with await hand.pump(run) as pump:
        await hand.open(run, pump)
        await hand.say(pump)
        async with reactors(settings, 3, erase_again_s=1, cancel_deadline_s=600, purge_grace_s=1):
            tombstone = await hand.delete()
            end = await record.end_of("t1", run)
            assert isinstance(end, RunFailed)
            assert ("cancelled", None) == (end.reason, end.message)
            await erased(record, tombstone)
            with pytest.raises(FencedError):
                await hand.say(pump, "a late secret")
            await is_erased(record, tombstone, [run])
            await record.drained("janitor")
            await record.drained("reactor")
    await is_erased(record, tombstone, [run])
    assert ["thread_deleted", "run_failed"] == await record.event_types("t1")
    told = [event["type"].removeprefix("decopilot.") for event in await record.watched("t1")]
    assert ["thread.status", "thread.queue", "thread.deleted", "thread.status", "finish"] == told
    assert [] == await record.frames_of("t1", waiting)


@pytest.mark.parametrize("is_started", [False, True])
async def test_a_runner_that_was_stopped_before_its_first_frame_writes_nothing_when_it_goes_on(
    settings: Settings,
    record: Record,
    hand: ByHand,
    is_started: bool,  # noqa: FBT001  a parameter
) -> None:
    run = await hand.post()
    if is_started:
        await hand.start(run)
    requested = await hand.requested(run)
    attempt = Attempt.of(ORG, T1, (await record.journal.load(ORG, T1)).state)
    async with await hand.pump(run) as pump, reactors(settings, 2, erase_again_s=0.5, purge_grace_s=1):
        tombstone = await hand.delete()
        await erased(record, tombstone)
        await record.drained("janitor")
        await pump.write({"type": "start", "messageId": requested.assistant_id})
        with pytest.raises(FencedError) as fenced:
            await pump.barrier()
        found = fenced.value.found
        assert found is not None
        assert found.outcome is not None
        # What it finds is a closing frame: it appends no end, because its thread knows of no run.
        ender = Ender(record.store, record.journal, Histories(record.journal, record.views))
        with pytest.raises(StaleError):
            await ender.end_as_sealed(attempt, found)
        with pytest.raises(StaleError):
            await hand.start(run, 2)
    await is_erased(record, tombstone, [run])


async def test_a_thread_that_waits_for_a_person_is_erased(settings: Settings, record: Record, hand: ByHand) -> None:
    run = await hand.whole_run("m1", WAITS)
    async with reactors(settings, 2, erase_again_s=0, purge_grace_s=1):
        tombstone = await hand.delete()
        await erased(record, tombstone)
        await record.drained("janitor")
        await record.drained("reactor")
    await is_erased(record, tombstone, [run])
    assert ["thread_deleted"] == await record.event_types("t1")


async def test_a_run_that_was_sealed_but_not_ended_is_ended_and_erased(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    run = await hand.post()
    await hand.start(run)
    async with await hand.pump(run) as pump:
        await hand.open(run, pump)
        sealed = await hand.seal(run, pump, FAILED)
    tombstone = await hand.delete()
    async with reactors(settings, 2, erase_again_s=0, purge_grace_s=1):
        end = await record.end_of("t1", run)
        await record.drained("janitor")
    assert isinstance(end, RunFailed)
    assert ("error", "", sealed.sequence) == (end.reason, end.error_text, end.last_frame)
    await is_erased(record, tombstone, [run])


class DiedError(Exception):
    pass


@pytest.mark.parametrize("steps", range(8))
async def test_an_erasure_that_was_cut_off_anywhere_is_finished_by_the_next(
    record: Record, hand: ByHand, steps: int
) -> None:
    runs = [await hand.whole_run("m1"), await hand.whole_run("m2")]
    for recorded in await record.events("t1"):
        await Projector(record.journal, record.views).project(recorded)
    tombstone = await hand.delete()
    left = steps

    def dying(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def called(*args: Any, **options: Any) -> Any:  # noqa: ANN401  as it was called
            nonlocal left
            if left == 0:
                raise DiedError
            left -= 1
            return await call(*args, **options)

        return called

    publish, purge = record.store.publish, record.store.js.purge_stream
    record.store.publish = dying(publish)  # type: ignore[method-assign,assignment]
    record.store.js.purge_stream = dying(purge)  # type: ignore[method-assign,assignment]
    with pytest.raises(DiedError):
        await eraser(record).erase(ORG, T1, tombstone=tombstone)
    record.store.publish = publish  # type: ignore[method-assign]
    record.store.js.purge_stream = purge  # type: ignore[method-assign]
    loaded = await record.journal.load(ORG, T1)
    assert (True, None, tombstone) == (loaded.state.is_deleted, loaded.state.active, loaded.sequence)
    await eraser(record).erase(ORG, T1, tombstone=tombstone)
    await is_erased(record, tombstone, runs)


async def test_erasing_goes_on_when_the_reactor_that_did_it_dies(
    record: Record, hand: ByHand, services: Services
) -> None:
    runs = [await hand.whole_run(f"m{number}") for number in range(3)]
    first = services.start("reactor", erase_again_s=2)
    await first.ready()
    await record.drained("reactor")
    tombstone = await hand.delete()
    await erased(record, tombstone)
    first.send(signal.SIGKILL)
    await first.ended()
    # Somebody who was held up for long, by other means than ours.
    late = StoredMessage(message=UIMessage(id=MessageId("m0"), role="user", parts=[{"type": "text", "text": "secret"}]))
    key = subjects.message_key(ORG, T1, late.message.id)
    body = late.model_dump_json().encode()
    await record.store.publish(f"KV_{subjects.MESSAGES_BUCKET}", f"$KV.{subjects.MESSAGES_BUCKET}.{key}", body)
    assert 1 == len(await secrets(record, T1))
    second = services.start("reactor", erase_again_s=2)
    await second.ready()
    await record.drained("janitor")
    await is_erased(record, tombstone, runs)
    assert [] == second.complaints()


async def test_a_reactor_that_was_held_up_writes_no_view_of_a_deleted_thread(record: Record, hand: ByHand) -> None:
    run = await hand.whole_run()
    events = await record.events("t1")

    class HeldUp(Journal):
        """Is held up between reading the events and writing what they add up to."""

        async def events(self, org: OrgId, thread: ThreadId, *, after: int, until: int = 0) -> list[Recorded]:
            found = await super().events(org, thread, after=after, until=until)
            if not await record.views.is_deleted(org, thread):
                tombstone = await hand.delete()
                await eraser(record).erase(org, thread, tombstone=tombstone)
            return found

    assert None is await Projector(HeldUp(record.store, record.views), record.views).project(events[-1])
    tombstone = await record.journal.newest(ORG, T1)
    await is_erased(record, tombstone, [run])
    for recorded in events:
        assert None is await Projector(record.journal, record.views).project(recorded)
    await is_erased(record, tombstone, [run])


async def test_telling_of_what_was_erased_neither_fails_nor_repeats(record: Record, hand: ByHand) -> None:
    await hand.whole_run()
    events = await record.events("t1")
    teller = Teller(record.journal, WatchLog(record.store), BrokerClock(record.store))
    for recorded in events[:2]:
        await teller.tell(recorded)
    tombstone = await hand.delete()
    deleted = (await record.events("t1"))[-1]
    await teller.tell(deleted)
    told = await record.watched("t1")
    assert ["thread.status", "thread.status", "finish", "thread.deleted"] == [
        event["type"].removeprefix("decopilot.") for event in told
    ]
    await eraser(record).erase(ORG, T1, tombstone=tombstone)
    for recorded in (*events, deleted):
        await teller.tell(recorded)
    assert told == await record.watched("t1")


async def test_telling_of_what_was_erased_untold_does_not_fail(record: Record, hand: ByHand) -> None:
    await hand.whole_run()
    events = await record.events("t1")
    tombstone = await hand.delete()
    deleted = (await record.events("t1"))[-1]
    await eraser(record).erase(ORG, T1, tombstone=tombstone)
    teller = Teller(record.journal, WatchLog(record.store), BrokerClock(record.store))
    for recorded in (*events, deleted, *events):
        await teller.tell(recorded)
    assert ["decopilot.thread.deleted"] == [event["type"] for event in await record.watched("t1")]


class Stale(Views):
    """Answers with a view that is no longer there."""

    def __init__(self, store: Store, view: ThreadView | None) -> None:
        super().__init__(store)
        self.view = view

    async def snapshot(self, org: OrgId, thread: ThreadId) -> ThreadView | None:
        assert (ORG, T1) == (org, thread)
        return self.view


async def view_up_to(record: Record, count: int) -> ThreadView | None:
    state, sequence = INITIAL, 0
    for recorded in (await record.events("t1"))[:count]:
        state, sequence = evolve(state, recorded.event), recorded.sequence
    return ThreadView(fold_version=FOLD_VERSION, sequence=sequence, state=state) if count else None


@pytest.mark.parametrize("seen", range(4))
async def test_a_deleted_thread_is_loaded_right_with_a_view_that_is_gone(
    record: Record, hand: ByHand, seen: int
) -> None:
    await hand.whole_run()
    stale = await view_up_to(record, seen)
    tombstone = await hand.delete()
    await eraser(record).erase(ORG, T1, tombstone=tombstone)
    loaded = await Journal(record.store, Stale(record.store, stale)).load(ORG, T1)
    assert (True, None, tombstone) == (loaded.state.is_deleted, loaded.state.active, loaded.sequence)


@pytest.mark.parametrize("read", range(5))
async def test_a_thread_that_is_erased_while_it_is_read_is_loaded_right(
    record: Record, hand: ByHand, read: int
) -> None:
    await hand.whole_run()
    tombstone = await hand.delete()
    whole = await record.events("t1")

    class Torn(Journal):
        """Reads some of the events before they are erased, and the others behind that."""

        async def events(self, org: OrgId, thread: ThreadId, **_: int) -> list[Recorded]:
            await eraser(record).erase(org, thread, tombstone=tombstone)
            return whole[:read] + [found for found in whole[read:] if found.sequence >= tombstone]

    loaded = await Torn(record.store, record.views).load(ORG, T1)
    assert (True, None, tombstone) == (loaded.state.is_deleted, loaded.state.active, loaded.sequence)


async def test_a_deleted_thread_whose_run_has_not_ended_is_loaded_with_it(record: Record, hand: ByHand) -> None:
    run = await hand.post()
    await hand.start(run)
    stale = await view_up_to(record, 2)
    await hand.delete()
    for views in (record.views, Stale(record.store, stale)):
        state: ThreadState = (await Journal(record.store, views).load(ORG, T1)).state
        assert state.active is not None
        assert (True, run) == (state.is_deleted, state.active.run_id)


async def test_a_purge_that_comes_late_leaves_the_frame_that_stays(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    async with reactors(settings, 2, purge_grace_s=2, erase_again_s=0):
        run = await hand.whole_run()
        tombstone = await hand.delete()
        await erased(record, tombstone)
        assert [[DELETED]] == [frame.chunks for frame in await record.frames_of("t1", run)]
        # The run's own items are of events that are gone: nobody hears of them any more.
        await record.drained("janitor")
        await record.drained("reactor")
        await ChunkLog(record.store).purge(ORG, T1, run)
    await is_erased(record, tombstone, [run])


async def test_frames_of_a_run_that_the_thread_does_not_know_are_sealed_and_erased(
    record: Record, hand: ByHand
) -> None:
    await hand.whole_run()
    stray = RunId("stray")
    async with Pump(record.store, ORG, T1, stray, attempt=1, previous=0) as pump:
        await pump.write({"type": "text-delta", "id": "t", "delta": "secret"})
        await pump.barrier()
        tombstone = await hand.delete()
        await eraser(record).erase(ORG, T1, tombstone=tombstone)
        with pytest.raises(FencedError):
            await hand.say(pump)
    frames: list[Frame] = await record.frames_of("t1", stray)
    assert [("failed", "cancelled")] == [
        (frame.outcome.status, frame.outcome.reason) for frame in frames if frame.outcome is not None
    ]
    await is_erased(record, tombstone, [stray])
