"""Limits: over any number of copies nobody gets more than they may, and nobody else anything less."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import aiohttp
import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.commands import (
    REGENERATE_ANSWER,
    RESOLVE_INTERACTIONS,
    SEND_MESSAGE,
    WITHDRAW_MESSAGE,
    Accepted,
    Refused,
    RegenerateAnswer,
    Reply,
    SendMessage,
    decode_reply,
)
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.events import RunRequested, UnknownEventError
from decopilot.contracts.ids import OrgId, RunId, ThreadId, UserId
from decopilot.domain.commands import Delete, RefusedError
from decopilot.domain.quotas import UNLIMITED, Quotas, who_asks, window_of
from decopilot.kit.settings import Settings
from decopilot.log.blobs import Blobs
from decopilot.log.capacity import Capacity
from decopilot.log.counts import Counts
from decopilot.log.history import Histories
from decopilot.log.places import CLAIM_S, Places
from decopilot.log.store import Store
from decopilot_command import limiting
from decopilot_command.app import build
from decopilot_command.branching import Brancher
from decopilot_command.carrying import Carrier
from decopilot_command.choosing import Chooser
from decopilot_command.executing import Executor
from decopilot_command.giving_up import Tries
from decopilot_command.limiting import Limiter
from decopilot_command.sending import Sender
from decopilot_command.tracking import Tracker
from decopilot_command.waking import Bell
from decopilot_reactor.placing import Placer
from support.gateways import running_gateway
from support.proxy import is_ack, proxied
from support.services import ORG, USER, Record, Service, Services, running, until
from support.stack import free_port
from support.threads import Threads, approval
from support.viewer import Api


@pytest.fixture
def threads(record: Record) -> Threads:
    return Threads(record.journal, ORG)


@pytest.fixture
def places(record: Record) -> Places:
    return Places(record.store)


@pytest.fixture
def services(tmp_path: Path, broker_url: str) -> Iterator[Services]:
    started = Services(tmp_path, broker_url)
    yield started
    started.end()


async def commands(services: Services, **limits: int) -> list[Service]:
    """Two copies with these limits."""
    copies = [services.start("command", **limits) for _ in range(2)]
    await asyncio.gather(*(copy.ready() for copy in copies))
    return copies


async def ask(record: Record, name: str, **body: object) -> Reply:
    wished = {"org": ORG, "user": "ada", "role": "member"} | body
    reply = await record.store.nc.request(subjects.command(name), json.dumps(wished).encode(), timeout=8)
    return decode_reply(reply.data)


async def send(record: Record, thread: str, message: str = "m1", **more: object) -> Reply:
    said = {"id": message, "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
    return await ask(record, SEND_MESSAGE, thread=thread, message=said, config={}, **more)


async def sent_at_once(record: Record, count: int, prefix: str, **more: str) -> Counter[str]:
    """What became of messages to so many new threads."""
    answers = await asyncio.gather(*(send(record, f"{prefix}{number}", **more) for number in range(count)))
    return Counter(answer.code if isinstance(answer, Refused) else answer.type for answer in answers)


def executor(record: Record, quotas: Quotas, now: Callable[[], datetime]) -> Executor:
    limiter = Limiter(Counts(record.store), Places(record.store), quotas, now=now)
    return Executor(record.journal, Capacity(record.store), limiter, Tries(record.store.nc))


def sender(record: Record, quotas: Quotas, *, now: datetime | Callable[[], datetime]) -> Sender:
    """A copy of `command` whose clock stands, unless the test moves it."""
    clock = now if callable(now) else lambda: now
    executing = executor(record, quotas, clock)
    return Sender(executing, Tracker(record.store.nc), Bell(record.store.nc), Chooser(Configuration()))


def brancher(record: Record, quotas: Quotas, *, now: datetime) -> Brancher:
    histories, carrier = Histories(record.journal, record.views), Carrier(Blobs(record.store))
    return Brancher(executor(record, quotas, lambda: now), Chooser(Configuration()), histories, carrier)


async def enough_of_the_minute() -> None:
    """Wait for another minute if this one ends in the midst of what follows."""
    if (left_s := 60 - datetime.now(UTC).timestamp() % 60) < 15:
        await asyncio.sleep(left_s)


async def test_of_messages_at_once_two_copies_take_as_many_as_a_minute_allows(
    record: Record, services: Services
) -> None:
    await commands(services, messages_per_user=20, messages_per_org=30)
    await enough_of_the_minute()
    assert {"accepted": 20, "too_many_messages": 40} == await sent_at_once(record, 60, "ada")
    _, left_s = window_of(datetime.now(UTC))
    refused = await send(record, "more")
    assert isinstance(refused, Refused)
    assert refused.retry_after_s is not None
    assert 1 <= refused.retry_after_s <= left_s
    assert [] == await record.events("more")
    # What was taken before is told again, and was never refused.
    assert {"accepted": 20} == +Counter(
        {"accepted": sum([isinstance(await send(record, f"ada{number}"), Accepted) for number in range(60)])}
    )
    assert {"accepted": 10, "too_many_messages": 20} == await sent_at_once(record, 30, "bob", user="bob")
    assert {"accepted": 20} == await sent_at_once(record, 20, "cy", user="cy", org="other")


async def test_what_is_refused_or_repeated_is_not_counted_and_the_next_minute_begins_anew(record: Record) -> None:
    quotas = replace(UNLIMITED, messages_per_user=2)
    at = datetime(2026, 1, 1, 12, 0, 15, tzinfo=UTC)
    first, second = sender(record, quotas, now=at), sender(record, quotas, now=at)
    later = sender(record, quotas, now=at.replace(minute=1))

    assert "in_progress" == await status(first, "t1")
    for _ in range(5):
        assert "in_progress" == await status(second, "t1")
        assert "run_active" == (await refusal(second, "t1", "m2", on_conflict="reject")).code
    assert "queued" == await status(second, "t1", "m2")
    for by in (first, second, first):
        refused = await refusal(by, "t2")
        assert ("too_many_messages", 45) == (refused.code, refused.retry_after_s)
    assert "in_progress" == await status(first, "t1")
    assert "in_progress" == await status(later, "t2")


async def test_who_was_refused_beside_what_is_given_back_is_let_in_again_in_the_same_minute(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiting, "SPENT_S", 0.2)
    at, counts = datetime(2026, 1, 1, 12, 0, 15, tzinfo=UTC), Counts(record.store)
    copy = sender(record, replace(UNLIMITED, messages_per_user=1), now=at)
    # Another request of theirs that is counted, and refused, at this moment.
    beside = OrgId(ORG), who_asks("member", UserId("ada")), window_of(at)[0]
    await counts.add(*beside)
    assert "too_many_messages" == (await refusal(copy, "t1")).code
    await counts.add(*beside, -1)

    async def is_let_in() -> bool:
        with suppress(RefusedError):
            return "in_progress" == await status(copy, "t1")
        return False

    await until(is_let_in)


async def test_a_copy_that_refused_at_the_end_of_a_minute_takes_what_comes_at_the_beginning_of_the_next(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiting, "SPENT_S", 60)
    at = datetime(2026, 1, 1, 12, 0, 59, 500_000, tzinfo=UTC)
    copy = sender(record, replace(UNLIMITED, messages_per_user=1), now=lambda: at)
    assert "in_progress" == await status(copy, "t1")
    for _ in range(2):
        refused = await refusal(copy, "t2")
        assert ("too_many_messages", 1) == (refused.code, refused.retry_after_s)
    at = at.replace(minute=1, second=0, microsecond=100_000)
    assert "in_progress" == await status(copy, "t2")


async def test_what_only_a_newer_copy_can_decide_is_not_counted_and_holds_no_place(
    record: Record, threads: Threads, places: Places
) -> None:
    quotas, at = replace(UNLIMITED, messages_per_user=2), datetime(2026, 1, 1, 12, 0, 15, tzinfo=UTC)
    copy, another = sender(record, quotas, now=at), brancher(record, quotas, now=at)
    assert "in_progress" == await status(copy, "t1")
    (first,) = await places.of_thread(ORG, ThreadId("t1"))
    await threads.complete("t1")
    again = RegenerateAnswer(org=ORG, thread="t1", user="ada", role="member", run_id="again", config={})
    unknown = await record.sing("t1")
    for _ in range(3):
        with pytest.raises(UnknownEventError):
            await copy.send(wished("t1", "m2"))
        with pytest.raises(UnknownEventError):
            await another.regenerate(again)
    assert 1 == await Counts(record.store).add(OrgId(ORG), who_asks("member", UserId("ada")), window_of(at)[0], 0)
    assert [first] == await places.of_thread(ORG, ThreadId("t1"))
    # As for a copy that can read it.
    await record.store.js.delete_msg(subjects.EVENTS_STREAM, unknown)
    assert "in_progress" == (await another.regenerate(again)).status


def wished(thread: str, message: str, **more: object) -> SendMessage:
    said = {"id": message, "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
    asked = {"org": ORG, "thread": thread, "user": "ada", "role": "member", "message": said, "config": {}}
    return SendMessage.model_validate(asked | more)


async def status(by: Sender, thread: str, message: str = "m1") -> str:
    return (await by.send(wished(thread, message))).status


async def refusal(by: Sender, thread: str, message: str = "m1", **more: object) -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        await by.send(wished(thread, message, **more))
    return refused.value


async def test_of_runs_at_once_two_copies_begin_as_many_as_may_go_on_and_the_next_when_one_has_ended(
    record: Record, threads: Threads, services: Services
) -> None:
    reactor, _ = services.start("reactor"), await commands(services, runs_per_user=5, runs_per_org=8)
    await reactor.ready()
    assert {"accepted": 5, "too_many_runs": 95} == await sent_at_once(record, 100, "ada")
    assert {"accepted": 3, "too_many_runs": 17} == await sent_at_once(record, 20, "bob", user="bob")
    assert {"accepted": 5} == await sent_at_once(record, 5, "cy", user="cy", org="other")
    begun = [thread for thread in (f"ada{number}" for number in range(100)) if await record.events(thread)]
    assert 5 == len(begun)
    refused = await send(record, "more")
    assert isinstance(refused, Refused)
    assert 10 == refused.retry_after_s
    await threads.complete(begun[0])
    await until(lambda: is_accepted(record, "next"))
    assert {"too_many_runs": 20} == await sent_at_once(record, 20, "again")


async def is_accepted(record: Record, thread: str) -> bool:
    return isinstance(await send(record, thread), Accepted)


async def test_a_thread_that_waits_for_a_person_has_no_place_and_needs_one_to_go_on(
    record: Record, threads: Threads, places: Places, services: Services
) -> None:
    reactor, _ = services.start("reactor"), await commands(services, runs_per_user=1)
    await reactor.ready()
    assert isinstance(await send(record, "t1"), Accepted)
    await threads.wait("t1", approval())
    await until(lambda: is_accepted(record, "t2"))
    said = {"kind": "approval", "approval_id": "approval_1", "approved": True}
    refused = await ask(record, RESOLVE_INTERACTIONS, thread="t1", resolutions=[said])
    assert isinstance(refused, Refused)
    assert "too_many_runs" == refused.code
    assert (await threads.state("t1")).waiting is not None
    await threads.complete("t2")

    async def is_resolved() -> bool:
        return isinstance(await ask(record, RESOLVE_INTERACTIONS, thread="t1", resolutions=[said]), Accepted)

    await until(is_resolved)
    assert ["t1"] == [place.thread for place in await places.of_thread(ORG, ThreadId("t1"))]
    assert {"too_many_runs": 5} == await sent_at_once(record, 5, "more")


async def test_a_queue_goes_on_in_the_place_of_its_thread(record: Record, threads: Threads, services: Services) -> None:
    reactor, _ = services.start("reactor"), await commands(services, runs_per_user=1)
    await reactor.ready()
    assert ["accepted"] * 3 == [(await send(record, "t1", f"m{number}")).type for number in range(3)]
    for _ in range(2):
        assert {"too_many_runs": 5} == await sent_at_once(record, 5, "more")
        ended = await threads.complete("t1")
        await until(lambda ended=ended: goes_on(threads, ended))  # type: ignore[misc]  # mypy knows no such lambda
    assert {"too_many_runs": 5} == await sent_at_once(record, 5, "more")
    # What waits for a person with others behind it goes on by itself once nobody is to answer: it keeps its place.
    assert isinstance(await send(record, "t1", "m3"), Accepted)
    await threads.wait("t1", approval())
    await record.drained("reactor")
    assert {"too_many_runs": 5} == await sent_at_once(record, 5, "more")
    assert "receipt" == (await ask(record, WITHDRAW_MESSAGE, thread="t1", message_id="m3")).type
    await until(lambda: is_accepted(record, "t2"))


async def goes_on(threads: Threads, ended: RunId) -> bool:
    active = (await threads.state("t1")).active
    return active is not None and active.run_id != ended


async def test_the_same_wish_twice_at_once_is_one_run_in_one_place(
    record: Record, threads: Threads, services: Services
) -> None:
    reactor, _ = services.start("reactor"), await commands(services, runs_per_user=1)
    await reactor.ready()
    assert isinstance(await send(record, "t1"), Accepted)
    await threads.complete("t1")
    await record.drained("reactor")
    await until(lambda: is_regenerated(record))
    assert [("t1", True)] == await kept(record)
    assert {"too_many_runs": 5} == await sent_at_once(record, 5, "more")


async def is_regenerated(record: Record) -> bool:
    again = [ask(record, REGENERATE_ANSWER, thread="t1", run_id="again", config={}) for _ in range(8)]
    answers = await asyncio.gather(*again)
    assert {answer.code for answer in answers if isinstance(answer, Refused)} <= {"too_many_runs"}
    return all(isinstance(answer, Accepted) for answer in answers)


async def kept(record: Record) -> list[tuple[str, bool]]:
    """Which threads have a place, and whether they keep it; once the reactor has seen to all events."""
    await record.drained("reactor")
    stored = [
        found
        async for batch in record.store.read(subjects.PLACES_STREAM, subjects.places_of(ORG), 0)
        for found in batch
    ]
    return [(found.subject.split(".")[-2], "Nats-TTL" not in found.headers) for found in stored]


async def test_what_a_copy_claimed_that_was_killed_before_it_appended_is_given_back_by_time(
    record: Record, own_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    async with proxied(own_broker.port) as proxy:
        services = Services(tmp_path, proxy.url)
        try:
            dying = services.start("command")
            await dying.ready()
            proxy.lose(lambda message: is_ack(message) and subjects.PLACES_STREAM.encode() in message)
            asked = asyncio.create_task(send(record, "t1"))
            found = await until(lambda: record.store.last(subjects.PLACES_STREAM, subjects.places_of(ORG)))
            dying.send(signal.SIGKILL)
            await dying.ended()
            asked.cancel()
            await asyncio.wait([asked])
        finally:
            services.end()
    assert [] == await record.events("t1")
    assert found is not None
    assert str(CLAIM_S) == found.headers["Nats-TTL"]


async def test_a_claim_that_nothing_came_of_holds_nobody_up_for_longer_than_its_time(record: Record) -> None:
    quotas, name = replace(UNLIMITED, runs_per_user=1), who_asks("member", "ada")  # type: ignore[arg-type]
    left = await Places(record.store, claim_s=1).claim(ORG, name, ThreadId("t1"), RunId("left"))
    assert left is not None
    copy = sender(record, quotas, now=datetime.now(UTC))
    assert "too_many_runs" == (await refusal(copy, "t2")).code

    async def is_taken() -> bool:
        try:
            return "in_progress" == await status(copy, "t2")
        except RefusedError:
            return False

    await until(is_taken)
    assert [] == await record.events("t1")


@pytest.mark.parametrize("seed", range(3))
async def test_places_are_as_the_log_has_them_in_whatever_order_and_however_often_events_are_handled(
    record: Record, threads: Threads, places: Places, seed: int
) -> None:
    chance, placer = Random(seed), Placer(record.journal, places)
    handled: list[asyncio.Task[None]] = []

    async def handle_some() -> None:
        events = await record.events("t1")
        handled.extend(
            asyncio.create_task(placer.place(event)) for event in chance.sample(events, len(events)) for _ in range(2)
        )
        await asyncio.sleep(chance.random() / 100)

    for number in range(4):
        run = await record.send("t1", "Hello", f"m{number}")
        await handle_some()
        if chance.random() < 0.5:
            await threads.wait("t1", approval(number))
        else:
            await threads.complete("t1")
        await handle_some()
    await asyncio.gather(*handled)
    assert [] == await places.of_thread(ORG, ThreadId("t1"))
    run = await record.send("t1", "Hello", "last")
    await handle_some()
    await asyncio.gather(*handled)
    assert [run] == [place.run for place in await places.of_thread(ORG, ThreadId("t1"))]


class HeldUp(Places):
    """Places that are kept only when the test says so."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.asked, self.may = asyncio.Event(), asyncio.Event()

    async def keep(self, org: OrgId, thread: ThreadId, requested: RunRequested) -> None:
        self.asked.set()
        await self.may.wait()
        await super().keep(org, thread, requested)


async def test_a_place_that_is_kept_behind_the_end_of_its_run_is_given_back(
    record: Record, threads: Threads, places: Places
) -> None:
    held_up = HeldUp(record.store)
    await record.send("t1", "Hello")
    keeping = asyncio.create_task(Placer(record.journal, held_up).place((await record.events("t1"))[0]))
    await held_up.asked.wait()
    await threads.complete("t1")
    await Placer(record.journal, places).place((await record.events("t1"))[-1])
    held_up.may.set()
    await keeping
    assert [] == await places.of_thread(ORG, ThreadId("t1"))


async def test_a_place_that_only_a_newer_reactor_can_give_back_is_left_to_it(
    record: Record, threads: Threads, places: Places
) -> None:
    placer, thread = Placer(record.journal, places), ThreadId("t1")
    run = await record.send("t1", "Hello")
    await placer.place((await record.events("t1"))[0])
    await threads.complete("t1")
    ended = (await record.events("t1"))[-1]
    unknown = await record.sing("t1")
    for _ in range(2):
        with pytest.raises(UnknownEventError):
            await placer.place(ended)
    assert [run] == [place.run for place in await places.of_thread(ORG, thread)]
    # As for a reactor that can read it, to which the event comes next.
    await record.store.js.delete_msg(subjects.EVENTS_STREAM, unknown)
    await placer.place(ended)
    assert [] == await places.of_thread(ORG, thread)


async def test_a_deleted_thread_has_no_place(record: Record, threads: Threads, places: Places) -> None:
    placer, thread = Placer(record.journal, places), ThreadId("t1")
    await record.send("t1", "Hello")
    await record.journal.execute(ORG, thread, Delete(now=datetime.now(UTC), user_id=USER, role="member"))
    events = await record.events("t1")
    await asyncio.gather(*map(placer.place, events))
    assert 1 == len(await places.of_thread(ORG, thread))
    await threads.fail("t1", "cancelled")
    await record.journal.erase(ORG, thread, before=(await record.events("t1"))[1].sequence)
    await asyncio.gather(*map(placer.place, [*events, *await record.events("t1")]))
    assert [] == await places.of_thread(ORG, thread)


async def test_limits_that_can_not_be_looked_at_hold_nobody_up(record: Record) -> None:
    for stream in (subjects.COUNTS_STREAM, subjects.PLACES_STREAM):
        await record.store.js.delete_stream(stream)
    copy = sender(record, Quotas(1, 1, 1, 1), now=datetime.now(UTC))
    assert ["in_progress"] * 3 == [await status(copy, f"t{number}") for number in range(3)]


async def test_over_http_it_is_429_with_its_code_and_when_to_come_again(settings: Settings, record: Record) -> None:
    port, limits = free_port(), replace(UNLIMITED, messages_per_user=2, runs_per_user=1)
    told = settings.model_copy(update={"health_port": port})
    await enough_of_the_minute()
    async with running(build(told, quotas=limits), port), running_gateway(settings.nats_url) as gateway:
        found = [await posted(gateway.api, f"t{number}", f"m{number}") for number in (1, 2)]
        assert [(202, None, None), (429, "too_many_runs", "10")] == found
        assert (202, None, None) == await posted(gateway.api, "t1", "m2")
        status_, code, after = await posted(gateway.api, "t1", "m3")
    assert (429, "too_many_messages") == (status_, code)
    assert after is not None
    assert 1 <= int(after) <= 60
    assert 2 == len(await record.events("t1"))


async def posted(api: Api, thread: str, message: str) -> tuple[int, str | None, str | None]:
    said = {"id": message, "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
    headers = {"Authorization": f"Bearer {api.token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            api.path(f"decopilot/threads/{thread}/messages"), json={"messages": [said]}, headers=headers
        ) as response,
    ):
        return response.status, (await response.json()).get("code"), response.headers.get("Retry-After")
