"""Streaming: an SSE response that is flushed at once, kept alive, and ended cleanly when the gateway leaves."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from aiohttp import web

from decopilot_gateway import sse

RETRY_MS = 1_000
LEAVING_RETRY_MS = (500, 5_000)
WRITE_BYTES = 256 * 1024


class Followed(Protocol):
    """What readers wait for."""

    def interrupt(self) -> None:
        """Wake every reader."""


class Leaving:
    """Whether this gateway is about to leave."""

    def __init__(self, followed: Sequence[Followed]) -> None:
        self._followed = followed
        self.started = False

    def start(self) -> None:
        """Leave: every stream ends at its next chunk boundary."""
        self.started = True
        for followed in self._followed:
            followed.interrupt()


@asynccontextmanager
async def streaming(request: web.Request, leaving: Leaving) -> AsyncIterator[web.StreamResponse]:
    """Open an event stream. A reader that went away ends it silently; a leaving gateway spreads its readers."""
    response = web.StreamResponse(headers=sse.HEADERS)
    try:
        await response.prepare(request)
        await response.write(sse.retry(RETRY_MS))
        yield response
        if leaving.started:
            # Not all of them at the same moment at the door of the other gateways.
            spread = sse.retry(random.randint(*LEAVING_RETRY_MS))  # noqa: S311  no secret
            await response.write(spread + sse.DONE)
    except ConnectionResetError:
        pass
