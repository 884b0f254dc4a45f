"""Automations: what is due begins once, however many keep the time, and whoever is away at that instant."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.commands import SEND_MESSAGE, Refused
from decopilot.contracts.events import RunFailed
from decopilot.contracts.ids import ThreadId
from decopilot.domain.commands import RefusedError
from decopilot.kit.settings import Settings
from decopilot.log.automations import ASK_AGAIN, Automations
from decopilot.log.store import UNCERTAIN
from decopilot_command.app import build as build_command
from decopilot_reactor.automating import Clockwork
from support.automations import NAME, clockwork, ledger, plan, requested, runs, write_configuration
from support.brokers import as_user
from support.reactors import reactors
from support.services import ORG, Record, running, until
from support.stack import free_port
from support.threads import Threads

EIGHT = datetime(2026, 5, 4, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
THREAD = ThreadId("auto_report_20260504080000")


@pytest.fixture
def threads(record: Record) -> Threads:
    return Threads(record.journal, ORG)


class Clock:
    """A clock that goes when the test says so."""

    def __init__(self, now: datetime = EIGHT - HOUR / 2) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@asynccontextmanager
async def command(settings: Settings) -> AsyncIterator[None]:
    port = free_port()
    async with running(build_command(as_user(settings.model_copy(update={"health_port": port}), "command")), port):
        yield


async def look(copies: list[Clockwork], **more: object) -> None:
    """Have all copies look at once."""
    await asyncio.gather(*(copy.look(plan(**more)) for copy in copies))


async def threads_begun(record: Record) -> list[str]:
    return [recorded.thread for recorded in await runs(record.store)]


async def test_what_is_due_begins_once_however_many_look_and_is_no_users_message(
    settings: Settings, record: Record
) -> None:
    clock = Clock()
    copies = [clockwork(record, clock) for _ in range(3)]
    tracked = await record.store.nc.subscribe(subjects.track(ORG, "*"))
    async with command(settings):
        await look(copies)
        assert [] == await runs(record.store)
        clock.now = EIGHT
        await look(copies)
        clock.now = EIGHT + ASK_AGAIN
        await look(copies)
    (begun,) = await runs(record.store)
    event = requested(begun)
    assert event.thread is not None
    assert (THREAD, "automation:report", "Automation: report", True, "org") == (
        begun.thread,
        event.thread.owner,
        event.thread.title,
        event.thread.is_titled,
        event.thread.visibility,
    )
    assert ("auto", 300) == (event.config.tool_approval_level, event.config.time_limit_s)
    assert event.message is not None
    assert "Sum up." == event.message.text
    await record.store.nc.flush()
    assert 0 == tracked.pending_msgs


async def test_a_claim_whose_claimer_died_is_fulfilled_by_any_other(settings: Settings, record: Record) -> None:
    clock = Clock()
    other = clockwork(record, clock)
    await other.look(plan())
    clock.now = EIGHT
    # What a reactor does before it is killed.
    (claim,) = (await Automations(record.store, record.journal).look(plan(), EIGHT)).asked
    async with command(settings):
        # It may only be slow.
        assert ASK_AGAIN.total_seconds() == await other.look(plan())
        assert [] == await runs(record.store)
        clock.now = EIGHT + ASK_AGAIN
        await other.look(plan())
    assert [claim.thread] == await threads_begun(record)


async def test_without_command_it_begins_as_soon_as_there_is_one_and_once(settings: Settings, record: Record) -> None:
    clock = Clock()
    copies = [clockwork(record, clock) for _ in range(3)]
    await look(copies)
    clock.now = EIGHT
    found = await asyncio.gather(*(copy.look(plan()) for copy in copies), return_exceptions=True)
    assert [NoRespondersError] == [type(error) for error in found if isinstance(error, BaseException)]
    async with command(settings):
        clock.now = EIGHT + 2 * HOUR - timedelta(seconds=1)
        await look(copies, at_once=1)
    # What was due at nine, too, found its place taken.
    assert [THREAD] == await threads_begun(record)
    skipped = (await ledger(record.store)).skipped
    assert skipped is not None
    assert (EIGHT + HOUR, "at_once") == (skipped.due, skipped.reason)


async def test_with_the_broker_away_it_begins_after_its_return_and_once(
    settings: Settings, own_broker: EmbeddedBroker, record: Record
) -> None:
    clock = Clock()
    copies = [clockwork(record, clock) for _ in range(3)]
    await look(copies)
    clock.now = EIGHT
    own_broker.kill()
    found = await asyncio.gather(*(copy.look(plan()) for copy in copies), return_exceptions=True)
    assert all(isinstance(error, UNCERTAIN) for error in found)
    own_broker.restart()

    async def is_back() -> bool:
        return record.store.nc.is_connected

    await until(is_back)
    async with command(settings):
        await look(copies)
        clock.now = EIGHT + ASK_AGAIN
        await look(copies)
    assert [THREAD] == await threads_begun(record)


async def test_clocks_that_differ_make_one_run_of_one_due_time(settings: Settings, record: Record) -> None:
    skews = [timedelta(seconds=seconds) for seconds in (-40, 0, 40)]
    clocks = [Clock(EIGHT - HOUR / 2 + skew) for skew in skews]
    copies = [clockwork(record, clock) for clock in clocks]
    async with command(settings):
        for minute in range(120):
            for clock in clocks:
                clock.now += timedelta(minutes=1)
            if minute % 30 in {0, 28, 29}:
                await look(copies)
    assert [THREAD, "auto_report_20260504090000"] == await threads_begun(record)


async def test_copies_whose_configurations_differ_make_one_run_of_one_due_time(
    settings: Settings, record: Record
) -> None:
    clock = Clock()
    old, new = clockwork(record, clock), clockwork(record, clock)
    async with command(settings):
        await old.look(plan())
        clock.now = EIGHT
        await asyncio.gather(old.look(plan()), new.look(plan(message="Sum up well.")))
        clock.now = EIGHT + ASK_AGAIN
        await asyncio.gather(old.look(plan()), new.look(plan(message="Sum up well.")))
    assert [THREAD] == await threads_begun(record)
    assert None is (await ledger(record.store)).skipped


async def test_its_places_are_counted_over_all_who_claim(record: Record) -> None:
    automations, three = Automations(record.store, record.journal), plan(at_once=3)
    claims = (automations.claim(three, three.thread_fired(f"f{number}"), EIGHT) for number in range(8))
    found = await asyncio.gather(*claims, return_exceptions=True)
    refused = [error for error in found if isinstance(error, RefusedError)]
    assert (5, {"automation_busy"}) == (len(refused), {error.code for error in refused})
    assert 3 == len((await ledger(record.store)).claims)


async def test_a_place_is_free_again_when_its_run_has_ended(
    settings: Settings, record: Record, threads: Threads
) -> None:
    clock, one = Clock(), {"at_once": 1}
    copy = clockwork(record, clock)
    async with command(settings):
        for clock.now in (EIGHT - HOUR / 2, EIGHT, EIGHT + HOUR):
            await copy.look(plan(**one))
        await threads.complete(THREAD)
        clock.now = EIGHT + 2 * HOUR
        await copy.look(plan(**one))
    assert [THREAD, "auto_report_20260504100000"] == await threads_begun(record)
    fired = (await ledger(record.store)).fired
    assert fired is not None
    assert THREAD == fired.thread


async def test_one_that_is_inactive_or_gone_begins_nothing_and_nothing_of_it_is_asked_for(
    settings: Settings, record: Record
) -> None:
    clock = Clock()
    copy = clockwork(record, clock)
    async with command(settings):
        for clock.now in (EIGHT - HOUR / 2, EIGHT + HOUR / 2, EIGHT + 2 * HOUR):
            await copy.look(plan(active=False))
        # Active again it begins now, and is due at eleven.
        await copy.look(plan())
        assert [] == await runs(record.store)
        clock.now = EIGHT + 3 * HOUR
        await copy.look(plan())
    assert ["auto_report_20260504110000"] == await threads_begun(record)


async def test_a_thread_that_somebody_else_has_is_left_alone(settings: Settings, record: Record) -> None:
    await record.send(THREAD, "mine")
    clock = Clock()
    copy = clockwork(record, clock)
    async with command(settings):
        for clock.now in (EIGHT - HOUR / 2, EIGHT, EIGHT + ASK_AGAIN):
            await copy.look(plan())
    assert ["run_requested"] == await record.event_types(THREAD)
    after = await ledger(record.store)
    assert after.skipped is not None
    assert ((), "thread_taken") == (after.claims, after.skipped.reason)


@pytest.mark.parametrize(("code", "claims"), [("forbidden", 0), ("storage_full", 1), ("of_a_newer_version", 1)])
async def test_what_command_refuses_for_good_is_given_up_and_all_else_is_asked_for_again(
    record: Record, code: str, claims: int
) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(Refused(code=code, detail="No.").model_dump_json().encode())

    await record.store.nc.subscribe(subjects.command(SEND_MESSAGE), cb=answer)
    clock = Clock()
    copy = clockwork(record, clock)
    await copy.look(plan())
    clock.now = EIGHT
    await copy.look(plan())
    after = await ledger(record.store)
    assert claims == len(after.claims)
    assert (None if claims else code) == (after.skipped.reason if after.skipped else None)


async def test_a_run_that_takes_longer_than_its_automation_gives_it_is_timed_out(
    settings: Settings, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_configuration(tmp_path / "decopilot.toml", schedule="* * * * * *", at_once=1, time_limit_s=1)
    monkeypatch.setenv("DECOPILOT_CONFIG", str(path))
    async with command(settings), reactors(settings):

        async def first() -> str | None:
            return next(iter(await threads_begun(record)), None)

        thread = await until(first)
        assert thread is not None
        run = requested((await record.events(thread))[0]).run_id
        end = await record.end_of(thread, run)
    assert isinstance(end, RunFailed)
    assert "timed_out" == end.reason
    # Watchers hear of it as of any thread.
    kinds = [told["type"] for told in await record.watched(thread)]
    assert ["decopilot.thread.status", "decopilot.thread.status", "decopilot.finish"] == kinds
    assert NAME in thread
