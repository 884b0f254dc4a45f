"""The janitor: every run ends within its limits, whoever died, and nobody's end is taken for another's."""

import asyncio
import itertools
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from nats.js.errors import APIError

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.events import RunCompleted, RunFailed
from decopilot.contracts.frames import Outcome
from decopilot.contracts.ids import RunId, ThreadId
from decopilot.domain.commands import StaleError
from decopilot.domain.fold import Fold
from decopilot.domain.margins import opening
from decopilot.domain.outcome import forced
from decopilot.kit.settings import Settings
from decopilot.log.ending import Attempt, Ender
from decopilot.log.history import Histories
from decopilot.log.pump import FencedError
from decopilot.log.store import Store
from decopilot.log.topology import ACK_WAIT_S, Sizes, provision
from support.ends import is_closed_once, is_fenced, speak_until_fenced, was_due
from support.reactors import DONE, T1, ByHand, now, reactors
from support.services import ORG, Record, Services, until

SILENCE_S = ACK_WAIT_S + 1
WAITS = Outcome(status="requires_action", finish_reason="stop")


@pytest.fixture
def services(own_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Services]:
    started = Services(tmp_path, own_broker.url)
    yield started
    started.end()


async def test_a_run_that_is_cancelled_before_anybody_started_it_ends_at_once(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    async with reactors(settings, cancel_deadline_s=600, look_s=600):
        run = await hand.post()
        await hand.cancel()
        end = await record.end_of("t1", run, 5)
        await record.drained("reactor")
    await is_closed_once(record, run, "cancelled")
    assert None is end.message
    kinds = [chunk["type"] for chunk in await record.chunks_of("t1", run)]
    assert ["start", "data-run", "data-user-message", "data-run-end", "abort", "finish"] == kinds
    assert ["run_requested", "run_cancel_requested", "run_failed"] == await record.event_types("t1")


async def test_a_runner_that_hears_of_the_cancel_ends_its_run_itself(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    woken = asyncio.Event()

    async def wake(_: Msg) -> None:
        woken.set()

    run = await hand.post()
    await hand.start(run)
    await record.store.nc.subscribe(subjects.signal(ORG, run), cb=wake)
    async with reactors(settings, cancel_deadline_s=60), await hand.pump(run) as pump:
        await hand.open(run, pump)
        await hand.cancel()
        async with asyncio.timeout(5):
            await woken.wait()
        await is_still_open(record, run)
        ender = Ender(record.store, record.journal, Histories(record.journal, record.views))
        attempt = Attempt.of(ORG, T1, (await record.journal.load(ORG, T1)).state)
        fold = Fold(attempt.requested.assistant_id)
        for chunk in await record.chunks_of("t1", run):
            fold.add(chunk)
        await ender.end(attempt, fold, pump, forced(fold.message(), "cancelled"))
        await record.drained("reactor")
    await is_closed_once(record, run, "cancelled")


async def is_still_open(record: Record, run: RunId, thread: str = "t1") -> None:
    state = (await record.journal.load(ORG, ThreadId(thread))).state
    assert state.active is not None
    assert run == state.active.run_id
    assert all(frame.outcome is None for frame in await record.frames_of(thread, run))


async def test_a_cancelled_run_whose_runner_does_not_stop_is_sealed_when_its_time_is_up(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    run = await hand.post()
    await hand.start(run)
    async with reactors(settings, 3, cancel_deadline_s=1), await hand.pump(run) as pump:
        await hand.open(run, pump)
        began = now()
        await hand.cancel()
        end = await record.end_of("t1", run)
        was_due(began, 1)
        await is_closed_once(record, run, "cancelled")
        await is_fenced(hand, pump, run)
        assert end.message is not None
        await record.drained("reactor")


async def test_a_cancelled_run_that_was_handed_back_ends_at_once(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    run = await hand.post()
    await hand.start(run)
    async with await hand.pump(run) as pump:
        await hand.open(run, pump)
    await hand.hand_back(run)
    async with reactors(settings, cancel_deadline_s=600):
        await hand.cancel()
        await record.end_of("t1", run, 5)
    await is_closed_once(record, run, "cancelled")


async def test_a_superseded_run_is_sealed_and_what_superseded_it_starts_before_the_queue(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    first = await hand.post("m1")
    await hand.start(first)
    second = await hand.post("m2")
    async with reactors(settings, 3, cancel_deadline_s=1), await hand.pump(first) as pump:
        await hand.open(first, pump)
        third = await hand.post("m3", on_conflict="interrupt")
        await record.end_of("t1", first)
        await is_closed_once(record, first, "superseded")
        await is_fenced(hand, pump, first)

        async def turn() -> bool:
            active = (await record.journal.load(ORG, T1)).state.active
            return active is not None and active.run_id == third

        await until(turn)
        await record.drained("reactor")
        types = await record.event_types("t1")
    state = (await record.journal.load(ORG, T1)).state
    assert [second] == [queued.run_id for queued in state.queue]
    assert ["run_requested", "run_started", "run_queued", "run_queued", "run_failed", "run_requested"] == types


async def test_a_run_that_nobody_starts_ends_as_undeliverable(settings: Settings, record: Record, hand: ByHand) -> None:
    async with reactors(settings, 3, start_limit_s=1):
        began = now()
        run = await hand.post()
        await record.end_of("t1", run)
        was_due(began, 1)
        await record.drained("reactor")
    await is_closed_once(record, run, "undeliverable")
    assert ["run_requested", "run_failed"] == await record.event_types("t1")


async def test_a_run_that_nobody_starts_is_undeliverable_though_whoever_sealed_it_was_cut_off(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    run = await hand.post()
    began = now()
    async with await hand.pump(run) as pump:
        # No more of an end than its first frame: there was no room for the closing one.
        await pump.frame(opening(await hand.requested(run), 1))
    async with reactors(settings, 3, start_limit_s=1):
        await record.end_of("t1", run)
        was_due(began, SILENCE_S)
        await record.drained("reactor")
    await is_closed_once(record, run, "undeliverable")
    assert ["run_requested", "run_failed"] == await record.event_types("t1")


async def test_a_run_that_is_being_started_is_not_undeliverable(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    run = await hand.post()
    # Its first frame is there although the log does not know of an attempt: as if both came this very moment.
    async with await hand.pump(run) as pump:
        await hand.open(run, pump)
        async with reactors(settings, start_limit_s=0.1, run_limit_s=2.5):
            await record.end_of("t1", run)
    await is_closed_once(record, run, "timed_out")


async def test_a_run_that_falls_silent_is_sealed_behind_its_last_frame(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    run = await hand.post()
    await hand.start(run)
    async with reactors(settings, 3, idle_limit_s=1.5), await hand.pump(run) as pump:
        await hand.open(run, pump)
        spoke_until = time.monotonic() + 3
        while time.monotonic() < spoke_until:
            await hand.say(pump)
            await asyncio.sleep(0.1)
        await is_still_open(record, run)
        last = await record.frames.last_of_run(ORG, T1, run)
        assert last is not None
        assert last.stored_at is not None
        end = await record.end_of("t1", run)
        was_due(last.stored_at, 1.5)
        await is_closed_once(record, run, "timed_out")
        await is_fenced(hand, pump, run)
        behind = [frame for frame in await record.frames_of("t1", run) if frame.sequence > last.sequence]
        assert [last.sequence] == [frame.previous for frame in behind]
        kinds = [chunk["type"] for chunk in behind[0].chunks]
        assert ["text-end", "finish-step", "data-run-end", "error", "finish"] == kinds
        await record.drained("reactor")
    assert end.message is not None
    assert "done" == end.message.parts[-1]["state"]


async def test_a_started_run_without_a_frame_is_sealed_for_its_silence(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    run = await hand.post()
    async with reactors(settings, idle_limit_s=1), await hand.pump(run) as pump:
        began = now()
        await hand.start(run)
        await record.end_of("t1", run)
        was_due(began, 1)
        await is_closed_once(record, run, "timed_out")
        # It was stopped before its first frame, and goes on.
        await is_fenced(hand, pump, run)


async def test_a_run_that_never_comes_to_its_end_is_sealed_while_it_goes_on(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    began = now()
    run = await hand.post()
    await hand.start(run)
    async with reactors(settings, 3, run_limit_s=2), await hand.pump(run) as pump:
        await hand.open(run, pump)
        speaking = asyncio.create_task(speak_until_fenced(hand, pump))
        await record.end_of("t1", run)
        was_due(began, 2)
        await speaking
        await record.drained("reactor")
    await is_closed_once(record, run, "timed_out")


async def test_a_run_whose_attempts_are_used_up_is_crashed_unless_somebody_answers_for_it(
    settings: Settings, record: Record
) -> None:
    async def answer(msg: Msg) -> None:
        if msg.reply:
            await msg.respond(b"here")

    held, lost = (ByHand(record, ThreadId(name)) for name in ("held", "lost"))
    runs: dict[str, RunId] = {}
    began = now()
    for hand in (held, lost):
        runs[hand.thread] = run = await hand.post()
        await hand.start(run, 1)
        async with await hand.pump(run) as pump:
            await hand.open(run, pump)
        await hand.start(run, 2)
    holding = await record.store.nc.subscribe(subjects.signal(ORG, runs["held"]), cb=answer)
    async with reactors(settings, 3, attempts=2):
        await record.end_of("lost", runs["lost"])
        was_due(began, ACK_WAIT_S + 1)
        await is_closed_once(record, runs["lost"], "crashed", "lost")
        await is_still_open(record, runs["held"], "held")
        await holding.unsubscribe()
        await record.end_of("held", runs["held"])
    await is_closed_once(record, runs["held"], "crashed", "held")


async def test_a_last_attempt_that_is_silent_ends_for_that_though_its_runner_answers(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    async def answer(msg: Msg) -> None:
        if msg.reply:
            await msg.respond(b"here")

    run = await hand.post()
    await hand.start(run, 1)
    async with await hand.pump(run) as pump:
        await hand.open(run, pump)
    began = now()
    await hand.start(run, 2)
    await record.store.nc.subscribe(subjects.signal(ORG, run), cb=answer)
    async with reactors(settings, attempts=2, idle_limit_s=ACK_WAIT_S + 3):
        await record.end_of("t1", run)
        was_due(began, ACK_WAIT_S + 3)
    await is_closed_once(record, run, "timed_out")


async def test_a_sealed_run_whose_end_nobody_told_ends_as_its_closing_frame_says(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    run = await hand.post()
    await hand.start(run)
    async with await hand.pump(run) as pump:
        await hand.open(run, pump)
        await hand.say(pump, "whole")
        sealed = await hand.seal(run, pump)
    await hand.cancel()
    async with reactors(settings, 3, cancel_deadline_s=0, idle_limit_s=0.5):
        end = await record.end_of("t1", run)
        await record.drained("reactor")
    assert isinstance(end, RunCompleted)
    assert end.message is not None
    assert ("whole", sealed.sequence) == (end.message.text, end.last_frame)
    ends = [kind for kind in await record.event_types("t1") if kind in {"run_completed", "run_failed"}]
    assert ["run_completed"] == ends


async def test_the_queues_head_starts_although_whoever_ended_the_run_died_first(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    first = await hand.post("m1")
    await hand.start(first)
    waiting = [await hand.post(f"m{number}") for number in (2, 3)]
    async with await hand.pump(first) as pump:
        await hand.open(first, pump)
        sealed = await hand.seal(first, pump)
    await hand.end(first, sealed)
    async with reactors(settings, 4):

        async def promoted() -> bool:
            return "run_requested" == (await record.event_types("t1"))[-1]

        await until(promoted)
        await record.drained("reactor")
        state = (await record.journal.load(ORG, T1)).state
    assert state.active is not None
    assert (waiting[0], [waiting[1]]) == (state.active.run_id, [queued.run_id for queued in state.queue])
    assert 2 == (await record.event_types("t1")).count("run_requested")


async def test_the_queue_waits_for_an_answer_and_starts_once_none_will_come(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    first = await hand.post("m1")
    await hand.start(first)
    second = await hand.post("m2")
    async with await hand.pump(first) as pump:
        await hand.open(first, pump)
        sealed = await hand.seal(first, pump, WAITS)
    async with reactors(settings, look_s=0.1):
        await hand.end(first, sealed, WAITS)
        await record.drained("reactor")
        looks = await record.deliveries("janitor")

        async def looked_again() -> bool:
            return await record.deliveries("janitor") > looks + 5

        await until(looked_again)
        assert None is (await record.journal.load(ORG, T1)).state.active
        await hand.cancel(first)

        async def turn() -> bool:
            active = (await record.journal.load(ORG, T1)).state.active
            return active is not None and active.run_id == second

        await until(turn)


async def test_nothing_is_looked_at_any_longer_than_there_is_something_to_do(
    settings: Settings, record: Record, hand: ByHand
) -> None:
    async with reactors(settings, 3, purge_grace_s=1, cancel_deadline_s=0.5, look_s=0.2):
        done = await hand.whole_run("m1")
        first = await hand.post("m2")
        await hand.start(first)
        withdrawn = await hand.post("m3")
        await hand.post("m4", on_conflict="interrupt")
        await hand.cancel(withdrawn)

        async def turn() -> RunId | None:
            active = (await record.journal.load(ORG, T1)).state.active
            return active.run_id if active is not None and active.run_id != first else None

        last = await until(turn)
        assert last is not None
        await hand.cancel(last)
        await record.end_of("t1", last)
        await record.drained("janitor")
        await record.drained("reactor")
    for run in (done, first, last):
        frames = await record.frames_of("t1", run)
        assert [True] == [frame.outcome is not None for frame in frames]
    assert [] == await record.frames_of("t1", withdrawn)


async def test_items_that_wait_outlive_every_reactor(record: Record, hand: ByHand, services: Services) -> None:
    told = {"idle_limit_s": 4, "look_s": 1, "purge_grace_s": 4}
    first = services.start("reactor", **told)
    await first.ready()
    done = await ByHand(record, ThreadId("t2")).whole_run()
    run = await hand.post()
    await hand.start(run)
    began = now()
    async with await hand.pump(run) as pump:
        await hand.open(run, pump)

    async def is_waited_for() -> bool:
        info = await record.consumer("janitor")
        return (0, 2) == (info.num_pending, info.num_ack_pending)

    await until(is_waited_for)
    first.send(signal.SIGKILL)
    await first.ended()
    second = services.start("reactor", **told)
    await second.ready()
    await record.end_of("t1", run)
    was_due(began, 4)
    await is_closed_once(record, run, "timed_out")

    async def purged() -> bool:
        return 1 == len(await record.frames_of("t2", done))

    await until(purged)
    assert [] == second.complaints()


async def fill(store: Store) -> None:
    """Write until the chunk log takes nothing more."""
    while True:
        try:
            await store.publish(subjects.CHUNKS_STREAM, "decopilot.chunk.acme.filler.x", b"x" * 100)
        except APIError:
            return


async def test_runs_that_can_not_be_sealed_for_want_of_room_do_not_keep_the_janitor_from_making_some(
    settings: Settings, record: Record
) -> None:
    await provision(record.store.nc, Sizes(chunks_max_bytes=1 << 20))
    blocked = [ByHand(record, ThreadId(f"blocked-{number}")) for number in range(3)]
    runs = {hand.thread: await hand.post() for hand in blocked}
    later = ByHand(record, ThreadId("later"))
    run = await later.post()
    await later.start(run)
    async with await later.pump(run) as pump:
        await later.open(run, pump)
        while (await record.store.js.stream_info(subjects.CHUNKS_STREAM)).state.bytes < (1 << 20) - 40_000:
            await later.say(pump, "x" * 30_000)
        sealed = await later.seal(run, pump)
    await fill(record.store)
    for hand in blocked:
        await hand.cancel()
    async with reactors(settings, 1, purge_grace_s=1, events_at_once=2):
        await later.end(run, sealed)
        for thread, stuck in runs.items():
            await record.end_of(thread, stuck, 40)
            await is_closed_once(record, stuck, "cancelled", thread)
    assert DONE == (await record.frames_of("later", run))[-1].outcome


async def a_life(record: Record, number: int, pause_s: float) -> tuple[ByHand, list[RunId]]:
    """Bring one run as far as its number says, perhaps with another behind it; cancel, delete or leave them."""
    hand = ByHand(record, ThreadId(f"t{number}"))
    runs = [await hand.post("m1")]
    depth = ("requested", "started", "driven", "sealed")[number % 4]
    # Where this machine is slow enough, a reactor is there first, and ends the run.
    with suppress(StaleError, FencedError):
        if depth != "requested":
            await hand.start(runs[0])
        if depth in {"driven", "sealed"}:
            async with await hand.pump(runs[0]) as pump:
                await hand.open(runs[0], pump)
                if depth == "sealed":
                    await hand.seal(runs[0], pump)
    if number % 3:
        runs.append(await hand.post("m2", on_conflict="interrupt" if number % 2 else "queue"))
    if number % 5 == 0:
        await hand.cancel(runs[0])
    if number % 2 == 0:
        await asyncio.sleep(pause_s)
        await hand.delete()
    return hand, runs


async def is_over(record: Record, hand: ByHand, runs: list[RunId]) -> None:
    """Everything has ended, each once; of a deleted thread nothing is left."""
    state = (await record.journal.load(ORG, hand.thread)).state
    assert (None, ()) == (state.active, state.queue)
    events = [recorded.event for recorded in await record.events(hand.thread)]
    ends = [event.run_id for event in events if isinstance(event, RunCompleted | RunFailed)]
    assert len(set(ends)) == len(ends)
    if state.is_deleted:
        assert "thread_deleted" == events[0].type
    else:
        assert set(runs) == set(ends)
    for run in runs:
        # One that was still waiting its turn when its thread was deleted has none.
        frames = await record.frames_of(hand.thread, run)
        last = "data-thread-deleted" if state.is_deleted else "finish"
        assert [last] == [frame.chunks[-1]["type"] for frame in frames] or (state.is_deleted and not frames)
        assert all(frame.outcome is not None for frame in frames)
    told = [event["type"].removeprefix("decopilot.") for event in await record.watched(hand.thread)]
    assert all(before == "thread.status" for before, kind in itertools.pairwise(told) if kind == "finish")
    assert int(state.is_deleted) == told.count("thread.deleted")
    assert state.is_deleted or len(runs) == told.count("finish")


@pytest.mark.parametrize("seed", range(2))
async def test_runs_in_every_state_end_once_and_threads_go_whichever_reactor_is_killed(
    record: Record, services: Services, seed: int
) -> None:
    rng = random.Random(seed)
    limits = {"cancel_deadline_s": 0.5, "start_limit_s": 3, "idle_limit_s": 3}
    told = limits | {"look_s": 0.3, "purge_grace_s": 1, "erase_again_s": 2}
    crew = [services.start("reactor", **told) for _ in range(3)]
    for service in crew:
        await service.ready()
    lives = asyncio.gather(*(a_life(record, number, rng.uniform(0, 2)) for number in range(24)))
    for _ in range(4):
        await asyncio.sleep(rng.uniform(0.3, 1))
        victim = crew.pop(rng.randrange(len(crew)))
        victim.send(signal.SIGKILL)
        await victim.ended()
        crew.append(services.start("reactor", **told))
        await crew[-1].ready()
    written = await lives
    await record.drained("reactor", 40)
    await record.drained("janitor", 40)
    for hand, runs in written:
        await is_over(record, hand, runs)
    assert [] == [line for service in services.started for line in service.complaints()]
