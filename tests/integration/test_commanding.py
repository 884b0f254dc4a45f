"""Commanding: what is said of a wish that nobody answered in time."""

import asyncio

import pytest

from decopilot.contracts import subjects
from decopilot.contracts.commands import CANCEL_RUN, PATIENCE, CancelRun, Receipt
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


async def test_every_try_says_how_long_it_waits(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commanding, "ATTEMPT_S", 0.2)
    monkeypatch.setattr(commanding, "DEADLINE_S", 0.45)
    commander = Commander(store.nc)
    async with connected(settings, "mute") as mute:
        asked = await mute.subscribe(subjects.command(CANCEL_RUN))
        await mute.flush()
        with pytest.raises(ProblemError, match="broker_unavailable"):
            await commander.ask(CANCEL_RUN, WISH, Receipt)
        first, last = [await asked.next_msg(), await asked.next_msg()]
    assert first.headers is not None
    assert last.headers is not None
    assert 0.2 == float(first.headers[PATIENCE])
    assert 0 < float(last.headers[PATIENCE]) < 0.2
