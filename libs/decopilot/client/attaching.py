"""Attaching: a thread's chunks from a cursor on, over as many connections as it takes."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from decopilot.client.calling import LOST, TRANSIENT, Caller, backoff, refusal, retry_after
from decopilot.client.errors import ApiError
from decopilot.client.sse import EventParser
from decopilot.contracts.chunks import Chunk

_DONE = "[DONE]"
_OK = 200


@dataclass(frozen=True, slots=True)
class Event:
    """A chunk, and the position behind it."""

    cursor: str
    chunk: Chunk


class _CutError(Exception):
    """The connection ended, or could not be had.

    `wait_s` is what the server asked for before the next, `cursor` where it said that this one is, if it did.
    """

    def __init__(self, wait_s: float = 0.0, cursor: str = "") -> None:
        self.wait_s, self.cursor = wait_s, cursor
        super().__init__(f"the stream ended; come back in {wait_s} s")


async def attach(caller: Caller, thread: str, cursor: str | None) -> AsyncGenerator[Event, None]:
    """Yield a thread's chunks, each once, for as long as one likes.

    Raises:
        ApiError: refused in a way that time does not cure.

    """
    pauses = backoff()
    while True:
        try:
            async with aclosing(_connection(caller, thread, cursor)) as events:
                async for event in events:
                    cursor, pauses = event.cursor, backoff()
                    yield event
        except _CutError as cut:
            cursor = cut.cursor or cursor
            await asyncio.sleep(max(next(pauses), cut.wait_s))


async def _connection(caller: Caller, thread: str, cursor: str | None) -> AsyncGenerator[Event, None]:
    """Yield what one connection brings.

    Raises:
        ApiError: refused for good.
        _CutError: it ended.

    """
    query = {"rewind": "true"} | ({} if cursor is None else {"cursor": cursor})
    parser = EventParser()
    try:
        async with caller.open("GET", f"decopilot/attach/{thread}", query=query) as response:
            if response.status in TRANSIENT:
                raise _CutError(retry_after(response))
            if response.status != _OK:
                raise await refusal(response)
            if response.content_type != "text/event-stream":
                raise ApiError(response.status, "unknown", "The answer is no event stream: this is no gateway.")
            async for data in response.content.iter_any():
                for event in parser.push(data):
                    if event.data == _DONE:
                        # The gateway leaves, and spreads its clients over time.
                        raise _CutError(parser.retry_s or 0.0, parser.last_id)
                    yield Event(event.id, json.loads(event.data))
    except LOST as error:
        raise _CutError(cursor=parser.last_id) from error
    raise _CutError(cursor=parser.last_id)
