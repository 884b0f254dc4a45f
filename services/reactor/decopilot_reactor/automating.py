"""Automating: every copy keeps the time, one of them claims what is due, and any of them has it begin."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import structlog
from nats.aio.client import Client

from decopilot.contracts import subjects
from decopilot.contracts.automations import Claim
from decopilot.contracts.commands import PATIENCE, SEND_MESSAGE, Accepted, Refused, decode_reply
from decopilot.contracts.problems import PROBLEMS
from decopilot.domain.automating import Plan
from decopilot.kit import telemetry
from decopilot.log.automations import ASK_AGAIN, Automations, Looked
from decopilot.log.store import UNCERTAIN

ANSWER_S = 2.0
RETRY_S = 2.0

log = structlog.get_logger()


def _now() -> datetime:
    return datetime.now(UTC)


class Clockwork:
    """Fires automations when they are due (ADR 0030)."""

    def __init__(
        self,
        nc: Client,
        automations: Automations,
        plans: Iterable[Plan],
        *,
        look_s: float,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._nc = nc
        self._automations = automations
        self._plans = list(plans)
        self._look_s = look_s
        self._now = now

    def runs(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Make what keeps the time of each automation, until cancelled."""
        return (self._keep(plan) for plan in self._plans)

    async def _keep(self, plan: Plan) -> None:
        while True:
            try:
                pause_s = await self.look(plan)
            except UNCERTAIN as error:
                log.warning("automation_delayed", automation=plan.name, org=plan.org, error=repr(error))
                pause_s = RETRY_S
            except Exception:
                log.exception("automation_failed", automation=plan.name, org=plan.org)
                pause_s = self._look_s
            await asyncio.sleep(pause_s)

    async def look(self, plan: Plan) -> float:
        """Do what is due of an automation; returns for how long it may be left alone, in seconds."""
        now = self._now()
        looked = await self._automations.look(plan, now)
        _log_decided(plan, looked)
        for claim in looked.asked:
            await self._fire(plan, claim)
        if looked.new:
            return 0.0
        # Whoever claimed it may die before its message is there.
        pause_s = min(self._look_s, ASK_AGAIN.total_seconds()) if looked.absent else self._look_s
        if (due := plan.next_due(now)) is not None:
            pause_s = min(pause_s, (due - self._now()).total_seconds())
        return max(pause_s, 0.0)

    async def _fire(self, plan: Plan, claim: Claim) -> None:
        """Ask for the claim's message: asked twice it is one."""
        about = {"automation": plan.name, "org": plan.org, "thread": claim.thread}
        attributes = {telemetry.ORG: plan.org, telemetry.THREAD: claim.thread, "decopilot.automation": plan.name}
        with telemetry.span("fire automation", attributes):
            body = plan.message(claim.thread).model_dump_json().encode()
            headers = telemetry.inject({PATIENCE: str(ANSWER_S)})
            message = await self._nc.request(subjects.command(SEND_MESSAGE), body, timeout=ANSWER_S, headers=headers)
        match decode_reply(message.data):
            case Accepted(run_id=run):
                log.info("automation_fired", run_id=run, due=str(claim.due), **about)
            case Refused(code="message_conflict"):
                # The thread is there, made of what another copy's configuration says.
                return
            case Refused(code=code) if _may_be_granted_later(code):
                log.warning("automation_delayed", code=code, **about)
            case Refused(code=code):
                log.error("automation_refused", code=code, **about)
                await self._automations.refuse(plan, claim, code)
            case other:
                msg = f"{SEND_MESSAGE} was answered by {other.type}"
                raise TypeError(msg)


def _may_be_granted_later(code: str) -> bool:
    # A newer `command` may know codes that this reactor does not.
    status = HTTPStatus.INTERNAL_SERVER_ERROR if code not in PROBLEMS else PROBLEMS[code].status
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS


def _log_decided(plan: Plan, looked: Looked) -> None:
    skipped = looked.ledger.skipped
    if skipped is not None and skipped != looked.before.skipped:
        log.warning(
            "automation_skipped", automation=plan.name, org=plan.org, due=str(skipped.due), reason=skipped.reason
        )
