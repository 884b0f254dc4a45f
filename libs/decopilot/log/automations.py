"""What was decided for automations, in a bucket: whoever writes in the place of what all have read decides for all."""

from collections.abc import Callable
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


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of a look: the ledger before and behind it, the claims that have no thread yet.

    `asked` are those of them whose message is to be asked for now.
    """

    before: Ledger
    ledger: Ledger
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
        return settle(ledger, await self._standings(plan, ledger), now)

    async def look(self, plan: Plan, now: datetime) -> Looked:
        """Decide what is due, once however many look; a claim without a thread is to be asked for until it has one.

        Raises:
            nats.errors.Error, TimeoutError, OSError: no answer; unknown whether something was decided. Look again.

        """
        while True:
            before, revision = await self._read(plan)
            standings = await self._standings(plan, before)
            ledger = decide_due(settle(before, standings, now), plan, now)
            if ledger == before or await self._write(plan, ledger, revision):
                # The thread of a new claim may be somebody else's already.
                standings = await self._standings(plan, ledger)
                due = [claim for claim in ledger.claims if claim.due is not None]
                absent = tuple(claim for claim in due if standings[claim.thread] == "absent")
                asked = tuple(c for c in absent if c not in before.claims or abs(now - c.at) >= ASK_AGAIN)
                return Looked(before, ledger, absent, asked)

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
        """Give up a claim whose message `command` refused for good, with this code."""
        await self._change(plan, lambda ledger, _: refuse(ledger, claim, code))

    async def _change(self, plan: Plan, change: Callable[[Ledger, dict[ThreadId, Standing]], Ledger]) -> None:
        while True:
            before, revision = await self._read(plan)
            ledger = change(before, await self._standings(plan, before))
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

    async def _standings(self, plan: Plan, ledger: Ledger) -> dict[ThreadId, Standing]:
        return {claim.thread: await self._standing(plan, claim.thread) for claim in ledger.claims}

    async def _standing(self, plan: Plan, thread: ThreadId) -> Standing:
        return standing(plan, (await self._journal.load(plan.org, thread)).state)


def _key(plan: Plan) -> str:
    return subjects.automation_key(plan.org, plan.name)
