"""Services whose clocks are wrong by an hour: what is judged by the age of what is stored is judged as ever."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.cli.chaos.faults import clocks
from decopilot.cli.chaos.faults.clocks import Clock, NoFaketimeError, Skew
from decopilot.contracts.events import Recorded, RunCompleted, RunStarted
from decopilot.log.store import Store
from support.services import Record, Services, until

HOUR_S = 3600.0
NEAR_S = 60.0


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


@pytest.fixture
def services(own_broker: EmbeddedBroker, tmp_path: Path, clock: Clock) -> Iterator[Services]:
    started = Services(tmp_path, own_broker.url, clock.environment())
    yield started
    started.end()


async def off_s(record: Record, thread: str) -> float:
    """By how much the clock of whoever began a thread's run differs from the broker's."""

    async def look() -> list[Recorded]:
        return [recorded for recorded in await record.events(thread) if isinstance(recorded.event, RunStarted)]

    (started,) = await until(look)
    assert started.stored_at is not None
    return (started.event.at - started.stored_at).total_seconds()


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_run_ends_and_is_purged_as_ever_while_the_clocks_of_runner_and_reactor_are_wrong(
    services: Services, store: Store, clock: Clock, hours: int
) -> None:
    record = Record.of(store)
    # One that is ahead would end the run as silent and purge it at once; one that is behind would never purge it.
    grace_s = 300 if hours > 0 else 0.5
    started = [
        services.start("runner"),
        services.start("reactor", look_s=0.3, purge_grace_s=grace_s),
    ]
    for service in started:
        await service.ready()
    skew = Skew("runner, reactor", clock, hours * HOUR_S)
    await skew.begin()
    run = await record.send("t1", "/count 30 100")
    assert abs(await off_s(record, "t1") - hours * HOUR_S) < NEAR_S
    assert isinstance(await record.end_of("t1", run), RunCompleted)
    if hours > 0:
        # What looks after runs has looked at this one, and at its end.
        await only_its_end_is_looked_after(record)
        assert len(await record.frames_of("t1", run)) > 1
    else:

        async def is_purged() -> bool:
            return len(await record.frames_of("t1", run)) == 1

        await until(is_purged)
    await skew.end()
    await skew.end()
    await record.send("t2", "/count 1 0")
    assert abs(await off_s(record, "t2")) < NEAR_S
    assert [[], []] == [service.complaints() for service in started]


async def only_its_end_is_looked_after(record: Record) -> None:
    async def look() -> bool:
        info = await record.consumer("janitor")
        return (info.num_pending, info.num_ack_pending) == (0, 1) and info.num_redelivered == 1

    await until(look)


def test_where_there_is_no_libfaketime_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "faketime", lambda: None)
    with pytest.raises(NoFaketimeError, match="pip install"):
        Clock(tmp_path / "clock").environment()
