"""Places: which runs go on at once, in a stream; claimed by whoever asks for one, kept and given back by the log."""

from math import inf
from typing import NamedTuple

from nats.js.errors import APIError

from decopilot.contracts import subjects
from decopilot.contracts.events import RunRequested
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.domain.quotas import SERVICE, Full, Place, Quotas, full_for, who_asks
from decopilot.log.store import EXPECTED, Store, is_conflict

CLAIM_S = 60
"""A claim that nothing came of is gone after this time: longer than any append takes, and any reactor to hear of it."""

_STREAM = subjects.PLACES_STREAM
_TTL = "Nats-TTL"
_NO_MESSAGE = 10037
_REMEMBERED = 10_000


class _Counted(NamedTuple):
    """How many places there were when the stream had this many messages behind it."""

    places: int
    sequence: int


class Places:
    """The places of runs over one store (ADR 0040); all raise what a store does."""

    def __init__(self, store: Store, *, claim_s: int = CLAIM_S) -> None:
        self._store = store
        self._claim_s = claim_s
        self._counted: dict[str, _Counted] = {}

    async def claim(self, org: OrgId, who: str, thread: ThreadId, run: RunId) -> Place | None:
        """Claim a place, for a time; whether there is one is to be asked then. None where the run has one."""
        subject = subjects.place(org, who, thread, run)
        headers = {_TTL: str(self._claim_s), EXPECTED: "0"}
        try:
            sequence = await self._store.publish(_STREAM, subject, b"", headers)
        except Exception as error:
            if not is_conflict(error):
                raise
            return None
        return Place(who, thread, run, sequence, lasts=False)

    async def full_for(self, org: OrgId, mine: Place, quotas: Quotas) -> Full | None:
        """Tell whose room is full without this claim, if somebody's is; where there is plenty, nobody is asked."""
        limits = {subjects.places_of(org): quotas.runs_per_org}
        if mine.who != SERVICE:
            limits[subjects.places_of_user(org, mine.who)] = quotas.runs_per_user
        for filter_, limit in limits.items():
            if self._at_most(filter_, mine.sequence) <= limit or await self._count(filter_) <= limit:
                continue
            # Room is scarce: now it matters which claims came first.
            full = full_for(mine, await self._read(filter_, mine.sequence), quotas)
            if full is not None:
                return full
        return None

    def _at_most(self, filter_: str, sequence: int) -> float:
        """Tell how many places there may be by now: those that were counted, and one more for every message since."""
        counted = self._counted.get(filter_)
        if counted is None or counted.sequence > sequence:
            return inf
        return counted.places + sequence - counted.sequence

    async def _count(self, filter_: str) -> int:
        info = await self._store.js.stream_info(_STREAM, subjects_filter=filter_)
        count = len(info.state.subjects or {})
        if len(self._counted) >= _REMEMBERED:
            self._counted.clear()
        # What came while they were listed is counted twice, and never not at all.
        self._counted[filter_] = _Counted(count, info.state.last_seq)
        return count

    async def _read(self, filter_: str, until: int) -> list[Place]:
        # A replica that has this claim has all that came before it, as they were or as they have become.
        return [
            Place(*_named(stored.subject), stored.sequence, lasts=_TTL not in stored.headers)
            async for batch in self._store.read(_STREAM, filter_, 0, until=until)
            for stored in batch
        ]

    async def withdraw(self, claim: Place) -> None:
        """Take a claim back; what has become of it since stays."""
        try:
            await self._store.js.delete_msg(_STREAM, claim.sequence)
        except APIError as error:
            if error.err_code != _NO_MESSAGE:
                raise

    async def keep(self, org: OrgId, thread: ThreadId, requested: RunRequested) -> None:
        """Have a run keep its place until it is given back."""
        who = who_asks(requested.config.role, requested.user_id)
        await self._store.publish(_STREAM, subjects.place(org, who, thread, requested.run_id), b"")

    async def leave(self, org: OrgId, place: Place) -> None:
        """Give a place back."""
        subject = subjects.place(org, place.who, place.thread, place.run)
        await self._store.js.purge_stream(_STREAM, subject=subject)

    async def of_thread(self, org: OrgId, thread: ThreadId) -> list[Place]:
        """List the places that runs of a thread have, by the leader's word."""
        filter_ = subjects.places_of_thread(org, thread)
        info = await self._store.js.stream_info(_STREAM, subjects_filter=filter_)
        return [Place(*_named(subject)) for subject in info.state.subjects or {}]


def _named(subject: str) -> tuple[str, ThreadId, RunId]:
    _, who, thread, run = subject.rsplit(".", 3)
    return who, ThreadId(thread), RunId(run)
