"""Places: which runs go on at once, in a stream; claimed by whoever asks for one, kept and given back by the log."""

from nats.js.errors import APIError

from decopilot.contracts import subjects
from decopilot.contracts.events import RunRequested
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.domain.quotas import Full, Place, Quotas, full_for, who_asks
from decopilot.log.store import EXPECTED, Store, is_conflict

CLAIM_S = 60
"""A claim that nothing came of is gone after this time: longer than any append takes, and any reactor to hear of it."""

_STREAM = subjects.PLACES_STREAM
_TTL = "Nats-TTL"
_NO_MESSAGE = 10037


class Places:
    """The places of runs over one store (ADR 0040); all raise what a store does."""

    def __init__(self, store: Store, *, claim_s: int = CLAIM_S) -> None:
        self._store = store
        self._claim_s = claim_s

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
        """Tell whose room is full without this claim, if somebody's is.

        One request as long as there is room; where it is scarce, the claims are read, to see which came first.
        """
        # Without their sequences every claim counts as one that came before.
        if full_for(mine, await self._listed(subjects.places_of(org)), quotas) is None:
            return None
        others: list[Place] = []
        # A replica that has this claim has all that came before it, as they were or as they have become.
        async for batch in self._store.read(_STREAM, subjects.places_of(org), 0, until=mine.sequence):
            for stored in batch:
                who, thread, run = _named(stored.subject)
                others.append(Place(who, thread, run, stored.sequence, lasts=_TTL not in stored.headers))
        return full_for(mine, others, quotas)

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
        return await self._listed(subjects.places_of_thread(org, thread))

    async def _listed(self, filter_: str) -> list[Place]:
        info = await self._store.js.stream_info(_STREAM, subjects_filter=filter_)
        return [Place(*_named(subject)) for subject in info.state.subjects or {}]


def _named(subject: str) -> tuple[str, ThreadId, RunId]:
    _, who, thread, run = subject.rsplit(".", 3)
    return who, ThreadId(thread), RunId(run)
