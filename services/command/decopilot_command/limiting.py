"""Limiting: whoever asks for a run is counted, and has a place among those that go on, before it is appended."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TypeVar

import structlog

from decopilot.contracts.events import RunQueued, RunRequested
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.domain.commands import RefusedError
from decopilot.domain.quotas import ORG, SERVICE, Place, Quotas, who_asks, window_of
from decopilot.domain.thread import ThreadState
from decopilot.log.counts import Counts
from decopilot.log.places import Places
from decopilot.log.store import UNCERTAIN, MessageTooLargeError

PATIENCE_S = 1.0
"""A limit that can't be looked at by then holds nobody up: it is there against too much, not against an outage."""
RUNS_RETRY_S = 10

ResultT = TypeVar("ResultT")

log = structlog.get_logger()


class _Spent:
    """Who has sent as much as they may in the present window: they are refused at the cost of a look in here."""

    def __init__(self) -> None:
        self._window = 0
        self._whose: set[tuple[OrgId, str]] = set()

    def add(self, org: OrgId, who: str, window: int) -> None:
        if window != self._window:
            self._window, self._whose = window, set()
        self._whose.add((org, who))

    def holds(self, org: OrgId, who: str, window: int) -> bool:
        return window == self._window and (org, who) in self._whose


class Limiter:
    """Measures what is asked for by what users and orgs may (ADR 0040)."""

    def __init__(self, counts: Counts, places: Places, quotas: Quotas) -> None:
        self.counts = counts
        self.places = places
        self.quotas = quotas
        self.spent = _Spent()

    @asynccontextmanager
    async def admitting(self, org: OrgId, thread: ThreadId) -> AsyncIterator["Admission"]:
        """Admit what comes of one request; what was claimed for it is given back if that is refused.

        Where nobody knows what became of the request the claim stays, until the log tells or its time is up.
        """
        admission = Admission(self, org, thread)
        try:
            yield admission
        except (RefusedError, MessageTooLargeError):
            await admission.withdraw()
            raise


class Admission:
    """One request: counted once, however often its event is decided anew, with at most one place."""

    def __init__(self, limiter: Limiter, org: OrgId, thread: ThreadId) -> None:
        self._limiter = limiter
        self._org = org
        self._thread = thread
        self._is_counted = False
        self._claimed: Place | None = None

    async def admit(self, event: RunRequested | RunQueued) -> None:
        """Count who asks, then their org, and meanwhile see to a place for a run that would begin.

        The user comes first: who asks for too much takes nothing away from colleagues.

        Raises:
            RefusedError: that is one too many.

        """
        who, quotas = who_asks(event), self._limiter.quotas
        counted: list[tuple[str, int]] = []
        if not self._is_counted:
            counted = [(who, quotas.messages_per_user), (ORG, quotas.messages_per_org)][who == SERVICE :]
            self._check_spent(counted)
        self._is_counted = True
        # Neither is left behind by a refusal of the other.
        refusals = await asyncio.gather(*(self._count(*one) for one in counted[:-1]), self._claim(event))
        _raise_any(refusals)
        refusals = await asyncio.gather(*(self._count(*one) for one in counted[-1:]), self._look())
        _raise_any(refusals)

    async def settle(self, state: ThreadState) -> None:
        """Give the place back where it was not the run of it that began."""
        if self._claimed is not None and (state.active is None or state.active.run_id != self._claimed.run):
            await self.withdraw()

    async def withdraw(self) -> None:
        """Give the place back, if one is claimed."""
        if self._claimed is not None:
            claimed, self._claimed = self._claimed, None
            await self._tried(self._limiter.places.leave(self._org, claimed), None)

    def _check_spent(self, counted: list[tuple[str, int]]) -> None:
        for who, limit in counted:
            window, left_s = _now()
            if self._limiter.spent.holds(self._org, who, window):
                raise _too_many_messages(who, limit, left_s)

    async def _count(self, who: str, limit: int) -> RefusedError | None:
        window, left_s = _now()
        if await self._tried(self._limiter.counts.add(self._org, who, window), 0) <= limit:
            return None
        self._limiter.spent.add(self._org, who, window)
        return _too_many_messages(who, limit, left_s)

    async def _claim(self, event: RunRequested | RunQueued) -> RefusedError | None:
        if self._claimed is None and isinstance(event, RunRequested):
            self._claimed = await self._tried(self._limiter.places.claim(self._org, self._thread, event), None)
        return None

    async def _look(self) -> RefusedError | None:
        quotas = self._limiter.quotas
        if self._claimed is None:
            return None
        match await self._tried(self._limiter.places.full_for(self._org, self._claimed, quotas), None):
            case None:
                return None
            case "user":
                detail = f"You have {quotas.runs_per_user} runs going on, which is the limit."
            case "org":
                detail = f"The org has {quotas.runs_per_org} runs going on, which is the limit."
        return RefusedError("too_many_runs", detail, retry_after_s=RUNS_RETRY_S)

    async def _tried(self, call: Awaitable[ResultT], otherwise: ResultT) -> ResultT:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await call
        except UNCERTAIN as error:
            log.warning("limit_unchecked", org=self._org, thread=self._thread, error=repr(error))
            return otherwise


def _now() -> tuple[int, int]:
    return window_of(datetime.now(UTC))


def _too_many_messages(who: str, limit: int, retry_after_s: int) -> RefusedError:
    whose = "The org" if who == ORG else "You"
    detail = f"{whose} sent {limit} messages within a minute, which is the limit."
    return RefusedError("too_many_messages", detail, retry_after_s=retry_after_s)


def _raise_any(refusals: Iterable[RefusedError | None]) -> None:
    for refusal in refusals:
        if refusal is not None:
            raise refusal
