"""Watching: an org's watch events as named Server-Sent Events, resumable."""

from functools import lru_cache
from typing import NamedTuple

from aiohttp import web
from pydantic_core import to_json

from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId
from decopilot.contracts.watch import WatchEvent
from decopilot.domain.access import may_read
from decopilot.log.blocks import Block, Piece
from decopilot.log.store import Store, Stored
from decopilot.log.tail import Tails, watch_events
from decopilot.log.watchlog import private_to_of
from decopilot_gateway import sse
from decopilot_gateway.admitting import Admission
from decopilot_gateway.auth import Caller, Doorman
from decopilot_gateway.following import OddError, follow
from decopilot_gateway.metrics import viewing
from decopilot_gateway.problems import ProblemError
from decopilot_gateway.streaming import Channel, Lease, Leaving, Pulse, stream

PATTERNS, TYPES = 32, 64
_MAX_DIGITS = 18


def matches(event_type: str, patterns: list[str]) -> bool:
    """Tell whether a type is asked for: by its name, by `prefix.*`, or because nothing was asked for."""
    return not patterns or any(
        event_type.startswith(pattern[:-1]) if pattern.endswith(".*") else event_type == pattern for pattern in patterns
    )


class Told(NamedTuple):
    """What one watch event is, and whom it is private to."""

    type: str
    private_to: str | None


class Watch:
    """Handles `GET /{org}/watch`."""

    def __init__(
        self,
        doorman: Doorman,
        admission: Admission,
        leaving: Leaving,
        pulse: Pulse,
        *,
        tails: Tails[Stored, Told],
        store: Store,
    ) -> None:
        self._doorman = doorman
        self._admission = admission
        self._tails = tails
        self._store = store
        self._leaving = leaving
        self._pulse = pulse

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Stream the org's watch events, of the threads that the caller may read."""
        caller = self._doorman.caller(request)
        asked = ",".join(request.query.getall("types", []))
        patterns = list(dict.fromkeys(entry for part in asked.split(",") if (entry := part.strip())))
        if len(patterns) > PATTERNS:
            raise ProblemError("invalid_query", f"types takes {PATTERNS} patterns at most.")
        cursor = _position(request)
        with self._admission.admit(caller.org, caller.user), viewing("watch"):
            async with self._tails.follow(watch_events(caller.org, _piece)) as feed:
                if cursor is None or cursor > feed.head:
                    # Now is where the store is: this gateway may be about to hear of an event that was told already.
                    await feed.check()
                position = feed.head if cursor is None or cursor > feed.head else cursor
                resumed = await self._is_held(caller.org, cursor)
                connected = {"organizationId": caller.org, "typePatterns": patterns, "resumed": resumed}

                async def write(channel: Channel) -> None:
                    channel.write(sse.event(to_json(connected), id_=str(position), name="connected"))
                    watcher = Watcher(position, patterns, caller)
                    await follow(feed, watcher, channel, self._leaving)

                return await stream(request, self._leaving, self._pulse, Lease(caller.expires_at), write)

    async def _is_held(self, org: OrgId, cursor: int | None) -> bool:
        # Events expire from the oldest on: while this one is there, everything behind it is.
        stored = await self._store.get(subjects.WATCH_STREAM, cursor) if cursor else None
        return stored is not None and subjects.owner_of(stored.subject)[0] == org


class Watcher:
    """One client that watches: its position, who it is, and the types that it asked for."""

    def __init__(self, position: int, patterns: list[str], caller: Caller) -> None:
        self.position = position
        self._caller = caller
        self._wants = lru_cache(TYPES)(lambda kind: matches(kind, patterns))

    def take(self, block: Block[Told]) -> bytes:
        """Go to the end of a block; returns its events if their type was asked for, and they are for the caller."""
        position, self.position = self.position, block.sequence
        told, caller = block.kind, self._caller
        is_given = self._wants(told.type) and may_read(caller.role, caller.user, told.private_to)
        return block.behind(position) if is_given else b""

    def find_nothing(self, head: int) -> None:
        """Pass over what has expired: it is not waited for."""
        self.position = head

    async def meet(self, odd: OddError) -> tuple[bytes, bool]:
        """Never asked: nothing is odd about what is told here."""
        raise odd

    async def held_up(self) -> None:
        """Nothing to do: what is told stays its hour, whoever reads it."""


def _piece(told: Stored, previous: int) -> Piece[Told]:
    kind = Told(WatchEvent.model_validate_json(told.data).type, private_to_of(told))
    return Piece(kind, previous, told.sequence, sse.event(told.data, id_=str(told.sequence), name=kind.type))


def _position(request: web.Request) -> int | None:
    text = request.headers.get("Last-Event-ID") or request.query.get("cursor")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        raise ProblemError("invalid_cursor", "A watch cursor is a number, as the stream's ids are.")
    return int(text)
