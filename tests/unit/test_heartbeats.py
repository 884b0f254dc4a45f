"""Heartbeats end with their work item, also where the broker answers one at that very moment."""

import asyncio
from typing import cast

from nats.aio.client import Client

from decopilot.log.heartbeats import heartbeats


class _Answering:
    """A connection on which the answer to a request comes when the test says so."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.get_running_loop().create_future()

    async def request(self, _subject: str, _body: bytes, *, timeout: float) -> object:  # noqa: ASYNC109  as nats-py has it
        self.asked.set()
        # As nats-py waits: in Python 3.11 this loses a cancellation that meets the answer.
        return await asyncio.wait_for(self.answer, timeout)


async def test_an_item_is_let_go_though_the_broker_answers_in_the_same_turn_of_the_loop() -> None:
    connection, lost = _Answering(), asyncio.Event()
    async with asyncio.timeout(5):
        async with heartbeats(cast("Client", connection), "ack", on_lost=lost.set) as heart:
            await connection.asked.wait()
            connection.answer.set_result(None)
    assert heart.beats()
    assert not lost.is_set()
