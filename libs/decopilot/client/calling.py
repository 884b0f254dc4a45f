"""Calling the gateway: one session, one token, and asking again until a deadline where asking twice is asking once."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from decopilot.client.errors import ApiError, ArgumentError, ClientError, UnreachableError
from decopilot.contracts.ids import is_id

TRANSIENT = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses that time alone may cure."""
LOST = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError, TimeoutError)
"""How a connection, or an answer on its way, is lost."""
BACKOFF_S, BACKOFF_MAX_S = 0.25, 5.0
CONNECT_S = 5.0
ANSWER_S = 15.0
UPLOAD_S = 600.0
"""A file may take so long."""
SILENCE_S = 45.0
"""Three keepalives missed: the connection is dead, whatever TCP believes."""
_PIECE_BYTES = 256 * 1024
_OK = range(200, 300)
_UNAUTHENTICATED = 401
_RETRY_DIGITS = 6
"""A pause of more seconds than that, eleven days, is none that anybody means."""

Token = str | Callable[[], str]
OnWait = Callable[[ClientError, float], None]
"""Told before each wait: why an answer or a connection was not had, or the last one ended, and for how many seconds."""


@dataclass(frozen=True, slots=True)
class Content:
    """A body that is a file's, read while it is sent."""

    source: bytes | Path
    media_type: str

    def headers(self) -> dict[str, str]:
        """Tell what it is, and how much, so that it can be refused before it is sent."""
        size = len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size
        return {"Content-Type": self.media_type, "Content-Length": str(size)}

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield it."""
        with BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb") as opened:
            while piece := await asyncio.to_thread(opened.read, _PIECE_BYTES):
                yield piece


class Caller:
    """One session with a gateway.

    `token` may be a callable: it is asked for each request, and once more where what it gave is refused (401).
    """

    def __init__(self, url: str, token: Token, org: str, *, deadline_s: float) -> None:
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
            msg = f"{url[:200]!r} is no URL of a gateway, such as http://127.0.0.1:8080"
            raise ArgumentError(msg)
        self.url = url
        self._root = f"{url.rstrip('/')}/{checked_id(org, 'org')}"
        self._token = token
        self.deadline_s = deadline_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        # Without a limit: streams that stay open must not keep calls waiting.
        self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def has_fresh_tokens(self) -> bool:
        """Whether there may be another token where the last one is refused."""
        return not isinstance(self._token, str)

    def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Begin a request of the org's; a redirect is an answer like any other."""
        if self._session is None:
            msg = "use the client as an asynchronous context manager"
            raise RuntimeError(msg)
        token = self._token if isinstance(self._token, str) else self._token()
        sent = {"Authorization": f"Bearer {token}", **(headers or {})}
        data: bytes | AsyncIterator[bytes] | None = None
        if isinstance(body, Content):
            sent |= body.headers()
            data = body.pieces()
        elif body is not None:
            sent["Content-Type"] = "application/json"
            data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        return self._session.request(
            method, f"{self._root}/{path}", params=query, data=data, headers=sent, allow_redirects=False
        )

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        may_repeat: bool = True,
        on_wait: OnWait | None = None,
    ) -> Any:  # noqa: ANN401  any JSON
        """Call, and return the decoded answer.

        What time may cure is asked again until the deadline, if it `may_repeat`; else only where nothing can have
        been sent. `on_wait` is told of each refusal that is waited out.

        Raises:
            ApiError: refused.
            UnreachableError: no answer within the deadline.

        """
        clock = asyncio.get_running_loop().time
        answer_s, in_all_s = (UPLOAD_S, UPLOAD_S) if isinstance(body, Content) else (ANSWER_S, self.deadline_s)
        deadline = clock() + in_all_s
        may_ask_for_token = self.has_fresh_tokens
        for pause_s in backoff():
            retry_after_s = 0.0
            try:
                async with (
                    asyncio.timeout_at(min(clock() + answer_s, deadline)),
                    self.open(method, path, query=query, body=body) as got,
                ):
                    if got.status in _OK:
                        return _decoded(got.status, await got.read())
                    refused = await refusal(got)
            except LOST as error:
                failure: Exception = UnreachableError(self._root, self.deadline_s, error)
                final = not may_repeat and not isinstance(error, aiohttp.ClientConnectorError)
                cause: Exception | None = error
            else:
                if refused.status == _UNAUTHENTICATED and may_ask_for_token:
                    # It has changed nothing, so that even what must not be repeated may be asked again.
                    may_ask_for_token = False
                    continue
                failure, cause = refused, None
                final = not may_repeat or refused.status not in TRANSIENT
                retry_after_s = retry_after(got)
            wait_s = max(pause_s, retry_after_s)
            if final or clock() + wait_s >= deadline:
                raise failure from cause
            if on_wait is not None and isinstance(failure, ApiError):
                on_wait(failure, wait_s)
            await asyncio.sleep(wait_s)
        raise AssertionError  # the backoff has no end


def checked_id(text: str, what: str) -> str:
    """Return an id as it is, fit to stand in a path.

    Raises:
        ArgumentError: it is none.

    """
    if not is_id(text):
        msg = f"The {what} id must be 1 to 64 of A-Z, a-z, 0-9, _ and -, which {text[:64]!r} is not."
        raise ArgumentError(msg)
    return text


def backoff() -> Iterator[float]:
    """Yield how long to pause before each next try; half of it is chance, so that clients don't come as one."""
    pause_s = BACKOFF_S
    while True:
        yield pause_s * random.uniform(0.5, 1)  # noqa: S311  no secret
        pause_s = min(pause_s * 2, BACKOFF_MAX_S)


async def refusal(response: aiohttp.ClientResponse) -> ApiError:
    """Read what a gateway, or a proxy before it, says in refusing."""
    try:
        problem = json.loads(await response.read())
    except (ValueError, RecursionError):
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    return ApiError(
        response.status,
        str(problem.get("code", "unknown")),
        str(problem.get("detail") or response.reason or "no reason was given"),
        problem.get("outcome"),
    )


def retry_after(response: aiohttp.ClientResponse) -> float:
    """Tell how long the server asks to wait; 0 where it does not say, or says a date."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) <= _RETRY_DIGITS else 0.0


def _decoded(status: int, body: bytes) -> Any:  # noqa: ANN401  any JSON
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(status, "unknown", "The answer is not JSON: this is no gateway.") from error
