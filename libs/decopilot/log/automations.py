"""What was decided for automations, in a bucket: whoever writes in the place of what all have read decides for all."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from decopilot.contracts import subjects
from decopilot.contracts.automations import Claim, Ledger
from decopilot.contracts.ids import ThreadId
from decopilot.domain.automating import Plan, Standing, claim_by_hand, decide_due, refuse, settle, standing
from decopilot.domain.commands import RefusedError
from decopilot.log.journal import Journal
from decopilot.log.store import Store

ASK_AGAIN = timedelta(seconds=3)
"""So long whoever claimed a due time has for its message; then any copy of the reactor asks for it."""
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of a look: the ledger before and behind it, what was claimed, the claims that have no thread yet.

    `asked` are those of these whose message is to be asked for now. A look that claims does no more: look again.
    """

    before: Ledger
    ledger: Ledger
    new: tuple[Claim, ...]
    absent: tuple[Claim, ...]
    asked: tuple[Claim, ...]


class Automations:
    """The ledgers of automations over one store."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal

    async def show(self, plan: Plan, now: datetime) -> Ledger:
        """Read how an automation stands, its ended runs left out."""
        ledger, _ = await self._read(plan)
        return settle(ledger, await self._standings(plan, ledger.claims), now)

    async def look(self, plan: Plan, now: datetime) -> Looked:
        """Decide what is due, once however many look; a claim without a thread is to be asked for until it has one.

        Raises:
            nats.errors.Error, TimeoutError, OSError: no answer; unknown whether something was decided. Look again.

        """
        while True:
            before, revision = await self._read(plan)
            ledger, standings = decide_due(before, plan, now), dict[ThreadId, Standing]()
            if ledger.claims == before.claims:
                # Nothing is due, or there is no place for it; but some of those who hold one may have ended.
                standings = await self._standings(plan, before.claims)
                ledger = decide_due(settle(before, standings, now), plan, now)
            if ledger == before or await self._write(plan, ledger, revision):
                break
        new = tuple(claim for claim in ledger.claims if claim not in before.claims)
        # Its thread may be somebody else's.
        standings |= await self._standings(plan, new)
        absent = tuple(claim for claim in ledger.claims if claim.due and standings.get(claim.thread) == "absent")
        asked = tuple(claim for claim in absent if claim in new or abs(now - claim.at) >= ASK_AGAIN)
        return Looked(before, ledger, new, absent, asked)

    async def claim(self, plan: Plan, thread: ThreadId, now: datetime) -> None:
        """Claim a thread for one who fires; one that is there has its place, or had it.

        Raises:
            RefusedError: the automation is inactive, has as many runs as it may, or the thread is somebody else's.
            nats.errors.Error, TimeoutError, OSError: unknown whether it is claimed; the same claim may be made again.

        """
        found = await self._standing(plan, thread)
        if found == "taken":
            raise RefusedError("message_conflict", f"Thread {thread} is not one of {plan.name}'s.")
        if found != "absent":
            return

        def claimed(ledger: Ledger, standings: dict[ThreadId, Standing]) -> Ledger:
            return claim_by_hand(settle(ledger, standings, now), plan, thread, now)

        await self._change(plan, claimed)

    async def refuse(self, plan: Plan, claim: Claim, code: str) -> None:
        """Give up a claim whose message `command` refused for good, with this code; not one whose run goes on."""

        def refused(ledger: Ledger, standings: dict[ThreadId, Standing]) -> Ledger:
            return ledger if standings.get(claim.thread) == "running" else refuse(ledger, claim, code)

        await self._change(plan, refused)

    async def _change(self, plan: Plan, change: Callable[[Ledger, dict[ThreadId, Standing]], Ledger]) -> None:
        while True:
            before, revision = await self._read(plan)
            ledger = change(before, await self._standings(plan, before.claims))
            if ledger == before or await self._write(plan, ledger, revision):
                return

    async def _read(self, plan: Plan) -> tuple[Ledger, int]:
        bucket = subjects.AUTOMATIONS_BUCKET
        stored = await self._store.last(f"KV_{bucket}", subjects.bucket_key(bucket, _key(plan)))
        if stored is None:
            return Ledger(), 0
        # A marker is empty: whoever deleted the key lets the automation begin anew.
        return Ledger.model_validate_json(stored.data) if stored.data else Ledger(), stored.sequence

    async def _write(self, plan: Plan, ledger: Ledger, revision: int) -> bool:
        body = ledger.model_dump_json(exclude_defaults=True).encode()
        return await self._store.replace(subjects.AUTOMATIONS_BUCKET, _key(plan), body, revision)

    async def _standings(self, plan: Plan, claims: Sequence[Claim]) -> dict[ThreadId, Standing]:
        found: dict[ThreadId, Standing] = {}
        for some in range(0, len(claims), _AT_ONCE):
            threads = [claim.thread for claim in claims[some : some + _AT_ONCE]]
            standings = await asyncio.gather(*(self._standing(plan, thread) for thread in threads))
            found |= dict(zip(threads, standings, strict=True))
        return found

    async def _standing(self, plan: Plan, thread: ThreadId) -> Standing:
        return standing(plan, (await self._journal.load(plan.org, thread)).state)


def _key(plan: Plan) -> str:
    return subjects.automation_key(plan.org, plan.name)
