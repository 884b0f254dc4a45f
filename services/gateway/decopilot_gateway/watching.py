"""Watching: an org's watch events as named Server-Sent Events, resumable."""

from functools import lru_cache

from aiohttp import web
from pydantic_core import to_json

from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId
from decopilot.contracts.watch import WatchEvent
from decopilot.log.blocks import Block, Piece
from decopilot.log.store import Store, Stored
from decopilot.log.tail import Tails, watch_events
from decopilot_gateway import sse
from decopilot_gateway.admitting import Admission
from decopilot_gateway.auth import Doorman
from decopilot_gateway.following import OddError, follow
from decopilot_gateway.problems import ProblemError
from decopilot_gateway.streaming import Channel, Lease, Leaving, Pulse, stream

PATTERNS, TYPES = 32, 64
_MAX_DIGITS = 18


def matches(event_type: str, patterns: list[str]) -> bool:
    """Tell whether a type is asked for: by its name, by `prefix.*`, or because nothing was asked for."""
    return not patterns or any(
        event_type.startswith(pattern[:-1]) if pattern.endswith(".*") else event_type == pattern for pattern in patterns
    )


class Watch:
    """Handles `GET /{org}/watch`."""

    def __init__(
        self,
        doorman: Doorman,
        admission: Admission,
        leaving: Leaving,
        pulse: Pulse,
        *,
        tails: Tails[Stored, str],
        store: Store,
    ) -> None:
        self._doorman = doorman
        self._admission = admission
        self._tails = tails
        self._store = store
        self._leaving = leaving
        self._pulse = pulse

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Stream the org's watch events."""
        caller = self._doorman.caller(request)
        asked = ",".join(request.query.getall("types", []))
        patterns = list(dict.fromkeys(entry for part in asked.split(",") if (entry := part.strip())))
        if len(patterns) > PATTERNS:
            raise ProblemError("invalid_query", f"types takes {PATTERNS} patterns at most.")
        cursor = _position(request)
        with self._admission.admit(caller):
            async with self._tails.follow(watch_events(caller.org, _piece)) as feed:
                if cursor is None or cursor > feed.head:
                    # Now is where the store is: this gateway may be about to hear of an event that was told already.
                    await feed.check()
                position = feed.head if cursor is None or cursor > feed.head else cursor
                resumed = await self._is_held(caller.org, cursor)
                connected = {"organizationId": caller.org, "typePatterns": patterns, "resumed": resumed}

                async def write(channel: Channel) -> None:
                    channel.write(sse.event(to_json(connected), id_=str(position), name="connected"))
                    watcher = Watcher(position, patterns)
                    await follow(feed, watcher, channel, self._leaving)

                return await stream(request, self._leaving, self._pulse, Lease(caller.expires_at), write)

    async def _is_held(self, org: OrgId, cursor: int | None) -> bool:
        # Events expire from the oldest on: while this one is there, everything behind it is.
        stored = await self._store.get(subjects.WATCH_STREAM, cursor) if cursor else None
        return stored is not None and subjects.owner_of(stored.subject)[0] == org


class Watcher:
    """One client that watches: its position, and the types that it asked for."""

    def __init__(self, position: int, patterns: list[str]) -> None:
        self.position = position
        self._wants = lru_cache(TYPES)(lambda kind: matches(kind, patterns))

    def take(self, block: Block[str]) -> bytes:
        """Go to the end of a block; returns its events if their type was asked for."""
        position, self.position = self.position, block.sequence
        return block.behind(position) if self._wants(block.kind) else b""

    def find_nothing(self, head: int) -> None:
        """Pass over what has expired: it is not waited for."""
        self.position = head

    async def meet(self, odd: OddError) -> tuple[bytes, bool]:
        """Never asked: nothing is odd about what is told here."""
        raise odd

    async def held_up(self) -> None:
        """Nothing to do: what is told stays its hour, whoever reads it."""


def _piece(told: Stored, previous: int) -> Piece[str]:
    kind = WatchEvent.model_validate_json(told.data).type
    return Piece(kind, previous, told.sequence, sse.event(told.data, id_=str(told.sequence), name=kind))


def _position(request: web.Request) -> int | None:
    text = request.headers.get("Last-Event-ID") or request.query.get("cursor")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        raise ProblemError("invalid_cursor", "A watch cursor is a number, as the stream's ids are.")
    return int(text)
