"""Commanding: what is said of a wish that nobody answered in time."""

import asyncio

import pytest
from nats.aio.msg import Msg

from decopilot.contracts import subjects
from decopilot.contracts.commands import CANCEL_RUN, PATIENCE, TRY, CancelRun, Receipt
from decopilot.contracts.ids import ThreadId, UserId
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.store import Store
from decopilot_gateway import commanding
from decopilot_gateway.commanding import Commander
from decopilot_gateway.problems import ProblemError
from support.gateways import ORG, until

WISH = CancelRun(org=ORG, thread=ThreadId("t1"), user=UserId("ann"), role="member")


@pytest.mark.parametrize("may_repeat", [True, False])
async def test_a_last_try_that_is_cut_short_does_not_hide_that_command_was_away(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, may_repeat: bool
) -> None:
    monkeypatch.setattr(commanding, "DEADLINE_S", 1.0)
    commander, told = Commander(store.nc), store.nc.stats["in_msgs"]
    async with connected(settings, "mute") as mute:
        asking = asyncio.create_task(commander.ask(CANCEL_RUN, WISH, Receipt, may_repeat=may_repeat))
        await until(lambda: store.nc.stats["in_msgs"] > told)  # nobody heard the first try
        await mute.subscribe(subjects.command(CANCEL_RUN))
        with pytest.raises(ProblemError, match="command_unavailable"):
            await asking


async def test_every_try_says_how_long_it_waits_and_when_it_does_no_more(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commanding, "ATTEMPT_S", 0.2)
    monkeypatch.setattr(commanding, "DEADLINE_S", 0.45)
    commander = Commander(store.nc)
    async with connected(settings, "mute") as mute:
        heard: list[Msg] = []

        async def hear(message: Msg) -> None:
            heard.append(message)

        await mute.subscribe(subjects.command(CANCEL_RUN), cb=hear)
        await mute.subscribe(subjects.GIVEN_UP, cb=hear)
        await mute.flush()
        with pytest.raises(ProblemError, match="broker_unavailable"):
            await commander.ask(CANCEL_RUN, WISH, Receipt)
        await until(lambda: len(heard) == 4)
        first, first_end, last, last_end = heard
    assert first.headers is not None
    assert last.headers is not None
    assert 0.2 == float(first.headers[PATIENCE])
    assert 0 < float(last.headers[PATIENCE]) < 0.2
    assert [first.headers[TRY], last.headers[TRY]] == [first_end.data.decode(), last_end.data.decode()]
    assert first.headers[TRY] != last.headers[TRY]
