"""Pulling: a durable consumer's messages, one at a time, each pull followed to its end at the broker."""

import asyncio
import json
from contextlib import suppress
from typing import Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.errors import APIError

PULL_S = 0.5
"""How long one pull waits at the broker."""
OVERDUE_S = 0.25
"""So much later its end is heard of at most; then it was lost, as by the broker's restart."""
_STATUS, _ENDED = "Status", {"404", "408", "409"}
"""No message, its time is over, or the broker has other reasons, which pass."""
_BROKEN = (NatsError, OSError, RuntimeError)
"""What a connection raises that breaks in this moment: uvloop says so in a way of its own."""


class Puller:
    """Pulls from one consumer.

    A client that gives up by its own clock, as nats-py's `fetch` does, is a moment ahead of the broker: what is sent
    to it in that moment lies unseen until the next pull or, where there is none, until its acknowledgement is overdue.
    """

    def __init__(self, nc: Client, stream: str, consumer: str) -> None:
        self._nc = nc
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = nc.new_inbox()
        self._pulls = 0
        self._answers: Subscription | None = None
        self.is_answered = False
        """Whether the broker said anything to the last pull."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._answers is not None:
            await self._hand_back_rest()
            with suppress(*_BROKEN):
                await self._answers.unsubscribe()

    async def pull(self) -> Msg | None:
        """Ask for a message; None where there was none in `PULL_S`, or where the broker said nothing.

        Raises:
            nats.js.errors.APIError: the broker refuses; `ServiceUnavailableError`: nobody has such a consumer.
            nats.errors.Error, OSError: no connection.

        """
        self.is_answered = False
        if not self._nc.is_connected:
            # What is sent now would be kept, and all of it be sent at once when there is a connection again.
            await asyncio.sleep(OVERDUE_S)
            return None
        if self._answers is None:
            self._answers = await self._nc.subscribe(f"{self._inbox}.*")
        message = await self._left_over() or await self._ask(self._answers)
        if message is not None:
            # One is free, and no more: whatever else has come is somebody else's.
            await self._hand_back_rest()
        return message

    async def _ask(self, answers: Subscription) -> Msg | None:
        clock = asyncio.get_running_loop().time
        self._pulls += 1
        asked = f"{self._inbox}.{self._pulls}"
        body = json.dumps({"batch": 1, "expires": round(PULL_S * 1e9)}).encode()
        await self._nc.publish(self._subject, body, asked)
        deadline = clock() + PULL_S + OVERDUE_S
        with suppress(TimeoutError):
            while (left_s := deadline - clock()) > 0:
                message = await answers.next_msg(timeout=left_s)
                if not (status := _status(message)):
                    # Be it an earlier pull's, which was taken for lost.
                    self.is_answered = True
                    return message
                if message.subject == asked:
                    self.is_answered = True
                    if status in _ENDED:
                        return None
                    raise APIError.from_msg(message)
        return None

    async def _left_over(self) -> Msg | None:
        """Take what came for a pull that was taken for lost, if something did."""
        while self._answers is not None and self._answers.pending_msgs:
            message = await self._answers.next_msg(timeout=OVERDUE_S)
            if not _status(message):
                self.is_answered = True
                return message
        return None

    async def _hand_back_rest(self) -> None:
        while (message := await self._left_over()) is not None:
            await hand_back(message)


async def hand_back(message: Msg) -> None:
    """Let somebody else have a message at once; where the connection breaks, once its acknowledgement is overdue."""
    with suppress(*_BROKEN):
        await message.nak()


def _status(message: Msg) -> str:
    return (message.headers or {}).get(_STATUS, "")
