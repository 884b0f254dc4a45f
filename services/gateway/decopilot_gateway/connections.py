"""Connections: how many may be open, and how long each may take to say what it wants and to take what it is told."""

import asyncio
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.web_request import BaseRequest

from decopilot_gateway.problems import SERVER, problem_bytes, problem_response

HEAD_S = 10.0
"""So long the head of a request may take, from the connection's beginning or its own first byte on."""
IDLE_S = 75.0
"""So long a connection is kept between requests: longer than proxies keep theirs, who would send into a closed one."""
ANSWER_S = 120.0
"""So long an answer may take to be read; streams and files have clocks of their own."""
LINE_BYTES = 8_190
FIELD_BYTES = 16_380
FIELDS = 128
_BACKLOG = 1_024
_TOO_MANY_FIELDS = "Too many headers"

log = structlog.get_logger()


class Connections:
    """All connections of this process. Where there is one too many, the one that waits longest makes room for it.

    So whoever only holds connections, sends requests byte by byte, or leaves answers unread, keeps nobody out; whoever
    has a request that is worked at is never sent away.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}

    def admit(self, connection: "Connection") -> bool:
        """Count a new connection; False where there is no room for it."""
        if len(self._open) >= self._limit:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return False
            self.forget(oldest)
            oldest.drop()
        self._open.add(connection)
        self._waiting[connection] = None
        return True

    def waits(self, connection: "Connection") -> None:
        """Note that a connection has no request that is worked at."""
        if connection in self._open:
            self._waiting[connection] = None

    def works(self, connection: "Connection") -> None:
        """Note that a connection has a request that is worked at."""
        self._waiting.pop(connection, None)

    def forget(self, connection: "Connection") -> None:
        """Count a connection no more."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)


class Connection(web.RequestHandler):
    """One connection. aiohttp bounds the size of a head and the time between requests; here are the other clocks."""

    __slots__ = ("_connections", "_has_begun", "_head_clock", "_is_answering")

    def __init__(self, connections: Connections, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # None is what `web.run_app` documents for no access log
            keepalive_timeout=IDLE_S,
            max_line_size=LINE_BYTES,
            max_field_size=FIELD_BYTES,
            max_headers=FIELDS,
        )
        self._connections = connections
        self._head_clock: asyncio.TimerHandle | None = None
        self._has_begun = False
        self._is_answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or say that there are too many."""
        if not self._connections.admit(self):
            assert isinstance(transport, asyncio.Transport)  # noqa: S101  for mypy
            transport.write(problem_bytes("too_many_connections", "The gateway has as many connections as it may."))
            transport.close()
            return
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count it no more."""
        self._stop_clock()
        self._connections.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that has begun has to end in time."""
        self._has_begun = True
        super().data_received(data)
        if self._messages:
            self._stop_clock()
            if not self._is_answering:
                self._connections.works(self)
        elif self._waiter is not None and self._head_clock is None:
            self._start_clock()

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer, and send those away who do not take it."""
        self._is_answering = True
        self._connections.waits(self)
        try:
            async with asyncio.timeout(ANSWER_S) as patience:
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            if not patience.expired():
                raise
            log.info("answer_not_taken", path=request.path)
            self.drop()
            return resp, True
        finally:
            self._stop_clock()
            self._has_begun = self._is_answering = False
            if self._messages:
                self._connections.works(self)

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no request with a problem, without what was sent."""
        if not isinstance(exc, HttpProcessingError):
            response = super().handle_error(request, status, exc, message)
            response.headers[hdrs.SERVER] = SERVER
            return response
        code, detail = _fault(exc)
        log.info("request_malformed", code=code)
        response = problem_response(code, detail)
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
        response.force_close()
        return response

    def drop(self) -> None:
        """Cut the connection, whatever is on its way."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

    def _start_clock(self) -> None:
        self._head_clock = self._loop.call_later(HEAD_S, self._head_is_late)

    def _stop_clock(self) -> None:
        if self._head_clock is not None:
            self._head_clock.cancel()
            self._head_clock = None

    def _head_is_late(self) -> None:
        self._head_clock = None
        # Whoever has said nothing waits for no answer: browsers open connections to have them.
        if self._has_begun and isinstance(self.transport, asyncio.Transport):
            self.transport.write(problem_bytes("request_too_slow", f"A head has to come within {HEAD_S:.0f} s."))
        self.force_close()


class Entrance(web.BaseSite):
    """Where connections come in."""

    __slots__ = ("_connections", "_host", "_port")

    def __init__(self, runner: web.BaseRunner, host: str, port: int, *, limit: int) -> None:
        super().__init__(runner, backlog=_BACKLOG)
        self._host, self._port = host, port
        self._connections = Connections(limit)

    @property
    def name(self) -> str:
        """Where it listens."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen."""
        await super().start()
        loop, server = asyncio.get_running_loop(), self._runner.server
        assert server is not None  # noqa: S101  for mypy: BaseSite has checked it

        def connect() -> Connection:
            return Connection(self._connections, server, loop)

        self._server = await loop.create_server(connect, self._host, self._port, backlog=self._backlog)


def _fault(error: HttpProcessingError) -> tuple[str, str]:
    limit: Any = error.args[1] if isinstance(error, LineTooLong) else None
    if limit == LINE_BYTES:
        return "uri_too_long", f"An address has at most {LINE_BYTES} bytes."
    if limit == FIELD_BYTES or error.message.startswith(_TOO_MANY_FIELDS):
        return "headers_too_large", f"A head has at most {FIELDS} fields, of {FIELD_BYTES} bytes each."
    return "malformed_request", f"That is no HTTP request ({HTTPStatus.BAD_REQUEST.phrase})."
