"""Commanding: what is said of a wish that nobody answered in time."""

import asyncio

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from decopilot.contracts import subjects
from decopilot.contracts.commands import CANCEL_RUN, PATIENCE, TRY, CancelRun, Receipt, Refused, Reply
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
    monkeypatch.setattr(commanding, "ATTEMPT_S", 1.0)
    monkeypatch.setattr(commanding, "DEADLINE_S", 1.9)
    async with connected(settings, "mute") as mute:
        heard = await answers(mute)
        with pytest.raises(ProblemError, match="broker_unavailable"):
            await Commander(store.nc).ask(CANCEL_RUN, WISH, Receipt)
    first, last = heard  # nothing is given up: who comes later may find that it was done
    assert first.headers is not None
    assert last.headers is not None
    assert 1.0 == float(first.headers[PATIENCE])
    assert 0 < float(last.headers[PATIENCE]) < 1.0
    assert first.headers[TRY] != last.headers[TRY]


async def test_what_is_refused_behind_a_try_that_nobody_answered_is_asked_again_behind_its_being_given_up(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commanding, "ATTEMPT_S", 1.0)
    refused, granted = Refused(code="run_active", detail=""), Receipt(thread=WISH.thread, status="cancelling")
    async with connected(settings, "mute") as mute:
        heard = await answers(mute, None, refused, refused)
        with pytest.raises(ProblemError, match="run_active"):
            await Commander(store.nc).ask(CANCEL_RUN, WISH, Receipt)
    assert [(heard[0].headers or {})[TRY]] == [heard[2].data.decode()]
    async with connected(settings, "mute") as mute:
        heard = await answers(mute, None, refused, None, refused, granted)
        assert granted == await Commander(store.nc).ask(CANCEL_RUN, WISH, Receipt)
    asked = [message for message in heard if message.subject != subjects.GIVEN_UP]
    given_up = [message.data.decode() for message in heard if message.subject == subjects.GIVEN_UP]
    assert 5 == len(asked)
    assert [(asked[0].headers or {})[TRY], (asked[2].headers or {})[TRY]] == given_up
    assert [subjects.GIVEN_UP] * 2 == [heard[2].subject, heard[5].subject]


async def answers(mute: Client, *replies: Reply | None) -> list[Msg]:
    """Answer requests by these, or not; whatever is heard is in the list."""
    heard: list[Msg] = []
    coming = iter(replies)

    async def hear(message: Msg) -> None:
        heard.append(message)
        if message.subject != subjects.GIVEN_UP and (reply := next(coming, None)) is not None:
            await message.respond(reply.model_dump_json().encode())

    # One subscription: two would be read by turns.
    await mute.subscribe("decopilot.>", cb=hear)
    await mute.flush()
    return heard
