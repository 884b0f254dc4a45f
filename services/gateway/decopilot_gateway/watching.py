"""Watching: an org's watch events as named Server-Sent Events, resumable."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from aiohttp import web
from pydantic_core import to_json

from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId
from decopilot.contracts.watch import WatchEvent
from decopilot.log.store import UNCERTAIN, Store, Stored
from decopilot.log.tail import Feed, Tails, watch_events
from decopilot_gateway import sse
from decopilot_gateway.auth import Doorman
from decopilot_gateway.problems import ProblemError
from decopilot_gateway.streaming import Leaving, stream

RETRY_S = 0.25
_MAX_DIGITS = 18

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Told:
    """A watch event as stored, with its type."""

    sequence: int
    type: str
    body: bytes

    @classmethod
    def of(cls, stored: Stored) -> "Told":
        """Read a stored watch event."""
        return cls(stored.sequence, WatchEvent.model_validate_json(stored.data).type, stored.data)


def matches(event_type: str, patterns: list[str]) -> bool:
    """Tell whether a type is asked for: by its name, by `prefix.*`, or because nothing was asked for."""
    return not patterns or any(
        event_type.startswith(pattern[:-1]) if pattern.endswith(".*") else event_type == pattern for pattern in patterns
    )


class Watch:
    """Handles `GET /{org}/watch`."""

    def __init__(
        self, doorman: Doorman, tails: Tails[Told], store: Store, leaving: Leaving, *, keepalive_s: float
    ) -> None:
        self._doorman = doorman
        self._tails = tails
        self._store = store
        self._leaving = leaving
        self._keepalive_s = keepalive_s

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Stream the org's watch events."""
        org = self._doorman.caller(request).org
        patterns = [entry for part in request.query.get("types", "").split(",") if (entry := part.strip())]
        cursor = _position(request)
        async with self._tails.follow(watch_events(org, Told.of)) as feed:
            if cursor is not None and cursor > feed.head:
                # Another gateway may have told an event that this one is about to hear of.
                await feed.check()
            position = feed.head if cursor is None or cursor > feed.head else cursor
            connected = {"organizationId": org, "typePatterns": patterns, "resumed": await self._is_held(org, cursor)}
            first = sse.event(to_json(connected), id_=str(position), name="connected")

            async def write(response: web.StreamResponse) -> None:
                await response.write(first)
                await self._stream(org, feed, position, patterns, response)

            return await stream(request, self._leaving, write)

    async def _is_held(self, org: OrgId, cursor: int | None) -> bool:
        # Events expire from the oldest on: while this one is there, everything behind it is.
        stored = await self._store.get(subjects.WATCH_STREAM, cursor) if cursor else None
        return stored is not None and subjects.owner_of(stored.subject)[0] == org

    async def _stream(
        self, org: OrgId, feed: Feed[Told], position: int, patterns: list[str], response: web.StreamResponse
    ) -> None:
        while not self._leaving.started:
            try:
                near, head = feed.behind(position), feed.head
                if near is None:
                    async for batch in feed.read(position):
                        position = await _tell(batch, patterns, response)
                    # What has expired is not waited for.
                    position = max(position, head)
                elif near:
                    position = await _tell(near, patterns, response)
                else:
                    await self._wait(feed, position, response)
            except UNCERTAIN as error:
                if isinstance(error, ConnectionResetError):
                    raise
                log.warning("watcher_waits", org=org, error=repr(error))
                await response.write(sse.KEEPALIVE)
                await asyncio.sleep(RETRY_S)

    async def _wait(self, feed: Feed[Told], position: int, response: web.StreamResponse) -> None:
        try:
            async with asyncio.timeout(self._keepalive_s):
                await feed.wait(position)
        except TimeoutError:
            await response.write(sse.KEEPALIVE)


async def _tell(batch: Sequence[Told], patterns: list[str], response: web.StreamResponse) -> int:
    wanted = (told for told in batch if matches(told.type, patterns))
    events = b"".join(sse.event(told.body, id_=str(told.sequence), name=told.type) for told in wanted)
    if events:
        await response.write(events)
    return batch[-1].sequence


def _position(request: web.Request) -> int | None:
    text = request.headers.get("Last-Event-ID") or request.query.get("cursor")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        raise ProblemError("invalid_cursor", "A watch cursor is a number, as the stream's ids are.")
    return int(text)
