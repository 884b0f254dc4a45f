"""Pulling: a durable consumer's messages, one at a time, each pull followed to its end at the broker."""

import asyncio
import json
from contextlib import suppress
from typing import Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import APIError

PULL_S = 0.5
"""How long one pull waits at the broker."""
OVERDUE_S = 0.25
"""So much later its end is heard of at most; then it was lost, as by the broker's restart."""
_STATUS, _ENDED = "Status", {"404", "408", "409"}
"""No message, its time is over, or the broker has other reasons, which pass."""


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

    async def __aenter__(self) -> Self:
        self._answers = await self._nc.subscribe(f"{self._inbox}.*")
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(NatsError):
            await self._answers.unsubscribe()

    async def pull(self) -> Msg | None:
        """Ask for a message; None where there was none in `PULL_S`.

        Raises:
            nats.js.errors.APIError: the broker refuses; `ServiceUnavailableError`: nobody has such a consumer.
            nats.errors.Error, OSError: no connection.

        """
        clock = asyncio.get_running_loop().time
        self._pulls += 1
        asked = f"{self._inbox}.{self._pulls}"
        body = json.dumps({"batch": 1, "expires": round(PULL_S * 1e9)}).encode()
        await self._nc.publish(self._subject, body, asked)
        deadline = clock() + PULL_S + OVERDUE_S
        with suppress(TimeoutError):
            while (left_s := deadline - clock()) > 0:
                message = await self._answers.next_msg(timeout=left_s)
                status = (message.headers or {}).get(_STATUS)
                if status is None:
                    # Be it an earlier pull's, which was taken for lost.
                    return message
                if message.subject == asked:
                    if status in _ENDED:
                        return None
                    raise APIError.from_msg(message)
        return None
