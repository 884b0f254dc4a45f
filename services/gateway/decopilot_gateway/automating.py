"""Automations: what an org has of them, and firing one by hand."""

import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, StringConstraints

from decopilot.contracts.automations import Claim, Ledger
from decopilot.contracts.commands import SEND_MESSAGE, Accepted
from decopilot.domain.access import check_changer, may_read
from decopilot.domain.automating import Plan
from decopilot.log.automations import Automations
from decopilot.log.store import UNCERTAIN
from decopilot_gateway.auth import Caller, Doorman, id_in_path
from decopilot_gateway.bodies import read_body_if_any
from decopilot_gateway.commanding import Commander
from decopilot_gateway.problems import ProblemError
from decopilot_gateway.wishing import accepted_response

CONTEXT_LENGTH = 64 * 1024


class FireBody(BaseModel):
    """Body of `POST …/automations/{name}/fire`, which may be left out."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9]{0,25}$")] | None = None
    context: Annotated[str, StringConstraints(max_length=CONTEXT_LENGTH)] = ""


class Automating:
    """Handles `GET …/automations` and `POST …/automations/{name}/fire`."""

    def __init__(
        self, doorman: Doorman, commander: Commander, automations: Automations, plans: Mapping[str, Plan]
    ) -> None:
        self._doorman = doorman
        self._commander = commander
        self._automations = automations
        self._plans = plans

    async def list(self, request: web.Request) -> web.Response:
        """List the org's automations, by name."""
        caller = self._doorman.caller(request)
        now = datetime.now(UTC)
        shown = []
        for _, plan in sorted(self._plans.items()):
            if plan.org == caller.org:
                enters = may_read(caller.role, caller.user, plan.room.private_to)
                shown.append(_shown(plan, await self._automations.show(plan, now), now, names_threads=enters))
        return web.json_response({"automations": shown})

    async def fire(self, request: web.Request) -> web.Response:
        """Have an automation begin now: 202 once its run is in the log. The same id twice is one run."""
        caller = self._doorman.caller(request)
        plan = self._plan(caller, id_in_path(request, "name"))
        check_changer(caller.role)
        body = await read_body_if_any(request, FireBody) or FireBody()
        thread = plan.thread_fired(body.id or f"f{uuid.uuid4().hex[:24]}")
        claim = Claim(thread=thread, at=datetime.now(UTC))
        await self._automations.claim(plan, claim.thread, claim.at)
        try:
            accepted = await self._commander.ask(SEND_MESSAGE, plan.message(thread, body.context), Accepted)
        except ProblemError as problem:
            if problem.is_refusal:
                # Else it ends by itself.
                with suppress(*UNCERTAIN):
                    await self._automations.refuse(plan, claim, problem.code)
            raise
        return accepted_response(accepted)

    def _plan(self, caller: Caller, name: str) -> Plan:
        plan = self._plans.get(name)
        if plan is None or plan.org != caller.org:
            raise ProblemError("automation_not_found", f"There is no automation {name}.")
        return plan


def _shown(plan: Plan, ledger: Ledger, now: datetime, *, names_threads: bool) -> dict[str, Any]:
    skipped, fired = ledger.skipped, ledger.fired
    return {
        "name": plan.name,
        "schedule": plan.automation.schedule,
        "timezone": plan.automation.timezone,
        "isActive": plan.automation.is_active,
        "nextDueAt": _time(plan.next_due(now)),
        "visibility": plan.automation.visibility,
        "lastFired": None if fired is None or not names_threads else {"at": _time(fired.at), "taskId": fired.thread},
        "lastSkipped": None if skipped is None else {"dueAt": _time(skipped.due), "reason": skipped.reason},
        "threads": [claim.thread for claim in ledger.claims] if names_threads else [],
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
