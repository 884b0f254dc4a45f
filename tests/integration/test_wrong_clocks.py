"""Clocks that are an hour wrong: what is judged by the age of what is stored is judged as ever."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.cli.chaos.faults import clocks
from decopilot.cli.chaos.faults.clocks import Clock, NoFaketimeError, Skew
from decopilot.contracts.events import RunCompleted
from decopilot.log.store import Store
from decopilot_runner.app import build as build_runner
from decopilot_runner.settings import RunnerSettings
from support.brokers import login
from support.services import Record, Services, running, until
from support.stack import free_port

HOUR_S = 3600.0
NEAR_S = 60.0
PATIENCE_S = 60.0
TELL = "import sys, time\nfor _ in sys.stdin: print(time.time(), time.monotonic(), flush=True)"


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


@pytest.fixture
def services(own_broker: EmbeddedBroker, tmp_path: Path, clock: Clock) -> Iterator[Services]:
    started = Services(tmp_path, own_broker.url, clock.environment())
    yield started
    started.end()


async def test_a_skewed_process_tells_another_time_until_the_end_and_its_monotonic_clock_goes_on(clock: Clock) -> None:
    with subprocess.Popen(  # noqa: ASYNC220  nothing else goes on here
        [sys.executable, "-c", TELL], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clock.environment()
    ) as process:
        asked, answers = process.stdin, process.stdout
        assert asked is not None
        assert answers is not None

        def off_s() -> tuple[float, float]:
            asked.write("\n")
            asked.flush()
            wall, monotonic = map(float, answers.readline().split())
            return wall - time.time(), monotonic - time.monotonic()

        for wrong_s in (HOUR_S, -HOUR_S):
            skew = Skew("process", clock, wrong_s)
            assert all(abs(off) < NEAR_S for off in off_s())
            await skew.begin()
            wall, monotonic = off_s()
            assert abs(wall - wrong_s) < NEAR_S
            assert abs(monotonic) < NEAR_S
            await skew.end()
            await skew.end()
        assert all(abs(off) < NEAR_S for off in off_s())
        asked.close()


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_run_ends_and_is_purged_as_ever_while_the_reactors_clock_is_wrong(
    services: Services, store: Store, clock: Clock, hours: int
) -> None:
    record = Record.of(store)
    # One that is ahead would end the run as silent, and purge it at once; one that is behind would never purge it.
    reactor = services.start("reactor", look_s=0.3, purge_grace_s=300 if hours > 0 else 0.5)
    await reactor.ready(PATIENCE_S)
    await Skew("reactor", clock, hours * HOUR_S).begin()
    port = free_port()
    told = {"nats_url": services.nats_url, "health_port": port, "instance": "runner", "titles": False}
    settings = RunnerSettings.model_validate(told | login("runner"))
    async with running(build_runner(settings), port):
        run = await record.send("t1", "/count 30 100")
        assert isinstance(await record.end_of("t1", run, PATIENCE_S), RunCompleted)

    async def is_left_alone() -> bool:
        info = await record.consumer("janitor")
        return (info.num_pending, info.num_ack_pending) == (0, 1)

    async def is_purged() -> bool:
        return len(await record.frames_of("t1", run)) == 1

    if hours > 0:
        # Only its end is left to be looked after, for the grace is not over.
        await until(is_left_alone, PATIENCE_S)
        assert not await is_purged()
    else:
        await until(is_purged, PATIENCE_S)
    assert [] == reactor.complaints()


def test_where_there_is_no_libfaketime_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "faketime", lambda: None)
    with pytest.raises(NoFaketimeError, match="pip install"):
        Clock(tmp_path / "clock").environment()
