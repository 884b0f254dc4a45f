"""Connections to NATS that never give up by themselves, and a process that ends when one has."""

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from nats.aio.client import Client
from nats.errors import SlowConsumerError

from decopilot.contracts import subjects
from decopilot.kit.settings import Settings

SERVER_FLOOR = (2, 12)
_ABANDONED = 70
_PERSISTENCE_S = 0.1
_FORBIDDEN = re.compile(r'permissions violation for (\w+) to "?([^\s"]+)')
_ODD_SPACES = (b" :", b"  ", b" \r", b"\t")
"""Where a header has none of these, one space follows each name's colon and nothing is to be stripped."""

log = structlog.get_logger()


class ServerTooOldError(Exception):
    """An older server silently ignores guards and stream options that the log relies on."""

    def __init__(self, version: str) -> None:
        self.version = version
        super().__init__(f"nats-server {version} is too old: {'.'.join(map(str, SERVER_FLOOR))} or newer is needed")


class Lifeline:
    """How one connection behaves: it reconnects for ever, and takes the process with it if it can't.

    `on_gap` is called when messages may have been missed: after a reconnect, and when this process was too slow.
    """

    def __init__(self, settings: Settings, name: str, *, on_gap: Callable[[], Awaitable[None]] | None = None) -> None:
        self._settings = settings
        self._name = name
        self._on_gap = on_gap
        self._leaving = False
        self._said = ""

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
            context = ssl.create_default_context(cafile=self._settings.nats_tls_ca)
            if self._settings.nats_tls_cert is not None:
                context.load_cert_chain(self._settings.nats_tls_cert, self._settings.nats_tls_key)
            # Else nats-py asks whether to encrypt before it knows the server: whoever stands between could say no.
            told |= {"tls": context, "tls_handshake_first": True}
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
        if refused := _FORBIDDEN.search(str(error)):
            # All that shows besides is an answer that never comes. nats-py tells the subject in small letters.
            log.error("nats_forbidden", connection=self._name, action=refused[1], subject=refused[2])
            return
        said, self._said = self._said, repr(error)
        # An outage fails four times a second in the same words; once is enough.
        if self._said != said or not isinstance(error, OSError):
            log.warning("nats_error", connection=self._name, error=self._said)
        if isinstance(error, SlowConsumerError) and self._on_gap is not None:
            await self._on_gap()

    async def _disconnected(self) -> None:
        if not self._leaving:
            log.warning("nats_disconnected", connection=self._name)

    async def _reconnected(self) -> None:
        self._said = ""
        log.info("nats_reconnected", connection=self._name)
        if self._on_gap is not None:
            await self._on_gap()

    async def _closed(self) -> None:
        # nats-py gives a connection up for good after some protocol errors; a service that can't
        # speak must not look alive, so it ends and is started anew.
        if not self._leaving:
            log.error("nats_closed", connection=self._name)
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


@asynccontextmanager
async def connecting(
    settings: Settings, name: str, *, on_gap: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[tuple[Client, Callable[[], Awaitable[None]]]]:
    """Hold a client while the context is open, together with the call that connects it.

    That call waits for the broker as long as it takes; it raises ServerTooOldError if the server is older than 2.12.
    """
    lifeline = Lifeline(settings, name, on_gap=on_gap)
    client = _Client()
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
            raise ServerTooOldError(str(version))

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
    settings: Settings, name: str, *, on_gap: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[Client]:
    """Hold a connection while the context is open, waiting for the broker as long as it takes.

    Raises:
        ServerTooOldError: the server is older than 2.12.

    """
    async with connecting(settings, name, on_gap=on_gap) as (client, connect):
        await connect()
        yield client
