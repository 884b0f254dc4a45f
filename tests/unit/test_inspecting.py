"""What a thread's events tell of its runs, and where their traces are looked at."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from decopilot.contracts.events import Recorded
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.contracts.views import RunSummary
from decopilot.domain.commands import Command
from decopilot.domain.decider import decide
from decopilot.domain.inspecting import Runs, trace_id_of
from decopilot.domain.thread import INITIAL, evolve
from decopilot_gateway.settings import GatewaySettings
from support.deciding import (
    ASKS,
    FAILED,
    NOW,
    PROMOTE,
    WAITING,
    approve,
    archive,
    cancel,
    end,
    fork,
    hand_back,
    regenerate,
    resolve,
    retitle,
    send,
    start,
    step,
    withdraw,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def runs_after(*commands: Command, header: str | None = None) -> list[RunSummary]:
    """Tell of the runs behind these commands, each stored a second after the one before."""
    state, runs = INITIAL, Runs()
    for number, command in enumerate(commands):
        event = decide(command, state)
        assert event is not None
        state = evolve(state, event)
        at = NOW + timedelta(seconds=number)
        runs.add(Recorded(OrgId("acme"), ThreadId("t1"), number + 1, f"e{number}", event, header, at))
    return runs.newest_first()


def seconds(run: RunSummary) -> list[int | None]:
    """When it was asked for, began and ended."""
    times = (run.requested_at, run.started_at, run.ended_at)
    return [None if at is None else round((at - NOW).total_seconds()) for at in times]


def test_a_run_is_told_with_its_times_attempts_steps_and_tokens() -> None:
    begun = (send(), start(), step(), hand_back(), start(attempt=2), step(attempt=2, number=2))
    (going,) = runs_after(*begun)
    assert ("r1", "in_progress", "m1", "answer-r1", "ann") == (
        going.run_id,
        going.status,
        going.message_id,
        going.answer_id,
        going.user_id,
    )
    assert ([0, 1, None], 2, 2, 1) == (
        seconds(going),
        going.attempts,
        going.steps,
        going.usage and going.usage.output_tokens,
    )
    assert ("helper", "smart", None, "default") == (going.agent_id, going.tier, going.model, going.mode)
    (ended,) = runs_after(*begun, end(attempt=2))
    assert ("completed", [0, 1, 6], 5) == (ended.status, seconds(ended), ended.usage and ended.usage.output_tokens)


def test_a_queued_run_was_asked_for_when_it_was_queued_and_a_withdrawn_one_never_began() -> None:
    begun = (send(), start(), send("m2", "r2"), send("m3", "r3"))
    assert [("r3", "queued"), ("r2", "queued"), ("r1", "in_progress")] == [
        (run.run_id, run.status) for run in runs_after(*begun)
    ]
    third, second, _ = runs_after(*begun, withdraw("m3"), end(), PROMOTE, start("r2"))
    assert ("withdrawn", [3, None, 4]) == (third.status, seconds(third))
    assert ("in_progress", [2, 7, None]) == (second.status, seconds(second))


def test_a_run_says_what_it_goes_on_with_and_what_it_answers_anew() -> None:
    anew, going_on, waited = runs_after(
        send(), start(), end(outcome=WAITING, calls=[ASKS]), resolve(approve()), start("r9"), end("r9"), regenerate()
    )
    assert ("requires_action", None) == (waited.status, waited.continues)
    assert ("r1", None, None) == (going_on.continues, going_on.message_id, going_on.regenerates)
    assert (None, "m1", "m1") == (anew.continues, anew.message_id, anew.regenerates)


def test_a_failed_run_says_why_and_what_is_about_the_thread_changes_none() -> None:
    (failed,) = runs_after(send(), cancel(), start(), end(outcome=FAILED), retitle(), archive())
    assert ("failed", "timed_out") == (failed.status, failed.reason)
    assert [] == runs_after(fork(), retitle())


def test_the_trace_is_that_of_the_request_or_else_of_the_append() -> None:
    (run,) = runs_after(send(), header=PARENT)
    assert TRACE == run.trace_id
    assert Runs().get(RunId("r1")) is None


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        (PARENT, TRACE),
        (PARENT.replace("00-", "01-", 1) + "-more", TRACE),
        (None, None),
        ("", None),
        ("00-trace-span-01", None),
        (PARENT.replace("00-", "ff-", 1), None),
        (PARENT.upper(), None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (PARENT + "\n", None),
    ],
)
def test_a_trace_id_is_read_from_a_traceparent_and_from_nothing_else(
    traceparent: str | None, trace_id: str | None
) -> None:
    assert trace_id == trace_id_of(traceparent)


@pytest.mark.parametrize(
    "template",
    [
        "http://localhost:16686/trace",
        "javascript:alert({trace_id})",
        "//host/{trace_id}",
        "https:///{trace_id}",
        "http://host/{trace_id}/{span_id}",
        "http://[/{trace_id}",
    ],
)
def test_a_trace_url_that_would_make_no_link_is_refused_at_the_start(template: str) -> None:
    with pytest.raises(ValidationError, match="trace_url"):
        GatewaySettings.model_validate({"jwt_secret": "x" * 32, "trace_url": template})


def test_a_trace_url_is_an_address_with_the_traces_id_in_it() -> None:
    for template in ("", "http://localhost:16686/trace/{trace_id}", "https://x.org/?t={trace_id}#{trace_id}"):
        assert template == GatewaySettings.model_validate({"jwt_secret": "x" * 32, "trace_url": template}).trace_url
