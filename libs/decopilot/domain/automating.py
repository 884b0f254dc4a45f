"""Automations: which due time is claimed, skipped or left, and which claims still count. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from decopilot.contracts.automations import Claim, Ledger, Skipped
from decopilot.contracts.commands import SendMessage
from decopilot.contracts.configuration import Automation, Configuration
from decopilot.contracts.ids import MessageId, OrgId, ThreadId, UserId
from decopilot.contracts.messages import AskedConfig, UIMessage
from decopilot.domain.access import AUTOMATED, Room, automation_user
from decopilot.domain.commands import RefusedError
from decopilot.domain.schedules import Schedule
from decopilot.domain.thread import ThreadState

GRACE = timedelta(days=1)
"""So long a due time that nobody was there for is caught up, and its message asked for."""
BY_HAND = timedelta(seconds=60)
"""Whoever fires asks again by himself; a claim of one who gave up holds a place no longer."""

Standing = Literal["absent", "running", "ended", "taken"]
"""What is of a claimed thread: nothing yet, a run, nothing more to wait for, or somebody else's."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An automation of the configuration, with what its name and its agent add to it."""

    name: str
    automation: Automation
    schedule: Schedule | None
    config: AskedConfig

    @property
    def org(self) -> OrgId:
        """Whose it is."""
        return self.automation.org

    @property
    def user(self) -> UserId:
        """Who owns its threads."""
        return UserId(automation_user(self.name))

    @property
    def room(self) -> Room:
        """What decides who may enter its threads."""
        return Room(self.user, self.automation.visibility)

    @property
    def rule(self) -> str | None:
        """What its due times follow; None where none is due."""
        if self.schedule is None or not self.automation.is_active:
            return None
        return f"{self.automation.schedule} {self.automation.timezone}"

    def next_due(self, after: datetime) -> datetime | None:
        """Tell its first due time behind a moment."""
        return None if self.schedule is None or self.rule is None else self.schedule.next(after)

    def thread_due(self, due: datetime) -> ThreadId:
        """Name the thread of a due time."""
        return self._thread(f"{due.astimezone(UTC):%Y%m%d%H%M%S}")

    def thread_fired(self, id_: str) -> ThreadId:
        """Name the thread of a firing by hand, whose id begins with a letter: no due time's does."""
        return self._thread(id_)

    def _thread(self, which: str) -> ThreadId:
        return ThreadId(f"{AUTOMATED}{self.name}_{which}")

    def message(self, thread: ThreadId, context: str = "") -> SendMessage:
        """Make the message that begins a thread: the same one whoever makes it, so that many are one."""
        texts = [self.automation.message, *([context] if context else [])]
        return SendMessage(
            org=self.org,
            thread=thread,
            user=self.user,
            # What it may use is what whoever wrote the configuration gave it.
            role="owner",
            message=UIMessage(
                id=MessageId(thread), role="user", parts=[{"type": "text", "text": text} for text in texts]
            ),
            config=self.config,
            on_conflict="reject",
            title=f"Automation: {self.name}",
            visibility=self.automation.visibility,
            is_tracked=False,
        )


def plans(configuration: Configuration) -> dict[str, Plan]:
    """Make the plans of a configuration, by name.

    Raises:
        ScheduleError: one of its schedules or time zones can't be read.

    """
    return {name: _plan(name, automation) for name, automation in configuration.automations.items()}


def _plan(name: str, automation: Automation) -> Plan:
    schedule = None if automation.schedule is None else Schedule.read(automation.schedule, automation.timezone)
    config = AskedConfig(
        agent_id=automation.agent,
        tier=automation.tier,
        mode=automation.mode,
        # Nobody is there to be asked.
        tool_approval_level="auto",
        time_limit_s=automation.time_limit_s,
    )
    return Plan(name, automation, schedule, config)


def standing(plan: Plan, state: ThreadState) -> Standing:
    """Tell what is of a claimed thread; one that waits for a person is as good as ended, also with others behind it."""
    if state.is_deleted:
        return "ended"
    if state.owner is None:
        return "absent"
    if state.owner != plan.user:
        return "taken"
    return "ended" if state.may_begin else "running"


def settle(ledger: Ledger, standings: Mapping[ThreadId, Standing], now: datetime) -> Ledger:
    """Drop the claims that hold no place any more; of those whose thread is there, remember the last one."""
    kept, fired, skipped = [], ledger.fired, ledger.skipped
    for claim in ledger.claims:
        found = standings.get(claim.thread, "absent")
        if found in {"running", "ended"} and (fired is None or fired.at <= claim.at):
            fired = claim
        is_late = found == "absent" and now - claim.at >= (BY_HAND if claim.due is None else GRACE)
        if found == "running" or (found == "absent" and not is_late):
            kept.append(claim)
        elif claim.due is not None and found != "ended":
            skipped = Skipped(due=claim.due, reason="thread_taken" if found == "taken" else "too_late")
    return ledger.model_copy(update={"claims": tuple(kept), "fired": fired, "skipped": skipped})


def decide_due(ledger: Ledger, plan: Plan, now: datetime) -> Ledger:
    """Claim or skip what is due by now: of several due times the latest one, the others have passed.

    A schedule that is new, changed or active again begins now; so does one of which a clock that was far ahead decided.
    """
    if ledger.rule != plan.rule or ledger.decided is None or ledger.decided - now >= GRACE:
        return ledger.model_copy(update={"rule": plan.rule, "decided": now if plan.rule is not None else None})
    if plan.schedule is None or (due := plan.schedule.latest(after=ledger.decided, until=now)) is None:
        return ledger
    decided = ledger.model_copy(update={"decided": due})
    if now - due >= GRACE:
        return decided.model_copy(update={"skipped": Skipped(due=due, reason="too_late")})
    if len(ledger.claims) >= plan.automation.at_once:
        return decided.model_copy(update={"skipped": Skipped(due=due, reason="at_once")})
    return _claimed(decided, Claim(thread=plan.thread_due(due), at=now, due=due))


def claim_by_hand(ledger: Ledger, plan: Plan, thread: ThreadId, now: datetime) -> Ledger:
    """Claim a thread for one who fires the automation; one that is claimed stays so.

    Raises:
        RefusedError: it is inactive, or has as many runs as it may.

    """
    if any(claim.thread == thread for claim in ledger.claims):
        return ledger
    if not plan.automation.is_active:
        raise RefusedError("automation_inactive", f"The automation {plan.name} is not active.")
    if len(ledger.claims) >= plan.automation.at_once:
        raise RefusedError("automation_busy", f"At most {plan.automation.at_once} of its runs go on at a time.")
    return _claimed(ledger, Claim(thread=thread, at=now))


def _claimed(ledger: Ledger, claim: Claim) -> Ledger:
    return ledger.model_copy(update={"claims": (*ledger.claims, claim)})


def refuse(ledger: Ledger, claim: Claim, code: str) -> Ledger:
    """Give up a claim whose message `command` refuses for good."""
    skipped = ledger.skipped if claim.due is None else Skipped(due=claim.due, reason=code)
    claims = tuple(other for other in ledger.claims if other != claim)
    return ledger.model_copy(update={"claims": claims, "skipped": skipped})
