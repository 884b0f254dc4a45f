"""Connections to NATS that never give up by themselves, and a process that ends when one has."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from nats.aio.client import Client
from nats.errors import AuthorizationError, SlowConsumerError
from nats.protocol.parser import ERR_RE

from decopilot.contracts import subjects
from decopilot.kit.settings import Settings

SERVER_FLOOR = (2, 12)
_ABANDONED = 70
_PERSISTENCE_S = 0.1
_REFUSED_WAIT_S = 2.0
_FORBIDDEN = re.compile(r'permissions violation for (\w+) to "?([^\s"]+)', re.IGNORECASE)
_UNAUTHORIZED = re.compile("authorization violation|authentication (expired|revoked)", re.IGNORECASE)
_ODD_SPACES = (b" :", b"  ", b" \r", b"\t")
"""Where a header has none of these, one space follows each name's colon and nothing is to be stripped."""

log = structlog.get_logger()


class ServerTooOldError(Exception):
    """An older server silently ignores guards and stream options that the log relies on."""

    def __init__(self, version: str) -> None:
        self.version = version
        super().__init__(f"nats-server {version} is too old: {'.'.join(map(str, SERVER_FLOOR))} or newer is needed")


def forbidden(error: Exception) -> tuple[str, str] | None:
    """Tell what the broker does not let this user do, if that is the error: publish or subscription, and to what."""
    found = _FORBIDDEN.search(str(error))
    return None if found is None else (found[1].lower(), found[2])


def is_unauthorized(error: Exception) -> bool:
    """Tell whether the broker does not know this user, or not by this password."""
    return isinstance(error, AuthorizationError) or _UNAUTHORIZED.search(str(error)) is not None


class Lifeline:
    """How one connection behaves: it reconnects for ever, and takes the process with it if it can't.

    `on_gap` is called when messages may have been missed: after a reconnect, and when this process was too slow.
    `on_failure` hears every error. `client` finds the connection itself, once there is one.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        *,
        on_gap: Callable[[], Awaitable[None]] | None = None,
        on_failure: Callable[[Exception], None] | None = None,
        client: Callable[[], Client | None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._name = name
        self._on_gap = on_gap
        self._on_failure = on_failure
        self._client = client
        self._leaving = False
        self._said: set[str] = set()

    @property
    def options(self) -> dict[str, Any]:
        """Options for nats-py's `connect`.

        Raises:
            OSError: a file with a password or a certificate can't be read.

        """
        return self.security | self.manners

    @property
    def security(self) -> dict[str, Any]:
        """Who connects, and how the broker is known; FastStream takes these as one object."""
        told: dict[str, Any] = {"user": self._settings.nats_user, "password": self._settings.nats_secret}
        if self._settings.nats_uses_tls:
            # Else nats-py asks whether to encrypt before it knows the server: whoever stands between could say no.
            told |= {"tls": self._settings.nats_tls(), "tls_handshake_first": True}
        return told

    @property
    def inbox_prefix(self) -> str:
        """Where answers come: other users can't listen there."""
        user = self._settings.nats_user
        return "_INBOX" if user is None else subjects.inbox(user)

    @property
    def manners(self) -> dict[str, Any]:
        """How it holds on to the broker, by names that nats-py and FastStream share."""
        return {
            "name": self._name,
            "inbox_prefix": self.inbox_prefix,
            "allow_reconnect": True,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.25,
            "connect_timeout": 3,
            "ping_interval": 10,
            "max_outstanding_pings": 2,
            "error_cb": self._failed,
            "disconnected_cb": self._disconnected,
            "reconnected_cb": self._reconnected,
            "closed_cb": self._closed,
        }

    def let_go(self) -> None:
        """Say that the connection is about to be closed on purpose."""
        self._leaving = True

    async def _failed(self, error: Exception) -> None:
        if self._on_failure is not None:
            self._on_failure(error)
        if refused := forbidden(error):
            action, subject = self._as_sent() or refused
            if action.startswith("publish") and subject.upper().startswith("_INBOX"):
                # To what came before a reconnect nobody may answer any more, and nobody waits for it.
                log.info("nats_answer_late", connection=self._name, subject=subject)
                return
            # All that shows besides is an answer that never comes.
            log.error("nats_forbidden", connection=self._name, action=action, subject=subject)
            return
        words = repr(error)
        if words not in self._said:
            self._say(error)
        if isinstance(error, OSError) or is_unauthorized(error):
            # An outage fails four times a second in the same words; once is enough.
            self._said.add(words)
        if is_unauthorized(error):
            # nats-py waits for this before it tries again; the server logs every attempt.
            await asyncio.sleep(_REFUSED_WAIT_S)
        if isinstance(error, SlowConsumerError) and self._on_gap is not None:
            await self._on_gap()

    def _say(self, error: Exception) -> None:
        if not is_unauthorized(error):
            log.warning("nats_error", connection=self._name, error=repr(error))
            return
        user = self._settings.nats_user
        hint = "no DECOPILOT_NATS_USER" if user is None else "the server does not know this user, or not so"
        log.error("nats_unauthorized", connection=self._name, user=user, hint=hint)

    def _as_sent(self) -> tuple[str, str] | None:
        # nats-py tells what the server says in small letters; while it does, the words are still in its buffer.
        client = self._client()
        sent = None if client is None else ERR_RE.match(client._ps.buf)  # noqa: SLF001  it tells it nowhere else
        return None if sent is None else forbidden(Exception(sent[0].decode("utf-8", "replace")))

    async def _disconnected(self) -> None:
        self._said.clear()
        if not self._leaving:
            log.warning("nats_disconnected", connection=self._name)

    async def _reconnected(self) -> None:
        self._said.clear()
        log.info("nats_reconnected", connection=self._name)
        if self._on_gap is not None:
            await self._on_gap()

    async def _closed(self) -> None:
        # nats-py gives a connection up for good after some protocol errors; a service that can't
        # speak must not look alive, so it ends and is started anew.
        if not self._leaving:
            client = self._client()
            error = None if client is None else client.last_error
            if error is not None:
                self._say(error)
            log.error("nats_closed", connection=self._name, exit_code=_ABANDONED)
            os._exit(_ABANDONED)


class _Client(Client):
    """nats-py's client (2.16.0, pinned), but for what it does badly."""

    async def _process_connect_init(self) -> None:
        # Where a greeting fails it opens the next connection, and leaves this one to the garbage collector.
        try:
            await super()._process_connect_init()
        except Exception:
            if self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call]  # nats-py ships no complete types
            raise

    async def _process_pong(self) -> None:
        # Where an answer comes after whoever asked has given up, it stops reading and says nothing of it.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _flush_pending(self, force_flush: bool = False) -> object:  # noqa: FBT001, FBT002  nats-py calls it so
        # Its reader has not heard yet that the connection was reset, and it writes to what uvloop has closed already.
        try:
            return await super()._flush_pending(force_flush)
        except RuntimeError as error:
            raise ConnectionResetError(str(error)) from error

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        # It asks of every character of every name whether it is a space: half of what reading a log cost. A test holds
        # ours against it.
        lines = raw.decode("utf-8", "replace").split("\r\n")
        if not any(odd in raw for odd in _ODD_SPACES):
            with suppress(ValueError):
                return dict([line.split(": ", 1) for line in lines if line])
        fields = (line.partition(":") for line in lines)
        return {name.strip(): value.strip() for name, colon, value in fields if colon}


def unconnected() -> Client:
    """Make a client that leaves nothing open where it is not let in."""
    return _Client()


async def flushed(client: Client) -> None:
    """Wait until the server has acted on all that was sent over this connection so far."""
    for _ in range(2):
        # nats-py writes its ping at once: the first one overtakes what still waits to be written.
        await client.flush()


@asynccontextmanager
async def connecting(
    settings: Settings,
    name: str,
    *,
    on_gap: Callable[[], Awaitable[None]] | None = None,
    on_failure: Callable[[Exception], None] | None = None,
) -> AsyncIterator[tuple[Client, Callable[[], Awaitable[None]]]]:
    """Hold a client while the context is open, together with the call that connects it; `on_failure` hears every error.

    That call waits for the broker as long as it takes; it raises ServerTooOldError if the server is older than 2.12.
    """
    client = _Client()
    lifeline = Lifeline(settings, name, on_gap=on_gap, on_failure=on_failure, client=lambda: client)
    asked = False

    async def connect() -> None:
        nonlocal asked
        asked = True
        opening = asyncio.ensure_future(client.connect(settings.nats_servers, **lifeline.options))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            # nats-py swallows a cancellation that meets a failed attempt, and goes on trying.
            while not opening.done():
                opening.cancel()
                await asyncio.wait([opening], timeout=_PERSISTENCE_S)
            raise
        version = client.connected_server_version
        if (version.major, version.minor) < SERVER_FLOOR:
            told = f"{version.major}.{version.minor}.{version.patch}"
            raise ServerTooOldError(told)

    try:
        yield client, connect
    finally:
        lifeline.let_go()
        if asked:  # nats-py can't close what was never opened
            # With the broker away, nats-py writes what it still holds into a transport that uvloop has closed.
            with suppress(RuntimeError):
                await client.close()


@asynccontextmanager
async def connected(
    settings: Settings,
    name: str,
    *,
    on_gap: Callable[[], Awaitable[None]] | None = None,
    on_failure: Callable[[Exception], None] | None = None,
) -> AsyncIterator[Client]:
    """Hold a connection while the context is open, waiting for the broker as long as it takes.

    `on_failure` hears every error meanwhile.

    Raises:
        ServerTooOldError: the server is older than 2.12.

    """
    async with connecting(settings, name, on_gap=on_gap, on_failure=on_failure) as (client, connect):
        await connect()
        yield client
