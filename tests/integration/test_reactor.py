import asyncio
import itertools
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.events import RunRequested, UnknownEventError
from decopilot.contracts.frames import Cursor, Frame, Outcome
from decopilot.contracts.ids import MessageId, RunId, ThreadId
from decopilot.contracts.messages import UIMessage, Usage
from decopilot.domain.commands import Archive, CompleteStep, End, Start
from decopilot.domain.margins import closing, opening
from decopilot.kit.settings import Settings
from decopilot.log.clock import BrokerClock
from decopilot.log.ending import Ender
from decopilot.log.history import Histories
from decopilot.log.places import Places
from decopilot.log.pump import Pump
from decopilot.log.views import ViewConflictError
from decopilot.log.watchlog import WatchLog
from decopilot_reactor.app import build
from decopilot_reactor.placing import Placer
from decopilot_reactor.projecting import Projector
from decopilot_reactor.reacting import Reactor
from decopilot_reactor.settings import ReactorSettings
from decopilot_reactor.telling import Teller
from support.agents import text
from support.brokers import login
from support.reactors import ByHand
from support.services import DEADLINE_S, ORG, USER, Record, Services, running, until
from support.stack import free_port

T1 = ThreadId("t1")
TOLD = ["thread.status", "step", "step", "thread.status", "finish"]


@asynccontextmanager
async def reactor(settings: Settings, **more: object) -> AsyncIterator[None]:
    port = free_port()
    told = {"nats_url": settings.nats_url, "health_port": port} | login("reactor") | more
    async with running(build(ReactorSettings.model_validate(told)), port):
        yield


def own_reactor(record: Record) -> Reactor:
    return reactor_telling(record, WatchLog(record.store))


def reactor_telling(record: Record, watch: WatchLog, clock: BrokerClock | None = None) -> Reactor:
    ender = Ender(record.store, record.journal, Histories(record.journal, record.views))
    placer = Placer(record.journal, Places(record.store))
    teller = Teller(record.journal, watch, clock or BrokerClock(record.store))
    return Reactor(Projector(record.journal, record.views), teller, ender, placer)


async def a_run(record: Record, message: str = "m1", *, ended_ago: timedelta = timedelta(0)) -> RunId:
    """What a runner writes about a run of two steps that ended well."""
    before = (await record.journal.load(ORG, T1)).state
    run = await record.send("t1", "say hello", message)
    requested = (await record.events("t1"))[-1].event
    assert isinstance(requested, RunRequested)
    now = datetime.now(UTC) - ended_ago
    await record.journal.execute(ORG, T1, Start(now=now, run_id=run, attempt=1, runner_id="r"))
    for step in (1, 2):
        command = CompleteStep(now=now, run_id=run, attempt=1, step=step, usage=Usage())
        await record.journal.execute(ORG, T1, command)
    outcome = Outcome(status="completed", finish_reason="stop")
    async with Pump(record.store, ORG, T1, run, attempt=1, previous=before.last_frame) as pump:
        for chunk in [*opening(requested, 1), *text("hello")]:
            await pump.write(chunk)
        sealed = await pump.close(closing(requested, outcome, {}), outcome)
    await record.journal.execute(ORG, T1, end_of(run, outcome, requested.assistant_id, sealed, now))
    return run


def end_of(run: RunId, outcome: Outcome, answer: MessageId, sealed: Cursor, now: datetime) -> End:
    message = UIMessage(id=answer, role="assistant", parts=[{"type": "text", "text": "hello", "state": "done"}])
    return End(now=now, run_id=run, attempt=1, outcome=outcome, message=message, end=sealed)


async def kinds(record: Record) -> list[str]:
    return [event["type"].removeprefix("decopilot.") for event in await record.watched("t1")]


async def is_told_once_and_in_order(record: Record, runs: int) -> None:
    told = await record.watched("t1")
    assert TOLD * runs == [event["type"].removeprefix("decopilot.") for event in told]
    causes = [tuple(map(int, event["id"].split("-"))) for event in told]
    assert sorted(set(causes)) == causes


async def test_what_is_archived_is_told_and_listed_as_such_until_a_message_comes(
    settings: Settings, record: Record
) -> None:
    async with reactor(settings):
        await a_run(record)
        for archived in (True, False, True):
            wish = Archive(now=datetime.now(UTC), user_id=USER, role="member", archived=archived)
            await record.journal.execute(ORG, T1, wish)
        await record.drained("reactor")
        assert [True] == [entry.archived async for entry in record.views.threads(ORG)]
        await record.send("t1", "again", "m2")
        await record.drained("reactor")
        assert [False] == [entry.archived async for entry in record.views.threads(ORG)]
    told = [(event["type"].removeprefix("decopilot."), event["data"]) for event in await record.watched("t1")]
    expected: list[tuple[str, object]] = [("thread.archived", {"archived": it}) for it in (True, False, True)]
    assert [*expected, ("thread.status", {"status": "in_progress"})] == told[-4:]


async def test_two_copies_lead_to_one_view_and_to_each_watch_event_once(settings: Settings, record: Record) -> None:
    async with reactor(settings), reactor(settings):
        for n in range(5):
            await a_run(record, f"m{n}")
        await record.drained("reactor")
    await is_told_once_and_in_order(record, 5)
    view = await record.views.snapshot(ORG, T1)
    assert view is not None
    assert (await record.events("t1"))[-1].sequence == view.sequence
    assert (await record.journal.load(ORG, T1)).state == view.state
    history = await Histories(record.journal, record.views).read(ORG, T1)
    assert [f"m{n}" if user else f"answer-t1-m{n}" for n in range(5) for user in (True, False)] == [
        message.id for message in history.messages
    ]


async def test_an_event_that_comes_again_until_a_newer_reactor_has_it_is_shown_and_told_once(record: Record) -> None:
    await a_run(record)
    ended = (await record.events("t1"))[-1]
    await record.sing("t1")
    for _ in range(3):
        with pytest.raises(UnknownEventError):
            await own_reactor(record).react(ended)
        await is_told_once_and_in_order(record, 1)
        view, _revision = await record.views.read_thread(ORG, T1)
        assert view is not None
        assert (ended.sequence, "completed") == (view.sequence, view.state.status)


async def test_what_gathered_while_no_reactor_ran_is_told_whole_and_in_order(
    settings: Settings, record: Record
) -> None:
    for n in range(3):
        await a_run(record, f"m{n}")
    async with reactor(settings), reactor(settings):
        await record.drained("reactor")
    await is_told_once_and_in_order(record, 3)


@pytest.mark.parametrize("seed", range(10))
async def test_events_repeated_and_out_of_order_lead_to_the_same(record: Record, seed: int) -> None:
    rng = random.Random(seed)
    await a_run(record, "m1")
    await a_run(record, "m2")
    events = await record.events("t1")
    deliveries = rng.sample(events * 3, len(events) * 3)
    copies = itertools.cycle((own_reactor(record), own_reactor(record)))
    for some in range(0, len(deliveries), 6):
        await asyncio.gather(*(next(copies).react(event) for event in deliveries[some : some + 6]))
    await is_told_once_and_in_order(record, 2)
    view = await record.views.snapshot(ORG, T1)
    assert view is not None
    assert (events[-1].sequence, "completed") == (view.sequence, view.state.status)


async def test_reacting_to_the_end_of_a_run_starts_what_waits_once(record: Record) -> None:
    hand = ByHand(record)
    first = await hand.post("m1")
    await hand.start(first)
    waiting = [await hand.post(f"m{number}") for number in (2, 3)]
    async with await hand.pump(first) as pump:
        await hand.open(first, pump)
        sealed = await hand.seal(first, pump)
    await hand.end(first, sealed)
    events = await record.events("t1")
    await asyncio.gather(*(own_reactor(record).react(events[-1]) for _ in range(5)))
    for recorded in events:
        await own_reactor(record).react(recorded)
    state = (await record.journal.load(ORG, T1)).state
    assert state.active is not None
    assert (waiting[0], [waiting[1]]) == (state.active.run_id, [queued.run_id for queued in state.queue])
    assert [recorded.event for recorded in events] == [recorded.event for recorded in await record.events("t1")][:-1]


class LaterClock(BrokerClock):
    """The broker's, two hours later."""

    async def now(self) -> datetime:
        return await super().now() + timedelta(hours=2)


async def test_what_the_watch_log_has_forgotten_is_not_told_again(record: Record) -> None:
    await a_run(record, "m1")
    await record.send("t1", "say more", "m2")
    requested = (await record.events("t1"))[-1]
    await reactor_telling(record, WatchLog(record.store), LaterClock(record.store)).react(requested)
    (told,) = await record.watched("t1")
    assert ["thread.status"] == await kinds(record)
    assert f"{requested.sequence}-0" == told["id"]


async def test_no_watch_event_comes_before_the_view_that_it_tells_of(record: Record) -> None:
    await a_run(record)
    seen: list[tuple[int, int]] = []
    react = own_reactor(record).react

    async def heard(subject: str, sequence: int) -> None:
        view = await record.views.snapshot(ORG, T1)
        seen.append((sequence, 0 if view is None else view.sequence))
        assert subject

    class Listening(WatchLog):
        async def append(self, *args: object, **kwargs: object) -> int:
            event = args[3]
            await heard(str(args[2]), int(event.id.partition("-")[0]))  # type: ignore[attr-defined]  # a watch event
            return await super().append(*args, **kwargs)  # type: ignore[arg-type]  # as it was called

    listening = reactor_telling(record, Listening(record.store))
    for event in await record.events("t1"):
        await listening.react(event)
        await react(event)
    assert len(TOLD) == len(seen)
    assert all(view >= cause for cause, view in seen)


async def test_watch_events_come_although_the_reactor_died_behind_the_view(settings: Settings, record: Record) -> None:
    await a_run(record)
    for event in await record.events("t1"):
        await Projector(record.journal, record.views).project(event)
    assert [] == await kinds(record)
    async with reactor(settings):
        await record.drained("reactor")
    await is_told_once_and_in_order(record, 1)


async def test_a_view_is_written_only_in_the_place_of_the_one_that_was_read(record: Record) -> None:
    await a_run(record)
    first, *_, last = await record.events("t1")
    _, revision = await record.views.read_thread(ORG, T1)
    await Projector(record.journal, record.views).project(last)
    view, newer = await record.views.read_thread(ORG, T1)
    assert view is not None
    with pytest.raises(ViewConflictError):
        await record.views.write_thread(ORG, T1, view.model_copy(update={"sequence": first.sequence}), revision)
    await Projector(record.journal, record.views).project(first)
    assert (view, newer) == await record.views.read_thread(ORG, T1)


async def test_nothing_is_folded_past_an_event_of_a_newer_version_and_it_is_tried_again(
    settings: Settings, record: Record
) -> None:
    run = await record.send("t1", "say hello")
    unknown = await record.store.publish(
        subjects.EVENTS_STREAM, subjects.event(ORG, T1, "run_paused"), b'{"type": "run_paused", "run_id": "x"}'
    )
    start = (
        f'{{"type": "run_started", "at": "2026-01-01T00:00:00Z", "run_id": "{run}", "attempt": 1, "runner_id": "r"}}'
    )
    behind = await record.store.publish(subjects.EVENTS_STREAM, subjects.event(ORG, T1, "run_started"), start.encode())
    other = await record.send("t2", "say hello")

    async def tried_again() -> bool:
        return await record.deliveries("reactor") >= behind + 3

    async def other_told() -> bool:
        return bool(await record.watched("t2"))

    async def are_left() -> bool:
        # The unknown event, the one behind it, and the one before it, whose place is the newer version's to keep.
        return (await record.consumer("reactor")).num_ack_pending == 3

    async with reactor(settings):
        await until(other_told)
        await until(tried_again)
        await until(are_left)
    view = await record.views.snapshot(ORG, T1)
    assert view is not None
    assert unknown - 1 == view.sequence
    assert ["thread.status"] == await kinds(record)
    assert other != run


async def test_the_janitor_purges_a_run_after_the_grace_and_keeps_its_closing_frame(
    settings: Settings, record: Record
) -> None:
    async def frames(run: RunId) -> list[Frame]:
        return await record.frames_of("t1", run)

    async def one_waits() -> bool:
        info = await record.consumer("janitor")
        return (0, 1) == (info.num_pending, info.num_ack_pending)

    clock = asyncio.get_running_loop().time
    began = clock()
    # By the clock of whoever ended it that was long ago; the broker's is the one that counts.
    first = await a_run(record, "m1", ended_ago=timedelta(minutes=1))
    before = await frames(first)
    assert len(before) > 1
    async with reactor(settings, purge_grace_s=1):

        async def purged() -> bool:
            return len(await frames(first)) == 1

        await until(purged)
    assert clock() - began >= 1
    assert before[-1:] == await frames(first)
    assert before[-1].outcome is not None
    second = await a_run(record, "m2")
    before = await frames(second)
    async with reactor(settings, purge_grace_s=30):
        await record.drained("reactor")
        # Of all there was, only the second run's end has anything left to wait for.
        await until(one_waits)
    assert before == await frames(second)
    async with reactor(settings, purge_grace_s=0.5):
        # The janitor's delay of half a minute was told to the broker: a new one comes with the next delivery.
        third = await a_run(record, "m3")

        async def third_purged() -> bool:
            return len(await frames(third)) == 1

        await until(third_purged)


async def test_the_grace_is_waited_for(settings: Settings, record: Record) -> None:
    async with reactor(settings, purge_grace_s=1.5):
        run = await a_run(record)
        ended = (await record.events("t1"))[-1].event.at
        frames = await record.frames_of("t1", run)

        async def purged() -> bool:
            return len(await record.frames_of("t1", run)) < len(frames)

        await until(purged)
        assert datetime.now(UTC) - ended >= timedelta(seconds=1.5)
        await record.drained("janitor")
        await record.drained("reactor")


async def test_a_reactor_that_leaves_under_load_loses_nothing(
    own_broker: EmbeddedBroker, record: Record, tmp_path: Path
) -> None:
    # What is not handed back comes later than anybody waits here.
    patient = (await record.consumer("reactor")).config.evolve(ack_wait=10 * DEADLINE_S)
    await record.store.js.add_consumer(subjects.EVENTS_STREAM, patient)
    services = Services(tmp_path, own_broker.url)
    try:
        leaving = services.start("reactor")
        await leaving.ready()
        writing = [asyncio.create_task(record.send(f"t{n}", "say hello")) for n in range(200)]
        await writing[50]
        leaving.send(signal.SIGTERM)
        await asyncio.gather(*writing)
        assert 0 == await leaving.ended()
        await services.start("reactor").ready()
        await record.drained("reactor")
    finally:
        services.end()
    for n in range(200):
        assert ["decopilot.thread.status"] == [event["type"] for event in await record.watched(f"t{n}")]
    assert [[], []] == [service.complaints() for service in services.started]
