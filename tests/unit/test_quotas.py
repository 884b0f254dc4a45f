from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.contracts.ids import RunId, ThreadId, UserId
from decopilot.domain.quotas import ORG, SERVICE, UNLIMITED, Place, full_for, is_free, who_asks, window_of
from decopilot.domain.thread import INITIAL, RunRecord, ThreadState

TWO_OF_THREE = replace(UNLIMITED, runs_per_user=2, runs_per_org=3)


def place(thread: str, who: str = "ada", *, sequence: int = 0, lasts: bool = True) -> Place:
    return Place(who, ThreadId(thread), RunId(f"run-{thread}-{sequence}"), sequence, lasts)


def test_a_minute_ends_when_the_clock_says_so() -> None:
    assert (0, 60) == window_of(datetime.fromtimestamp(0, UTC))
    assert (0, 1) == window_of(datetime.fromtimestamp(59.999, UTC))
    assert (1, 60) == window_of(datetime.fromtimestamp(60, UTC))


def test_users_are_counted_apart_and_never_in_the_name_of_their_org_or_of_services() -> None:
    names = {who_asks("member", UserId(user)) for user in ("ada", "bob", ORG, SERVICE, "a.b >*", "x" * 256)}
    assert 6 == len(names)
    assert not names & {ORG, SERVICE}
    assert all(name.isalnum() and len(name) == 32 for name in names)
    assert SERVICE == who_asks("service", UserId("ada"))
    assert who_asks("owner", UserId("ada")) == who_asks(None, UserId("ada"))


def test_a_user_and_an_org_have_as_many_runs_as_they_may_and_not_one_more() -> None:
    mine = place("mine", sequence=9, lasts=False)
    assert None is full_for(mine, [place("a"), place("b", "bob")], TWO_OF_THREE)
    assert "user" == full_for(mine, [place("a"), place("b")], TWO_OF_THREE)
    assert "org" == full_for(mine, [place("a", "bob"), place("b", "bob"), place("c", "cy")], TWO_OF_THREE)


def test_a_service_is_limited_by_its_org_only() -> None:
    mine = place("mine", SERVICE, sequence=9, lasts=False)
    assert None is full_for(mine, [place("a", SERVICE), place("b", SERVICE)], TWO_OF_THREE)
    assert "org" == full_for(mine, [place("a", SERVICE), place("b", SERVICE), place("c")], TWO_OF_THREE)


def test_what_a_thread_has_already_is_not_taken_twice() -> None:
    mine = place("a", sequence=9, lasts=False)
    assert None is full_for(mine, [place("a"), place("b", sequence=1), place("a", sequence=2)], TWO_OF_THREE)
    assert "user" == full_for(place("c", sequence=9), [place("a"), place("b"), place("b", sequence=1)], TWO_OF_THREE)


@given(
    lasting=st.integers(0, 4),
    order=st.permutations(range(1, 9)),
    limit=st.integers(1, 6),
    becomes=st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_of_any_claims_at_once_as_many_are_granted_as_there_is_room_for(
    lasting: int, order: list[int], limit: int, becomes: list[bool]
) -> None:
    quotas = replace(UNLIMITED, runs_per_user=limit)
    there = [place(f"l{number}") for number in range(lasting)]
    claims = {number: place(f"c{number}", sequence=number, lasts=False) for number in order}
    seen = {number: [*there, *claims.values()] for number in order}
    granted = 0
    for number, lasts_by_now in zip(order, becomes, strict=True):
        if full_for(claims[number], seen[number], quotas) is None:
            granted += 1
            if lasts_by_now:
                # Its run is in the log: who looks later finds it behind their own claim, and counts it all the same.
                for later in order[order.index(number) + 1 :]:
                    kept = claims[number]._replace(sequence=number + 100, lasts=True)
                    seen[later] = [kept if one.thread == kept.thread else one for one in seen[later]]
    assert max(min(limit - lasting, 8), 0) == granted


def state(**changes: object) -> ThreadState:
    runs = {
        RunId(status): RunRecord.model_validate({"status": status, "last_frame": 0, "last_index": 0})
        for status in ("completed", "failed", "requires_action", "withdrawn", "queued")
    }
    return INITIAL.model_copy(update={"owner": "ada", "runs": runs} | changes)


@pytest.mark.parametrize("status", ["completed", "failed", "requires_action", "withdrawn"])
def test_a_run_that_has_ended_gives_its_place_back(status: str) -> None:
    assert is_free(RunId(status), state())
    assert not is_free(RunId(status), state(queue=("somebody waits",)))


def test_a_claim_that_the_log_does_not_know_and_a_run_that_waits_are_left_alone() -> None:
    assert not is_free(RunId("claimed"), state())
    assert not is_free(RunId("queued"), state())
    assert is_free(RunId("claimed"), state(is_deleted=True))
