"""Which due time is claimed, skipped or left, and which claims still hold a place."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.contracts.automations import Claim, Ledger, Skipped
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.events import RunQueued, RunRequested
from decopilot.contracts.ids import MessageId, RunId, ThreadId, UserId
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot.domain.automating import (
    BY_HAND,
    GRACE,
    Plan,
    Standing,
    claim_by_hand,
    decide_due,
    plans,
    refuse,
    settle,
    standing,
)
from decopilot.domain.commands import RefusedError
from decopilot.domain.schedules import ScheduleError
from decopilot.domain.thread import ActiveRun, ThreadState, Waiting

EIGHT = datetime(2026, 5, 4, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)


def plan(**more: object) -> Plan:
    told = {"org": "acme", "message": "Sum up.", "schedule": "0 * * * *"} | more
    return plans(Configuration.model_validate({"automations": {"report": told}}))["report"]


def begun(one: Plan, now: datetime = EIGHT - HOUR / 2) -> Ledger:
    return decide_due(Ledger(), one, now)


def by_hand(name: str, at: datetime = EIGHT) -> Claim:
    return Claim(thread=ThreadId(name), at=at)


def test_a_new_schedule_begins_now() -> None:
    ledger = decide_due(Ledger(), plan(), EIGHT + HOUR / 2)
    assert Ledger(rule="0 * * * * UTC", decided=EIGHT + HOUR / 2) == ledger
    assert ledger == decide_due(ledger, plan(), EIGHT + HOUR / 2)


def test_what_is_due_is_claimed_once() -> None:
    ledger = decide_due(begun(plan()), plan(), EIGHT)
    assert (Claim(thread=ThreadId("auto_report_20260504080000"), at=EIGHT, due=EIGHT),) == ledger.claims
    assert ledger == decide_due(ledger, plan(), EIGHT + timedelta(seconds=1))
    # A clock that goes behind finds it decided.
    assert ledger == decide_due(ledger, plan(), EIGHT - timedelta(seconds=1))


def test_what_a_clock_decided_that_was_a_day_ahead_holds_no_longer_than_that_clock() -> None:
    ahead = decide_due(begun(plan()), plan(), EIGHT + 400 * GRACE)
    anew = decide_due(ahead, plan(), EIGHT + HOUR / 2)
    assert (EIGHT + HOUR / 2, ahead.claims) == (anew.decided, anew.claims)
    assert EIGHT + HOUR == decide_due(anew, plan(), EIGHT + HOUR).claims[-1].due


def test_of_several_due_times_that_were_missed_the_latest_is_caught_up() -> None:
    ledger = decide_due(begun(plan()), plan(), EIGHT + 5.5 * HOUR)
    assert [EIGHT + 5 * HOUR] == [claim.due for claim in ledger.claims]


def test_one_that_was_missed_for_too_long_is_skipped() -> None:
    daily = plan(schedule="0 8 4 5 *")
    ledger = decide_due(begun(daily), daily, EIGHT + GRACE)
    assert ((), Skipped(due=EIGHT, reason="too_late"), EIGHT) == (ledger.claims, ledger.skipped, ledger.decided)
    assert decide_due(begun(daily), daily, EIGHT + GRACE - HOUR).claims


def test_one_that_would_be_more_than_it_may_have_at_once_is_skipped() -> None:
    two = plan(at_once=2)
    full = begun(two).model_copy(update={"claims": (by_hand("a"), by_hand("b"))})
    ledger = decide_due(full, two, EIGHT)
    assert (full.claims, Skipped(due=EIGHT, reason="at_once")) == (ledger.claims, ledger.skipped)
    assert ledger == decide_due(ledger, two, EIGHT + HOUR / 2)


@pytest.mark.parametrize("change", [{"active": False}, {"schedule": None}])
def test_nothing_is_due_while_it_rests_nor_is_that_caught_up(change: dict[str, object]) -> None:
    rests = plan(**change)
    ledger = decide_due(begun(plan()), rests, EIGHT)
    assert (None, None, ()) == (ledger.rule, ledger.decided, ledger.claims)
    assert ledger == decide_due(ledger, rests, EIGHT + HOUR)
    assert None is rests.next_due(EIGHT)
    again = decide_due(ledger, plan(), EIGHT + 1.5 * HOUR)
    assert () == again.claims
    assert [EIGHT + 2 * HOUR] == [claim.due for claim in decide_due(again, plan(), EIGHT + 2 * HOUR).claims]


@pytest.mark.parametrize("change", [{"schedule": "*/10 * * * *"}, {"timezone": "Asia/Kathmandu"}])
def test_a_changed_schedule_begins_now(change: dict[str, object]) -> None:
    ledger = decide_due(begun(plan()), plan(**change), EIGHT + HOUR)
    assert ((), EIGHT + HOUR) == (ledger.claims, ledger.decided)


def test_a_changed_message_leaves_the_schedule_as_it_is() -> None:
    assert decide_due(begun(plan()), plan(message="Other."), EIGHT).claims


def state(**more: Any) -> ThreadState:  # noqa: ANN401  fields of ThreadState
    return ThreadState(**({"owner": "automation:report"} | more))


ACTIVE = ActiveRun(
    requested=RunRequested(
        at=EIGHT, run_id=RunId("r"), user_id=UserId("u"), assistant_id=MessageId("a"), config=RunConfig()
    )
)

QUEUED = RunQueued(
    at=EIGHT,
    run_id=RunId("q"),
    user_id=UserId("u"),
    message=UIMessage(id=MessageId("m"), role="user", parts=[]),
    message_hash="",
    assistant_id=MessageId("b"),
    config=RunConfig(),
)
WAITING = Waiting(run_id=RunId("w"), assistant_id=MessageId("a"), config=RunConfig())


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (ThreadState(), "absent"),
        (state(active=ACTIVE), "running"),
        (state(status="requires_action", waiting=WAITING), "ended"),
        # Between two runs, and before what waits is dropped, the thread is about to go on by itself.
        (state(queue=(QUEUED,)), "running"),
        (state(queue=(QUEUED,), waiting=WAITING), "ended"),
        (state(queue=(QUEUED,), waiting=WAITING.model_copy(update={"dropped_by": "u"})), "running"),
        (state(status="failed"), "ended"),
        (ThreadState(is_deleted=True), "ended"),
        (state(owner="mallory", active=ACTIVE), "taken"),
    ],
)
def test_a_thread_stands_as_its_log_says(found: ThreadState, expected: Standing) -> None:
    assert expected == standing(plan(), found)


DUE = Claim(thread=ThreadId("due"), at=EIGHT, due=EIGHT)
HAND = by_hand("hand")


@pytest.mark.parametrize(
    ("claim", "found", "after", "kept", "reason"),
    [
        (DUE, "running", timedelta(days=9), 1, None),
        (DUE, "ended", timedelta(0), 0, None),
        (DUE, "taken", timedelta(0), 0, "thread_taken"),
        # Its message is asked for until there is no more point in it.
        (DUE, "absent", GRACE - HOUR, 1, None),
        (DUE, "absent", GRACE, 0, "too_late"),
        (HAND, "running", timedelta(days=9), 1, None),
        (HAND, "absent", BY_HAND / 2, 1, None),
        # Whoever fired it has given up.
        (HAND, "absent", BY_HAND, 0, None),
    ],
)
def test_a_claim_holds_its_place_until_its_run_has_ended(
    claim: Claim, found: Standing, after: timedelta, kept: int, reason: str | None
) -> None:
    ledger = settle(Ledger(claims=(claim,)), {claim.thread: found}, EIGHT + after)
    assert (claim,) * kept == ledger.claims
    assert reason == (ledger.skipped.reason if ledger.skipped else None)
    assert (claim if found in {"running", "ended"} else None) == ledger.fired


def test_whoever_fires_is_refused_when_all_places_are_held_and_when_it_is_inactive() -> None:
    one = plan(at_once=1)
    ledger = claim_by_hand(Ledger(), one, ThreadId("x"), EIGHT)
    assert ledger == claim_by_hand(ledger, one, ThreadId("x"), EIGHT + HOUR)
    with pytest.raises(RefusedError) as busy:
        claim_by_hand(ledger, one, ThreadId("y"), EIGHT)
    with pytest.raises(RefusedError) as inactive:
        claim_by_hand(Ledger(), plan(active=False), ThreadId("y"), EIGHT)
    assert ("automation_busy", "automation_inactive") == (busy.value.code, inactive.value.code)


def test_what_is_refused_for_good_gives_its_place_back_and_says_why() -> None:
    ledger = refuse(Ledger(claims=(DUE, HAND)), DUE, "model_forbidden")
    assert ((HAND,), Skipped(due=EIGHT, reason="model_forbidden")) == (ledger.claims, ledger.skipped)


def test_its_message_is_the_same_whoever_makes_it_and_what_the_automation_says() -> None:
    told = {"agent": "analyst", "tier": None, "time_limit_s": 7, "mode": "plan"}
    configuration = {
        "agents": {"analyst": {"tier": "thinking", "approval": "readonly"}},
        "automations": {"report": {"org": "acme", "message": "Sum up.", **told}},
    }
    one = plans(Configuration.model_validate(configuration))["report"]
    request = one.message(ThreadId("auto_report_x"), "The logs")
    assert request == one.message(ThreadId("auto_report_x"), "The logs")
    assert ("auto_report_x", ["Sum up.", "The logs"]) == (
        request.message.id,
        [part["text"] for part in request.message.parts],
    )
    assert ("automation:report", "Automation: report", False) == (request.user, request.title, request.is_tracked)
    config = request.config
    assert ("analyst", None, "plan", "auto", 7) == (
        config.agent_id,
        config.tier,
        config.mode,
        config.tool_approval_level,
        config.time_limit_s,
    )


def test_no_firing_by_hand_has_the_thread_of_a_due_time() -> None:
    longest = "n" * 32
    told = {"org": "acme", "message": "Sum up."}
    one = plans(Configuration.model_validate({"automations": {longest: told}}))[longest]
    assert 64 == len(one.thread_fired("f" * 26))
    assert one.thread_due(EIGHT).rpartition("_")[2].isdigit()


def test_a_schedule_that_can_not_be_read_is_refused() -> None:
    with pytest.raises(ScheduleError):
        plan(schedule="every day")


@given(
    moments=st.lists(st.timedeltas(timedelta(0), timedelta(days=3)), max_size=30),
    skews=st.lists(st.timedeltas(timedelta(seconds=-90), timedelta(seconds=90)), min_size=1, max_size=4),
)
def test_however_many_look_whenever_and_by_whatever_clock_no_due_time_is_claimed_twice(
    moments: list[timedelta], skews: list[timedelta]
) -> None:
    often = plan(at_once=1_000)
    ledger, claimed = begun(often), list[datetime]()
    for number, moment in enumerate(sorted(moments)):
        looked = decide_due(ledger, often, EIGHT + moment + skews[number % len(skews)])
        claimed += [claim.due for claim in looked.claims if claim not in ledger.claims and claim.due is not None]
        ledger = looked
    assert sorted(set(claimed)) == claimed
