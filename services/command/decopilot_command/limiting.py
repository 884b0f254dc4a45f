"""Limiting: whoever asks for a run is counted, and claims a place among those that go on, before it is appended."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from nats.js.errors import NoStreamResponseError, NotFoundError

from decopilot.contracts.events import RunQueued, RunRequested, UnknownEventError
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.domain.commands import RefusedError
from decopilot.domain.quotas import ORG, SERVICE, Full, Place, Quotas, who_asks, window_of
from decopilot.log.counts import Counts
from decopilot.log.journal import Executed
from decopilot.log.places import Places
from decopilot.log.store import UNCERTAIN, MessageTooLargeError
from decopilot_command.giving_up import GivenUpError

RUNS_RETRY_S = 10
SPENT_S = 1.0
ASKED_TWICE = "The very same is being asked for at this moment; ask what came of it."

ABSENT = (NoStreamResponseError, NotFoundError)
"""Nobody has provisioned what limits are counted in: that holds nobody up."""

log = structlog.get_logger()


def _now() -> datetime:
    return datetime.now(UTC)


class _Spent:
    """Who had sent as much as a window allows a moment ago: a flood is refused at the cost of a look in here.

    No longer: of what was counted then, what was refused is given back.
    """

    def __init__(self) -> None:
        self._until: dict[tuple[OrgId, str, int], float] = {}

    def add(self, org: OrgId, who: str, window: int) -> None:
        now = time.monotonic()
        kept = {one: until for one, until in self._until.items() if until > now}
        self._until = kept | {(org, who, window): now + SPENT_S}

    def find(self, org: OrgId, counted: Iterable[str], window: int) -> str | None:
        now = time.monotonic()
        return next((who for who in counted if self._until.get((org, who, window), now) > now), None)


class Limiter:
    """Measures what is asked for by what users and orgs may (ADR 0040)."""

    def __init__(self, counts: Counts, places: Places, quotas: Quotas, *, now: Callable[[], datetime] = _now) -> None:
        self.now = now
        self.counts = counts
        self.places = places
        self.quotas = quotas
        self.spent = _Spent()

    @asynccontextmanager
    async def admitting(self, org: OrgId, thread: ThreadId) -> AsyncIterator["Admission"]:
        """Admit what comes of one request; what was taken for it is given back if nothing does.

        Where nobody knows what became of the request, its place stays until the log tells or the claim's time is up.
        """
        admission = Admission(self, org, thread)
        try:
            yield admission
        except (RefusedError, GivenUpError, MessageTooLargeError, UnknownEventError):
            await admission.give_back()
            raise
        finally:
            await admission.end()


@dataclass(frozen=True, slots=True)
class _Measured:
    """What speaks against a message, and what against a run that would begin with it."""

    messages: RefusedError | None = None
    runs: RefusedError | None = None


class Admission:
    """One request: counted once, and with one place, however often its event is decided anew."""

    def __init__(self, limiter: Limiter, org: OrgId, thread: ThreadId) -> None:
        self._limiter = limiter
        self._org = org
        self._thread = thread
        self._measuring: asyncio.Task[_Measured] | None = None
        self._counted: list[tuple[str, int]] = []
        self._claim: Place | None = None

    def begin(self, who: str, run: RunId) -> asyncio.Task[_Measured]:
        """Begin to measure, for this run or one that it turns out to be a repeat of: meanwhile the thread is loaded."""
        if self._measuring is None:
            self._measuring = asyncio.create_task(self._measure(who, run), name=f"measure {run}")
        return self._measuring

    async def admit(self, event: RunRequested | RunQueued) -> None:
        """Let what is about to be appended pass.

        Raises:
            RefusedError: it is one too many. Behind another run of its thread a message only waits.
            nats.errors.Error, TimeoutError, OSError: the broker does not say. A flood that it can't keep up with lets
                nobody pass; only what is not there at all limits nothing.

        """
        measured = await self.begin(who_asks(event.config.role, event.user_id), event.run_id)
        refusal = measured.messages or (measured.runs if isinstance(event, RunRequested) else None)
        if refusal is not None:
            raise refusal

    async def settle(self, executed: Executed) -> None:
        """Give back what was not needed: a repeat counts nothing, and what waits in a queue takes no place."""
        if executed.appended is None:
            await self.give_back()
        elif not isinstance(executed.appended.event, RunRequested):
            await self._returned(self._withdraw())

    async def give_back(self) -> None:
        """Give back all that was taken."""
        if self._measuring is not None:
            await asyncio.gather(self._measuring, return_exceptions=True)
        counted, self._counted = self._counted, []
        returned = (self._limiter.counts.add(self._org, who, window, -1) for who, window in counted)
        await self._returned(*returned, self._withdraw())

    async def end(self) -> None:
        """See to it that nothing goes on behind the request."""
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.gather(self._measuring, return_exceptions=True)

    async def _measure(self, who: str, run: RunId) -> _Measured:
        quotas, (window, left_s) = self._limiter.quotas, window_of(self._limiter.now())
        limits = {who: quotas.messages_per_user, ORG: quotas.messages_per_org}
        if who == SERVICE:
            del limits[who]
        spent = self._limiter.spent.find(self._org, limits, window)
        if spent is not None:
            return _Measured(messages=_too_many_messages(spent, limits[spent], left_s))
        runs, counts = await _together(self._place(who, run), *(self._count(counted, window) for counted in limits))
        for (counted, limit), count in zip(limits.items(), counts, strict=True):
            if count > limit:
                self._limiter.spent.add(self._org, counted, window)
                return _Measured(messages=_too_many_messages(counted, limit, left_s))
        return _Measured(runs=runs)

    async def _count(self, who: str, window: int) -> int:
        try:
            count = await self._limiter.counts.add(self._org, who, window)
        except ABSENT as error:
            self._unchecked(error)
            return 0
        self._counted.append((who, window))
        return count

    async def _place(self, who: str, run: RunId) -> RefusedError | None:
        places, quotas = self._limiter.places, self._limiter.quotas
        try:
            self._claim = await places.claim(self._org, who, self._thread, run)
            if self._claim is None:
                return RefusedError("too_many_runs", ASKED_TWICE, retry_after_s=RUNS_RETRY_S)
            full = await places.full_for(self._org, self._claim, quotas)
        except ABSENT as error:
            self._unchecked(error)
            return None
        return None if full is None else _too_many_runs(full, quotas)

    async def _withdraw(self) -> None:
        claim, self._claim = self._claim, None
        if claim is not None:
            await self._limiter.places.withdraw(claim)

    def _unchecked(self, error: Exception) -> None:
        log.warning("limit_unchecked", org=self._org, thread=self._thread, error=repr(error))

    async def _returned(self, *calls: Awaitable[object]) -> None:
        for error in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(error, UNCERTAIN):
                # The answer stands all the same: the claim runs out, the minute ends.
                log.warning("limit_not_given_back", org=self._org, thread=self._thread, error=repr(error))
            elif isinstance(error, BaseException):
                raise error


async def _together(
    placing: Awaitable[RefusedError | None], *counting: Awaitable[int]
) -> tuple[RefusedError | None, list[int]]:
    """Wait for all of them, also where one fails: what goes on behind it would be given back by nobody."""
    place, counts = asyncio.ensure_future(placing), [asyncio.ensure_future(count) for count in counting]
    await asyncio.gather(place, *counts, return_exceptions=True)
    return place.result(), [count.result() for count in counts]


def _too_many_messages(who: str, limit: int, retry_after_s: int) -> RefusedError:
    whose = "The org" if who == ORG else "You"
    detail = f"{whose} sent {limit} messages within a minute, which is the limit."
    return RefusedError("too_many_messages", detail, retry_after_s=retry_after_s)


def _too_many_runs(full: Full, quotas: Quotas) -> RefusedError:
    whose, limit = ("The org has", quotas.runs_per_org) if full == "org" else ("You have", quotas.runs_per_user)
    detail = f"{whose} {limit} runs going on, which is the limit."
    return RefusedError("too_many_runs", detail, retry_after_s=RUNS_RETRY_S)
