"""Listing: which of an org's threads a list shows, and in which order."""

import binascii
import unicodedata
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any, Self, get_args

from aiohttp import web
from pydantic_core import to_json

from decopilot.contracts.commands import ThreadStatus
from decopilot.contracts.events import UnknownEventError
from decopilot.contracts.ids import OrgId, ThreadId, is_id
from decopilot.contracts.views import ThreadSummary
from decopilot.domain.access import may_read
from decopilot.domain.thread import INITIAL, ThreadState
from decopilot.log.journal import Journal
from decopilot.log.views import Views
from decopilot_gateway.auth import Doorman
from decopilot_gateway.problems import ProblemError
from decopilot_gateway.queries import number_in_query, text_in_query

LIMIT, LIMIT_MAX = 100, 1000
SEARCH_MAX = 200
ARCHIVED = {"false": False, "true": True, "all": None}
_PLACE_MAX = 256

Place = tuple[str, str]
"""Where a thread stands in the list: when it changed, and its id."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for: `before` is the place of the last thread that it was given, None from the start."""

    limit: int = LIMIT
    words: tuple[str, ...] = ()
    statuses: frozenset[str] = frozenset()
    is_archived: bool | None = False
    before: Place | None = None

    @classmethod
    def of(cls, request: web.Request) -> Self:
        """Read it.

        Raises:
            ProblemError: a parameter is malformed.

        """
        return cls(
            limit=number_in_query(request, "limit", LIMIT, LIMIT_MAX),
            words=_words(request),
            statuses=_statuses(request),
            is_archived=_archived(request),
            before=_before(request),
        )

    def matches(self, entry: ThreadSummary) -> bool:
        """Tell whether a thread is asked for, wherever it stands."""
        if self.is_archived not in {None, entry.archived} or (self.statuses and entry.status not in self.statuses):
            return False
        if not self.words:
            return True
        named = folded(f"{entry.title}\n{entry.first_title}")
        return all(word in named for word in self.words)


class Listing:
    """Handles `GET …/threads`."""

    def __init__(self, doorman: Doorman, views: Views, journal: Journal) -> None:
        self._doorman = doorman
        self._views = views
        self._journal = journal

    async def threads(self, request: web.Request) -> web.Response:
        """List the org's threads that the caller may read, the one that changed last first."""
        caller, asked = self._doorman.caller(request), Asked.of(request)
        found = [
            entry
            async for entry in self._views.threads(caller.org, self._fold)
            if may_read(caller.role, caller.user, entry.private_to) and asked.matches(entry)
        ]
        page, following = paged(found, asked)
        body = {
            "threads": [summary_json(entry) for entry in page],
            "next": None if following is None else _written(following),
        }
        return web.Response(body=to_json(body), content_type="application/json")

    async def _fold(self, org: OrgId, thread: ThreadId) -> ThreadState:
        try:
            return (await self._journal.load(org, thread)).state
        except UnknownEventError:
            # Whoever understands it lists it.
            return INITIAL


def paged(found: list[ThreadSummary], asked: Asked) -> tuple[list[ThreadSummary], Place | None]:
    """Cut out the page that is asked for; also tell the place to go on behind, None at the end."""
    ordered = sorted(found, key=_place, reverse=True)
    rest = ordered if asked.before is None else [entry for entry in ordered if _place(entry) < asked.before]
    page = rest[: asked.limit]
    return page, _place(page[-1]) if len(rest) > len(page) else None


def summary_json(entry: ThreadSummary) -> dict[str, Any]:
    """Make what lists, and whoever asks for one thread, are told of it."""
    return {
        "id": entry.id,
        "title": entry.title,
        "archived": entry.archived,
        "status": entry.status,
        "failureReason": entry.failure_reason,
        "agentId": entry.agent_id,
        "createdBy": entry.created_by,
        "visibility": entry.visibility,
        "createdAt": entry.created_at,
        "updatedAt": entry.updated_at,
    }


def folded(text: str) -> str:
    """Make of a text what searching compares: without case, and however its characters are composed."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _place(entry: ThreadSummary) -> Place:
    return entry.updated_at, entry.id


def _words(request: web.Request) -> tuple[str, ...]:
    text = text_in_query(request, "q") or ""
    if len(text) > SEARCH_MAX:
        raise ProblemError("invalid_query", f"q has at most {SEARCH_MAX} characters.")
    return tuple(folded(text).split())


def _statuses(request: web.Request) -> frozenset[str]:
    text = text_in_query(request, "status")
    statuses = frozenset() if text is None else frozenset(text.split(","))
    if not statuses <= {*get_args(ThreadStatus)}:
        raise ProblemError("invalid_query", f"status is one or more of {', '.join(get_args(ThreadStatus))}.")
    return statuses


def _archived(request: web.Request) -> bool | None:
    text = text_in_query(request, "archived")
    if text is None:
        return False
    if text not in ARCHIVED:
        raise ProblemError("invalid_query", f"archived is one of {', '.join(ARCHIVED)}.")
    return ARCHIVED[text]


def _before(request: web.Request) -> Place | None:
    text = text_in_query(request, "before")
    if text is None:
        return None
    try:
        at, _, id_ = urlsafe_b64decode(text[:_PLACE_MAX] + "=" * (-len(text) % 4)).decode().partition(" ")
    except (binascii.Error, ValueError):
        at = id_ = ""
    if not at or not is_id(id_):
        raise ProblemError("invalid_query", "before is what next was told.")
    return at, id_


def _written(place: Place) -> str:
    return urlsafe_b64encode(" ".join(place).encode()).rstrip(b"=").decode()
