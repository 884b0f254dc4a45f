"""A stream of Server-Sent Events, over as many connections as it takes."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from decopilot.client.calling import LOST, TRANSIENT, Caller, OnWait, backoff, refusal, retry_after
from decopilot.client.errors import ApiError, ClientError, StreamLostError
from decopilot.client.sse import EventParser, ServerEvent

OnOpen = Callable[[], None]
"""Told of each connection that the gateway has taken."""

_DONE = "[DONE]"
_OK = 200
_UNAUTHENTICATED = 401


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Stream:
    """One of the gateway's streams, and who is told of its connections."""

    caller: Caller
    path: str
    query: Mapping[str, str]
    on_wait: OnWait = _nothing
    on_open: OnOpen = _nothing

    async def events(self, cursor: str | None) -> AsyncGenerator[ServerEvent, None]:
        """Yield what comes behind a cursor, each event once, for as long as one likes.

        Raises:
            ApiError: refused in a way that time does not cure; a 401 only where a fresh token did not help.

        """
        pauses, may_ask_for_token = backoff(), self.caller.has_fresh_tokens
        while True:
            try:
                async with aclosing(self._connection(cursor)) as events:
                    async for event in events:
                        cursor, pauses, may_ask_for_token = event.id or cursor, backoff(), self.caller.has_fresh_tokens
                        yield event
            except _CutError as cut:
                cursor = cut.cursor or cursor
                wait_s = max(next(pauses), cut.wait_s)
                self.on_wait(cut.reason, wait_s)
                await asyncio.sleep(wait_s)
            except ApiError as error:
                if error.status != _UNAUTHENTICATED or not may_ask_for_token:
                    raise
                may_ask_for_token = False

    async def _connection(self, cursor: str | None) -> AsyncGenerator[ServerEvent, None]:
        """Yield what one connection brings.

        Raises:
            ApiError: refused for good.
            _CutError: it ended.

        """
        headers = {} if cursor is None else {"Last-Event-ID": cursor}
        parser = EventParser()
        try:
            async with self.caller.open("GET", self.path, query=self.query, headers=headers) as response:
                if response.status in TRANSIENT:
                    raise _CutError(await refusal(response), retry_after(response))
                if response.status != _OK:
                    raise await refusal(response)
                if response.content_type != "text/event-stream":
                    raise ApiError(response.status, "unknown", "The answer is no event stream: this is no gateway.")
                self.on_open()
                async for data in response.content.iter_any():
                    for event in parser.push(data):
                        if event.data == _DONE:
                            # The gateway leaves, and spreads its clients over time.
                            leaving = StreamLostError("the gateway leaves")
                            raise _CutError(leaving, parser.retry_s or 0.0, parser.last_id)
                        yield event
        except LOST as error:
            raise _CutError(StreamLostError(str(error) or type(error).__name__), cursor=parser.last_id) from error
        raise _CutError(StreamLostError("it ended"), cursor=parser.last_id)


def decoded(event: ServerEvent) -> Any:  # noqa: ANN401  any JSON
    """Read what an event says.

    Raises:
        ApiError: it is no JSON.

    """
    try:
        return json.loads(event.data)
    except (ValueError, RecursionError) as error:
        raise ApiError(_OK, "unknown", "An event of the stream is not JSON: this is no gateway.") from error


class _CutError(Exception):
    """The connection ended, or could not be had, for a reason that time may cure.

    `wait_s` is what the server asked for before the next, `cursor` where it said that this one is, if it did.
    """

    def __init__(self, reason: ClientError, wait_s: float = 0.0, cursor: str = "") -> None:
        self.reason, self.wait_s, self.cursor = reason, wait_s, cursor
        super().__init__(str(reason))
