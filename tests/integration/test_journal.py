"""The event log of a thread: the append is the claim, whatever is lost on the way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest
from nats.aio.msg import Msg
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.events import Recorded, RunFailed
from decopilot.contracts.frames import Cursor, Outcome
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId, UserId
from decopilot.contracts.messages import RunConfig, UIMessage, Usage
from decopilot.domain.commands import CompleteStep, End, RefusedError, Send, StaleError, Start
from decopilot.domain.thread import FOLD_VERSION
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log import journal as journals
from decopilot.log.direct import BATCH, DirectGet
from decopilot.log.journal import CAUSATION, EVENT_ID, Executed, Journal, Loaded
from decopilot.log.store import MessageTooLargeError, Store, patiently
from decopilot.log.views import ThreadView, Views
from support.proxy import Proxy, is_ack, proxied

ORG, THREAD = OrgId("org"), ThreadId("thread")
NOW = datetime(2026, 1, 2, tzinfo=UTC)
WAIT_S = 20.0


def send(message: str = "m1", run: str = "r1", said: str = "Hello", user: str = "ann") -> Send:
    body = {"id": message, "role": "user", "parts": [{"type": "text", "text": said}]}
    return Send(
        now=NOW,
        user_id=UserId(user),
        role="member",
        message=UIMessage.model_validate(body),
        message_hash=said,
        config=RunConfig(),
        run_id=RunId(run),
        assistant_id=MessageId(f"answer-{run}"),
        on_conflict="reject",
    )


def start(run: str = "r1", attempt: int = 1) -> Start:
    return Start(now=NOW, run_id=RunId(run), attempt=attempt, runner_id="x")


def step(number: int) -> CompleteStep:
    return CompleteStep(now=NOW, run_id=RunId("r1"), attempt=1, step=number, usage=Usage())


def journal_over(store: Store) -> Journal:
    return Journal(store, Views(store))


@pytest.fixture
def journal(store: Store) -> Journal:
    return journal_over(store)


@asynccontextmanager
async def far(proxy: Proxy) -> AsyncIterator[Journal]:
    """A journal at the far end of a bad way."""
    settings = Settings(nats_url=proxy.url, instance="far")
    async with connected(settings, "far") as nc, Store(nc) as store:
        yield journal_over(store)


async def recorded(journal: Journal) -> list[Recorded]:
    return await journal.events(ORG, THREAD, after=0, until=await journal.newest(ORG, THREAD))


async def types(journal: Journal) -> list[str]:
    return [found.event.type for found in await recorded(journal)]


async def test_of_twenty_racing_writers_one_starts_the_run_and_the_others_see_it_or_are_refused(store: Store) -> None:
    async def write(nth: int) -> Executed | str:
        try:
            return await journal_over(store).execute(ORG, THREAD, send("same" if nth % 2 else f"m{nth}", f"r{nth}"))
        except RefusedError as refusal:
            return refusal.code

    async with asyncio.timeout(WAIT_S):
        answers = await asyncio.gather(*map(write, range(20)))
        assert ["run_requested"] == await types(journal_over(store))
    executed = [answer for answer in answers if isinstance(answer, Executed)]
    assert 1 == sum(answer.appended is not None for answer in executed)
    active = [answer.state.active for answer in executed]
    assert len({run.requested.run_id for run in active if run is not None}) == 1
    assert {"run_active"} >= {answer for answer in answers if isinstance(answer, str)}


async def test_an_event_names_its_own_id_its_run_and_its_cause(store: Store, journal: Journal) -> None:
    asked = await journal.execute(ORG, THREAD, send())
    assert asked.appended is not None
    started = await journal.execute(ORG, THREAD, start(), cause=asked.appended.event_id)
    assert started.appended is not None
    stored = await store.last(subjects.EVENTS_STREAM, subjects.events_of(ORG, THREAD))
    assert stored is not None
    assert (started.appended.event_id, asked.appended.event_id) == (stored.headers[EVENT_ID], stored.headers[CAUSATION])
    assert started.sequence == started.appended.sequence == stored.sequence


async def test_the_span_of_an_append_that_came_second_does_not_look_like_one_of_an_event(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(journals, "_tracer", provider.get_tracer("test"))
    asked = await journal.execute(ORG, THREAD, send())
    await journal.execute(ORG, THREAD, replace(send("m2", "r2"), on_conflict="queue"))
    await journal.execute(ORG, THREAD, start(), known=Loaded(asked.state, asked.sequence))
    assert ["append run_requested", "append run_queued", "conflict run_started", "append run_started"] == [
        span.name for span in exporter.get_finished_spans()
    ]
    assert ["run_requested", "run_queued", "run_started"] == await types(journal)


async def test_a_run_that_said_nothing_ends_and_its_thread_goes_on(journal: Journal) -> None:
    await journal.execute(ORG, THREAD, send())
    failed = Outcome(status="failed", finish_reason="error", reason="crashed")
    end = End(now=NOW, run_id=RunId("r1"), attempt=1, outcome=failed, message=None, end=Cursor(5, 1))
    await journal.execute(ORG, THREAD, end)
    event = (await recorded(journal))[-1].event
    assert isinstance(event, RunFailed)
    assert event.message is None
    await journal.execute(ORG, THREAD, send("m2", "r2"))
    assert ["run_requested", "run_failed", "run_requested"] == await types(journal)


class LaggingViews(Views):
    """Views that show a thread as it was."""

    def __init__(self, store: Store, loaded: Loaded) -> None:
        super().__init__(store)
        self._loaded = loaded

    async def snapshot(self, org: OrgId, thread: ThreadId) -> ThreadView | None:  # noqa: ARG002  whatever is asked
        if not self._loaded.sequence:
            return None
        return ThreadView(fold_version=FOLD_VERSION, sequence=self._loaded.sequence, state=self._loaded.state)


async def test_a_view_that_lags_shows_in_no_decision(store: Store, journal: Journal) -> None:
    old = Loaded((await journal.execute(ORG, THREAD, send())).state, await journal.newest(ORG, THREAD))
    await journal.execute(ORG, THREAD, start())
    lagging = Journal(store, LaggingViews(store, old))
    with pytest.raises(StaleError):
        await lagging.execute(ORG, THREAD, start())
    assert (await lagging.execute(ORG, THREAD, step(1))).appended is not None


class Interrupted(Journal):
    """Reads the log's end and a snapshot in a given order; in between the thread goes on, and its view with it."""

    def __init__(self, store: Store, go_on: Callable[[], Awaitable[Loaded]], *, snapshot_first: bool) -> None:
        super().__init__(store, views := InterruptedViews(store, self))
        self.views, self.go_on, self.snapshot_first = views, go_on, snapshot_first
        self.has_gone_on = asyncio.Event()

    async def newest(self, org: OrgId, thread: ThreadId) -> int:
        if self.snapshot_first:
            await self.has_gone_on.wait()
            return await super().newest(org, thread)
        newest = await super().newest(org, thread)
        self.views.seen = await self.go_on()
        self.has_gone_on.set()
        return newest


class InterruptedViews(Views):
    """Shows a thread as it was seen last."""

    def __init__(self, store: Store, journal: Interrupted) -> None:
        super().__init__(store)
        self._journal = journal
        self.seen: Loaded

    async def snapshot(self, org: OrgId, thread: ThreadId) -> ThreadView | None:  # noqa: ARG002  whatever is asked
        if not self._journal.snapshot_first:
            await self._journal.has_gone_on.wait()
        seen = self.seen
        if self._journal.snapshot_first:
            await self._journal.go_on()
            self._journal.has_gone_on.set()
        return ThreadView(fold_version=FOLD_VERSION, sequence=seen.sequence, state=seen.state)


@pytest.mark.parametrize("snapshot_first", [True, False])
async def test_whichever_of_the_logs_end_and_the_snapshot_is_older_a_load_is_as_new_as_the_newer(
    store: Store, journal: Journal, *, snapshot_first: bool
) -> None:
    asked = await journal.execute(ORG, THREAD, send())

    async def go_on() -> Loaded:
        await journal.execute(ORG, THREAD, start())
        return await journal.load(ORG, THREAD)

    interrupted = Interrupted(store, go_on, snapshot_first=snapshot_first)
    interrupted.views.seen = Loaded(asked.state, asked.sequence)
    async with asyncio.timeout(WAIT_S):
        loaded = await interrupted.load(ORG, THREAD)
    assert await journal.load(ORG, THREAD) == loaded
    assert loaded.state.active is not None
    assert 1 == loaded.state.active.attempt


class LaggingReplica(DirectGet):
    """A replica that is some events behind the leader for its first reads."""

    def __init__(self, store: Store, *, hidden: int, reads: int) -> None:
        super().__init__(store.nc)
        self._hidden, self._reads = hidden, reads

    async def batch(
        self, stream: str, subject: str, after: int, *, timeout_s: float, count: int = BATCH
    ) -> tuple[list[Msg], bool]:
        messages, is_more = await super().batch(stream, subject, after, timeout_s=timeout_s, count=count)
        if self._reads:
            self._reads -= 1
            messages = messages[: -self._hidden]
        return messages, is_more


@asynccontextmanager
async def lagging_behind(store: Store, hidden: int) -> AsyncIterator[Journal]:
    """A journal whose reads are answered late."""
    late = Store(store.nc)
    late._direct = LaggingReplica(store, hidden=hidden, reads=3)  # noqa: SLF001  where replicas differ
    async with late:
        yield journal_over(late)


@pytest.mark.parametrize("hidden", [1, 2])
async def test_a_replica_that_lags_shows_in_no_decision(store: Store, journal: Journal, hidden: int) -> None:
    asked = await journal.execute(ORG, THREAD, send())
    await journal.execute(ORG, THREAD, start())
    # Without its newest events the thread is free, the message new, and the run not started.
    async with lagging_behind(store, hidden) as lagging:
        same = await lagging.execute(ORG, THREAD, send(run="another"))
    assert (None, asked.sequence + 1) == (same.appended, same.sequence)
    async with lagging_behind(store, hidden) as lagging:
        with pytest.raises(RefusedError, match="run_active"):
            await lagging.execute(ORG, THREAD, send("m2", "r2"))
    async with lagging_behind(store, hidden) as lagging:
        with pytest.raises(StaleError):
            await lagging.execute(ORG, THREAD, start())


async def test_an_event_whose_ack_was_lost_is_found_though_another_writer_appended_behind_it(
    own_broker: EmbeddedBroker, journal: Journal
) -> None:
    await journal.execute(ORG, THREAD, send())
    async with asyncio.timeout(WAIT_S), proxied(own_broker.port) as proxy, far(proxy) as doubtful:
        acked = asyncio.Event()

        def hold(message: bytes) -> list[bytes]:
            if is_ack(message):
                proxy.talks.clear()
                acked.set()
                return []
            return [message]

        proxy.treat = hold
        starting = asyncio.create_task(doubtful.execute(ORG, THREAD, start()))
        await acked.wait()
        behind = await journal.execute(ORG, THREAD, step(1))
        proxy.heal()
        proxy.talks.set()
        proxy.cut()
        executed = await starting
    assert executed.appended is not None
    assert executed.sequence == behind.sequence - 1
    events = await recorded(journal)
    assert ["run_requested", "run_started", "step_completed"] == [found.event.type for found in events]
    assert events[1] == executed.appended


async def test_an_append_that_arrives_after_its_writer_has_looked_for_it_is_still_its_own(
    store: Store, journal: Journal
) -> None:
    await journal.execute(ORG, THREAD, send())
    publish: Callable[..., Awaitable[int]] = store.publish
    delayed: list[tuple[object, ...]] = []

    async def late(*args: object, **_: object) -> int:
        if not delayed:
            delayed.append(args)
            raise TimeoutError
        await publish(*delayed[0])
        return await publish(*args)

    store.publish = late  # type: ignore[method-assign]
    async with asyncio.timeout(WAIT_S):
        executed = await journal.execute(ORG, THREAD, start())
    events = await recorded(journal)
    assert ["run_requested", "run_started"] == [found.event.type for found in events]
    assert events[1] == executed.appended


async def test_an_event_whose_ack_was_lost_is_found_though_a_newer_version_wrote_behind_it(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await journal.execute(ORG, THREAD, send())
    publish: Callable[..., Awaitable[int]] = store.publish

    async def lost(*args: object) -> int:
        monkeypatch.setattr(store, "publish", publish)
        await publish(*args)
        await publish(subjects.EVENTS_STREAM, subjects.event(ORG, THREAD, "thread_sang"), b'{"type":"thread_sang"}')
        raise TimeoutError

    monkeypatch.setattr(store, "publish", lost)
    async with asyncio.timeout(WAIT_S):
        executed = await journal.execute(ORG, THREAD, start())
    assert executed.appended is not None
    assert [executed.appended] == await journal.events(ORG, THREAD, after=asked.sequence)


async def test_of_two_writers_that_both_lost_their_acks_one_appended_and_both_know(
    own_broker: EmbeddedBroker, journal: Journal
) -> None:
    async with asyncio.timeout(WAIT_S), proxied(own_broker.port) as proxy, far(proxy) as one, far(proxy) as two:
        proxy.lose(is_ack, times=1)
        answers = await asyncio.gather(
            one.execute(ORG, THREAD, send()), two.execute(ORG, THREAD, send(run="r2")), return_exceptions=False
        )
    assert 1 == proxy.lost
    assert 1 == sum(answer.appended is not None for answer in answers)
    first = answers[0].state.active, answers[1].state.active
    assert first[0] == first[1]
    assert ["run_requested"] == await types(journal)


async def test_every_acknowledged_event_is_there_once_though_the_broker_is_killed_again_and_again(
    own_broker: EmbeddedBroker, store: Store, journal: Journal
) -> None:
    threads = [ThreadId(f"t{nth}") for nth in range(4)]
    steps = 40
    appended: dict[ThreadId, list[str]] = {thread: [] for thread in threads}
    progress = asyncio.Semaphore(0)

    async def work(thread: ThreadId) -> None:
        commands: list[Send | Start | CompleteStep] = [send(), start(), *map(step, range(1, steps + 1))]
        for command in commands:
            executed = await patiently(partial(journal.execute, ORG, thread, command))
            if executed.appended is not None:
                appended[thread].append(executed.appended.event_id)
            progress.release()

    async def kill() -> None:
        for _ in range(3):
            for _ in range(30):
                await progress.acquire()
            await asyncio.to_thread(own_broker.kill)
            await asyncio.to_thread(own_broker.start)

    async with asyncio.timeout(60):
        await asyncio.gather(*map(work, threads), kill())
    for thread in threads:
        events = await journal.events(ORG, thread, after=0, until=await journal.newest(ORG, thread))
        assert ["run_requested", "run_started", *["step_completed"] * steps] == [found.event.type for found in events]
        assert appended[thread] == [found.event_id for found in events]
    assert store.nc.is_connected


async def test_an_event_that_is_too_large_is_refused_at_once_and_the_connection_lives(
    store: Store, journal: Journal
) -> None:
    async with asyncio.timeout(WAIT_S):
        for size in (store.nc.max_payload, store.nc.max_payload - 1000):
            with pytest.raises(MessageTooLargeError):
                await journal.execute(ORG, THREAD, send(said="x" * size))
        assert [] == await types(journal)
        await journal.execute(ORG, THREAD, send())


async def test_a_stream_that_is_missing_is_an_error_and_no_empty_thread(store: Store, journal: Journal) -> None:
    await store.js.delete_stream(subjects.EVENTS_STREAM)
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(Exception, match="10059"):
            await patiently(lambda: journal.execute(ORG, THREAD, send()))
