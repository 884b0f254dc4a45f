"""Streaming: an SSE response that is flushed at once, kept alive, and ended cleanly when the gateway leaves."""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog
from aiohttp import web

from decopilot_gateway import sse

RETRY_MS = 1_000
LEAVING_RETRY_MS = (500, 5_000)
WRITE_BYTES = 256 * 1024

log = structlog.get_logger()


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


async def stream(
    request: web.Request, leaving: Leaving, write: Callable[[web.StreamResponse], Awaitable[None]]
) -> web.StreamResponse:
    """Answer with an event stream that `write` fills.

    A reader that went away ends it silently; a leaving gateway spreads its readers. What goes wrong once it has begun
    can't be told on this connection any more, so that is cut: the reader comes back with its cursor.
    """
    response = web.StreamResponse(headers=sse.HEADERS)
    try:
        await response.prepare(request)
        await response.write(sse.retry(RETRY_MS))
        await write(response)
        if leaving.started:
            # Not all of them at the same moment at the door of the other gateways.
            spread = sse.retry(random.randint(*LEAVING_RETRY_MS))  # noqa: S311  no secret
            await response.write(spread + sse.DONE)
    except ConnectionResetError:
        pass
    except Exception:
        log.exception("stream_failed", path=request.path)
        if request.transport is not None:
            request.transport.abort()
    return response
