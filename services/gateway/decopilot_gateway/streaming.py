"""Streaming: an SSE response that begins at once, stays within its budget, and ends cleanly when the gateway leaves."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import structlog
from aiohttp import HttpVersion11, web

from decopilot.contracts.events import UnknownEventError
from decopilot_gateway import sse

RETRY_MS = 1_000
LEAVING_RETRY_MS = (500, 5_000)
BUDGET_BYTES = 256 * 1024
"""What may wait for one client to read it; beyond that it reads on from memory or the store, when it does."""
LAST_S = 5.0
"""What is on its way when a stream's lease ends may take so long; it comes again behind the cursor."""
_LOOK_S = 0.1
_LOW_BYTES = BUDGET_BYTES // 4
_SMALL_BYTES = 4_096

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


class Channel:
    """The body of one event stream, written to its socket without waiting: many may be written to in one go."""

    def __init__(
        self, transport: asyncio.Transport, drain: Callable[[], Coroutine[None, None, None]], *, is_chunked: bool
    ) -> None:
        self._transport = transport
        self._drain = drain
        self._is_chunked = is_chunked
        self._clock = asyncio.get_running_loop().time
        self._draining: asyncio.Future[None] | None = None
        self.written_at = self._clock()
        transport.set_write_buffer_limits(high=BUDGET_BYTES, low=_LOW_BYTES)

    def write(self, events: bytes) -> bool:
        """Write events; tell whether the client keeps up. They are on their way, or gone with the connection."""
        transport = self._transport
        if transport.is_closing():
            return False
        if events:
            self.written_at = self._clock()
            if not self._is_chunked:
                transport.write(events)
            elif len(events) < _SMALL_BYTES:
                transport.write(b"%x\r\n%b\r\n" % (len(events), events))
            else:
                transport.writelines((b"%x\r\n" % len(events), events, b"\r\n"))
        return transport.get_write_buffer_size() <= BUDGET_BYTES

    async def drains(self, within_s: float) -> bool:
        """Wait until there is room for more, for so long; tell whether there is.

        Raises:
            ConnectionResetError: the client is gone.

        """
        if self._draining is None and self._transport.get_write_buffer_size() > BUDGET_BYTES:
            self._draining = asyncio.ensure_future(self._drain())
        if self._draining is not None:
            # Not cancelled when it takes long: aiohttp (3.14) would have every later one fail.
            if not (await asyncio.wait((self._draining,), timeout=within_s))[0]:
                return False
            draining, self._draining = self._draining, None
            draining.result()
        if self._transport.is_closing():
            raise ConnectionResetError
        return True

    async def release(self) -> None:
        """Wait for nothing any more: the stream has ended."""
        if self._draining is not None:
            self._draining.cancel()
            await asyncio.wait((self._draining,))

    async def empties(self, within_s: float) -> bool:
        """Wait until everything has been sent to the client, for so long; tell whether it has."""
        until = self._clock() + within_s
        while self._transport.get_write_buffer_size():
            if self._clock() >= until:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    def keep_alive(self, silent_since: float) -> None:
        """Say that nothing is new, if nothing was said since, and nothing is on its way."""
        if self.written_at <= silent_since and not self._transport.get_write_buffer_size():
            self.write(sse.KEEPALIVE)


Renew = Callable[[], tuple[bytes, float]]
"""Makes what a stream is told in time, and says when the next of that is due (unix seconds)."""


@dataclass(slots=True)
class Lease:
    """Until when a stream may go on (unix seconds), and what it is told before that, from `renew_at` on."""

    expires_at: float
    renew_at: float = math.inf
    renew: Renew | None = None

    def write(self, channel: Channel, now: float) -> bool:
        """Write what is due; tell whether the stream goes on."""
        if now >= self.expires_at:
            return False
        if self.renew is not None and now >= self.renew_at:
            event, self.renew_at = self.renew()
            channel.write(event)
        return True


class Pulse:
    """Keeps all channels of this gateway alive, and ends them when their leases do.

    One timer for all, so that an idle one costs next to nothing.
    """

    def __init__(self, keepalive_s: float) -> None:
        self._keepalive_s = keepalive_s
        self._channels: dict[Channel, tuple[Lease, asyncio.Timeout]] = {}

    @contextmanager
    def keeping(self, channel: Channel, lease: Lease, ending: asyncio.Timeout) -> Iterator[None]:
        """Keep a channel alive while the context is open; at the end of the lease `ending` is made to expire."""
        self._channels[channel] = lease, ending
        try:
            yield
        finally:
            self._channels.pop(channel, None)

    async def beat(self) -> None:
        """Go round until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(min(1.0, self._keepalive_s / 4))
            silent_since, now = clock() - self._keepalive_s, time.time()
            over: list[Channel] = []
            for channel, (lease, _) in self._channels.items():
                channel.keep_alive(silent_since)
                if not lease.write(channel, now):
                    over.append(channel)
            for channel in over:
                self._channels.pop(channel)[1].reschedule(clock())


async def stream(  # noqa: C901  one case per way to end
    request: web.Request,
    leaving: Leaving,
    pulse: Pulse,
    lease: Lease,
    write: Callable[[Channel], Awaitable[None]],
    *,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> web.StreamResponse:
    """Answer with an event stream that `write` fills, until the lease ends.

    A reader that went away ends it silently; a leaving gateway spreads its readers. What goes wrong once it has begun
    can't be told on this connection any more, so that is cut: the reader comes back with its cursor.
    """
    response = web.StreamResponse(headers={**sse.HEADERS, **headers})
    is_chunked = request.version >= HttpVersion11
    if is_chunked:
        response.enable_chunked_encoding()
    try:
        writer = await response.prepare(request)
        if writer is None or request.transport is None:
            raise ConnectionResetError  # noqa: TRY301  as if it had gone a moment later
        channel = Channel(request.transport, writer.drain, is_chunked=is_chunked)
        channel.write(sse.retry(RETRY_MS))
        try:
            is_over = not await _write(channel, pulse, lease, write)
        finally:
            await channel.release()
        if leaving.started:
            # Not all of them at the same moment at the door of the other gateways.
            spread = sse.retry(random.randint(*LEAVING_RETRY_MS))  # noqa: S311  no secret
            channel.write(spread + sse.DONE)
        elif is_over:
            channel.write(sse.DONE)
            if not await channel.empties(LAST_S):
                # Nobody counts it among the open ones any more: it must not go on to hold what it holds.
                request.transport.abort()
    except ConnectionResetError:
        pass
    except UnknownEventError as error:
        # Who may have what comes next is for a newer gateway to say.
        log.warning("event_unknown", path=request.path, sequence=error.sequence)
        if request.transport is not None:
            request.transport.abort()
    except Exception:
        log.exception("stream_failed", path=request.path)
        if request.transport is not None:
            request.transport.abort()
    return response


async def _write(channel: Channel, pulse: Pulse, lease: Lease, write: Callable[[Channel], Awaitable[None]]) -> bool:
    """Have a channel filled; tell whether that ended by itself, and not because the lease did."""
    try:
        async with asyncio.timeout(None) as ending:
            with pulse.keeping(channel, lease, ending):
                await write(channel)
    except TimeoutError:
        if not ending.expired():
            raise
        return False
    return True
