"""Automations with three reactors as processes, which are killed around the instant at which something is due."""

import asyncio
import random
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.automations import Claim
from decopilot.contracts.events import Recorded
from decopilot.contracts.ids import ThreadId
from decopilot.log.store import Store
from support.automations import NAME, ledger, requested, runs, write_configuration
from support.services import ORG, Record, Service, Services, until
from support.threads import Threads

SECOND = timedelta(seconds=1)


@pytest.fixture
def services(own_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Services]:
    started = Services(tmp_path, own_broker.url)
    yield started
    started.end()


class Crew:
    """Reactors and command, all with one automation."""

    def __init__(self, services: Services, **automation: object) -> None:
        self._services = services
        self._config = write_configuration(services.folder / "decopilot.toml", **automation)
        self.working: list[Service] = []

    async def start(self, *names: str) -> None:
        started = [self._services.start(name, config=self._config) for name in names]
        self.working += started
        await asyncio.gather(*(service.ready() for service in started))

    async def kill(self) -> None:
        """Kill all that work, at once."""
        for service in self.working:
            service.send(signal.SIGKILL)
        for service in self.working:
            await service.ended()
        self.working.clear()

    def complaints(self) -> list[object]:
        return [line for service in self._services.started for line in service.complaints()]


def due_of(recorded: Recorded) -> datetime:
    """Tell for when a thread was due, by its name."""
    return datetime.strptime(recorded.thread.removeprefix(f"auto_{NAME}_"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)


async def fired(store: Store, count: int) -> list[Recorded]:
    """Wait for so many runs."""

    async def look() -> list[Recorded]:
        found = await runs(store)
        return found if len(found) >= count else []

    return await until(look)


async def claimed(store: Store) -> Claim:
    """Wait for a claim."""

    async def look() -> tuple[Claim, ...]:
        return (await ledger(store)).claims

    return (await until(look))[0]


async def test_with_three_reactors_each_due_time_begins_one_run_and_none_before_it(
    services: Services, record: Record
) -> None:
    tracked = await record.store.nc.subscribe(subjects.track(ORG, "*"))
    crew = Crew(services, schedule="*/2 * * * * *", at_once=1_000)
    await crew.start("command", "reactor", "reactor", "reactor")
    found = await fired(record.store, 4)
    dues = [due_of(recorded) for recorded in found]
    # A claim that `command` did not answer in time is asked for again, maybe behind the next one.
    assert sorted(set(dues)) == sorted(dues)
    for recorded, due in zip(found, dues, strict=True):
        assert 0 == due.second % 2
        assert due <= recorded.at
        assert f"automation:{NAME}" == requested(recorded).user_id
    await record.store.nc.flush()
    assert 0 == tracked.pending_msgs
    assert [] == crew.complaints()


async def test_what_was_claimed_begins_though_all_reactors_died_before_they_could_ask_for_it(
    services: Services, record: Record
) -> None:
    crew = Crew(services, schedule="* * * * * *", at_once=1)
    # Without command, whoever claims has nobody to ask.
    await crew.start("reactor", "reactor", "reactor")
    claim = await claimed(record.store)
    await crew.kill()
    assert [] == await runs(record.store)
    await crew.start("command", "reactor")
    (begun,) = await fired(record.store, 1)
    assert claim.thread == begun.thread


async def test_of_what_was_due_while_no_reactor_ran_the_latest_begins_when_one_does(
    services: Services, record: Record
) -> None:
    crew = Crew(services, schedule="* * * * * *", at_once=1)
    await crew.start("command", "reactor", "reactor", "reactor")
    (first,) = await fired(record.store, 1)
    await crew.kill()
    await Threads(record.journal, ORG).complete(first.thread)
    decided = (await ledger(record.store)).decided
    assert decided is not None

    async def has_missed_several() -> bool:
        return datetime.now(UTC) >= decided + 3 * SECOND

    await until(has_missed_several)
    back_at = datetime.now(UTC)
    await crew.start("command", "reactor")
    _, second = await fired(record.store, 2)
    assert due_of(second) > back_at - SECOND
    assert 2 == len(await runs(record.store))


async def test_whoever_is_killed_whenever_no_due_time_begins_twice_and_none_that_was_claimed_is_lost(
    services: Services, record: Record, chance: random.Random
) -> None:
    crew = Crew(services, schedule="* * * * * *", at_once=1_000)
    await crew.start("command", "reactor", "reactor", "reactor")
    await fired(record.store, 1)
    instant = datetime.now(UTC).replace(microsecond=0) + SECOND + timedelta(seconds=chance.uniform(-0.02, 0.05))

    async def has_come() -> bool:
        return datetime.now(UTC) >= instant

    await until(has_come)
    await crew.kill()
    claims = (await ledger(record.store)).claims
    await crew.start("command", "reactor")

    async def all_have_begun() -> bool:
        newest = [await record.journal.newest(ORG, ThreadId(claim.thread)) for claim in claims]
        return all(newest)

    await until(all_have_begun)
    begun = [recorded.thread for recorded in await runs(record.store)]
    assert sorted(set(begun)) == sorted(begun)
