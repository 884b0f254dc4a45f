"""Watching: what happens to an org's threads, over as many connections as it takes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from pydantic import ValidationError

from decopilot.client.errors import ApiError
from decopilot.client.streaming import Stream, decoded
from decopilot.contracts import watch as contract

_CONNECTED = "connected"
_OK = 200


@dataclass(frozen=True, slots=True)
class Connected:
    """One listens, from `cursor` on: said first, and again behind each connection that was lost.

    Where `resumed` is false something may have been told that was not heard, so read the threads again; the first time
    it is false unless a cursor was given.
    """

    cursor: str
    resumed: bool


class WatchEvent(contract.WatchEvent):
    """Something happened to the thread `subject`; `cursor` is where to go on behind it."""

    cursor: str


async def watch(stream: Stream, cursor: str | None) -> AsyncGenerator[Connected | WatchEvent, None]:
    """Yield an org's events, each once, for as long as one likes."""
    async with aclosing(stream.events(cursor)) as events:
        async for event in events:
            told = decoded(event)
            try:
                if event.name == _CONNECTED:
                    yield Connected(event.id, told["resumed"] is True)
                else:
                    yield WatchEvent.model_validate(told | {"cursor": event.id})
            except (KeyError, TypeError, ValidationError) as error:
                raise ApiError(_OK, "unknown", "An event is not of the expected form: another version's?") from error
