import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, RunId
from decopilot.kit.connection import connected, flushed
from decopilot.kit.holding import SETTLED_S, Gaps
from decopilot.kit.settings import Settings
from decopilot.log.store import Store
from decopilot_runner.holding import Holding
from support.brokers import as_user
from support.freezing import freeze
from support.services import until

ORG, RUN = OrgId("acme"), RunId("run-1")


@asynccontextmanager
async def a_runner(settings: Settings) -> AsyncIterator[Holding]:
    gaps = Gaps(ago_s=SETTLED_S)
    async with connected(as_user(settings, "runner"), "runner", on_gap=gaps.note) as nc:
        yield Holding(nc, "runner", gaps)


@pytest.fixture
async def asking(settings: Settings, store: Store) -> AsyncIterator[Holding]:
    assert store.nc.is_connected  # and the streams are there
    async with a_runner(settings) as holding:
        yield holding


async def test_a_run_is_held_as_long_as_another_runner_answers_for_it(settings: Settings, asking: Holding) -> None:
    async def is_held() -> bool:
        return await asking.may_be_held(ORG, RUN)

    async def is_lost() -> bool:
        return not await asking.may_be_held(ORG, RUN)

    async with a_runner(settings) as other:
        assert not await is_held()
        async with other.held(ORG, RUN, asyncio.Event()):
            await until(is_held, 2)
            assert await is_held()
        await until(is_lost, 2)


async def test_a_holder_that_does_not_answer_holds_nothing(store: Store, asking: Holding) -> None:
    await store.nc.subscribe(subjects.signal(ORG, RUN))
    await flushed(store.nc)
    assert not await asking.may_be_held(ORG, RUN)


async def test_a_runner_that_has_just_come_gives_holders_time_to_find_the_broker_too(
    settings: Settings, store: Store
) -> None:
    assert store.nc.is_connected
    async with connected(as_user(settings, "runner"), "runner") as nc:
        newcomer = Holding(nc, "runner", Gaps())

        async def is_lost() -> bool:
            return not await newcomer.may_be_held(ORG, RUN)

        assert not await is_lost()
        await until(is_lost, 2 * SETTLED_S)


async def test_ones_own_run_is_held_whatever_the_broker_says(own_broker: EmbeddedBroker, asking: Holding) -> None:
    async with asking.held(ORG, RUN, asyncio.Event()):
        own_broker.kill()
        assert await asking.may_be_held(ORG, RUN)
        own_broker.start()


async def test_nothing_is_taken_for_dead_while_the_broker_hangs(own_broker: EmbeddedBroker, asking: Holding) -> None:
    assert own_broker.pid is not None
    freeze(own_broker.pid)
    try:
        assert await asking.may_be_held(ORG, RUN)
    finally:
        os.kill(own_broker.pid, signal.SIGCONT)
    assert not await asking.may_be_held(ORG, RUN)


async def test_after_the_brokers_return_holders_are_given_time_to_come_back(
    own_broker: EmbeddedBroker, settings: Settings, store: Store
) -> None:
    gaps = Gaps(ago_s=SETTLED_S)
    async with connected(as_user(settings, "runner"), "runner", on_gap=gaps.note) as nc:
        asking = Holding(nc, "runner", gaps)

        async def is_back() -> bool:
            return nc.is_connected and store.nc.is_connected and not gaps.is_settled

        async def is_lost() -> bool:
            return not await asking.may_be_held(ORG, RUN)

        own_broker.restart()
        await until(is_back)
        assert await asking.may_be_held(ORG, RUN)
        await until(is_lost, 5)
