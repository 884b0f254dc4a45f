"""What may happen to a thread: every wish in every state, and what runners' wishes lead to."""

from collections.abc import Sequence

import pytest

from decopilot.contracts.events import RunCompleted, RunFailed, RunHandedBack, RunRequested, RunRequiresAction
from decopilot.contracts.frames import Cursor, Outcome
from decopilot.contracts.ids import MessageId, RunId
from decopilot.contracts.messages import RunConfig, Usage
from decopilot.domain.commands import Command, StaleError
from decopilot.domain.decider import decide
from decopilot.domain.thread import ActiveRun, ThreadState, evolve
from support import decider_document
from support.decider_table import MEANINGS, STATES, TABLE, Row, state_of
from support.deciding import (
    ASKING,
    ASKS,
    COMPLETED,
    FAILED,
    OPEN,
    PROMOTE,
    WAITING,
    approve,
    cancel,
    delete,
    end,
    hand_back,
    outcome_of,
    resolve,
    send,
    start,
    step,
    thread_after,
)

NAMES = [state for states in STATES.values() for state in states]
ROWS = [row for rows in TABLE.values() for row in rows]
REQUESTED = (send(),)
STARTED = (*REQUESTED, start())
STEPPED = (*STARTED, step())
ENDED = (*STEPPED, end())
QUEUED = (*STARTED, send("m2", "r2"))


def active(state: ThreadState) -> ActiveRun:
    assert state.active is not None
    return state.active


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.wish)
@pytest.mark.parametrize("name", NAMES)
def test_every_wish_in_every_state_leads_to_what_the_table_says(name: str, row: Row) -> None:
    assert row[name] == outcome_of(row.command, state_of(name))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.wish)
def test_the_table_names_no_state_that_is_not_there(row: Row) -> None:
    assert {state for states in row.but.values() for state in states} <= set(NAMES)


def test_every_state_of_the_table_has_its_meaning() -> None:
    assert list(MEANINGS) == NAMES


def test_the_document_is_what_the_table_says() -> None:
    written = decider_document.PATH.read_text(encoding="utf-8")
    assert decider_document.document() == written, f"write it anew: {decider_document.COMMAND}"


@pytest.mark.parametrize(("given", "attempt"), [(REQUESTED, 1), (REQUESTED, 3), (STARTED, 2), (STEPPED, 2)])
def test_a_newer_attempt_starts(given: Sequence[Command], attempt: int) -> None:
    assert attempt == active(thread_after(*given, start(attempt=attempt))).attempt


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ((*REQUESTED, start(attempt=2)), start(attempt=1)),
        ((*REQUESTED, start(attempt=2)), step(attempt=1)),
        ((*REQUESTED, start(attempt=2)), hand_back(attempt=1)),
        ((*ENDED, send("m2", "r2")), start(attempt=2)),
        ((*ENDED, send("m2", "r2")), step(number=2)),
        (REQUESTED, end("never-asked-for")),
        ((*QUEUED, cancel("r2")), end("r2")),
    ],
)
def test_what_speaks_of_a_run_or_attempt_that_is_not_present_is_stale(
    given: Sequence[Command], command: Command
) -> None:
    with pytest.raises(StaleError):
        decide(command, thread_after(*given))


def test_steps_are_counted_once() -> None:
    state = thread_after(*STEPPED)
    assert decide(step(number=1), state) is None
    assert 2 == active(thread_after(*STEPPED, step(number=2))).steps


def test_a_newer_attempt_goes_on_counting_steps() -> None:
    state = thread_after(*STEPPED, start(attempt=2))
    assert decide(step(attempt=2, number=1), state) is None
    assert 2 == active(thread_after(*STEPPED, start(attempt=2), step(attempt=2, number=2))).steps


def test_an_attempt_that_was_handed_back_does_not_count_as_failed() -> None:
    state = thread_after(*STARTED, hand_back())
    assert (True, 0) == (active(state).is_let_go, active(state).failed_attempts)
    state = thread_after(*STARTED, hand_back(), start(attempt=2))
    assert (False, 1) == (active(state).is_let_go, active(state).failed_attempts)
    state = thread_after(*STARTED, hand_back(), start(attempt=2), start(attempt=3), hand_back(attempt=3))
    assert (True, 1) == (active(state).is_let_go, active(state).failed_attempts)


def test_a_hand_back_names_its_runner() -> None:
    event = decide(hand_back(), thread_after(*STARTED))
    assert isinstance(event, RunHandedBack)
    assert ("r1", 1, "runner-a") == (event.run_id, event.attempt, event.runner_id)


def test_a_cancel_asked_for_stays_asked_for_whoever_takes_the_run_up() -> None:
    state = thread_after(*STARTED, cancel(), hand_back(), start(attempt=2))
    assert "cancelled" == active(state).cancel


@pytest.mark.parametrize("given", [REQUESTED, STARTED, STEPPED, (*STARTED, cancel()), (*STARTED, hand_back())])
@pytest.mark.parametrize(
    ("outcome", "kind"), [(COMPLETED, RunCompleted), (WAITING, RunRequiresAction), (FAILED, RunFailed)]
)
def test_a_run_ends_as_its_sealed_log_says(
    given: Sequence[Command], outcome: Outcome, kind: type[RunCompleted | RunRequiresAction | RunFailed]
) -> None:
    command = end(attempt=7, outcome=outcome)
    event = decide(command, thread_after(*given))
    assert isinstance(event, kind)
    assert (outcome.finish_reason, outcome.usage, command.message) == (event.finish_reason, event.usage, event.message)
    assert command.end == Cursor(event.last_frame, event.last_index)
    if isinstance(event, RunFailed):
        assert ("timed_out", "time", "Late.") == (event.reason, event.error_category, event.error_text)
    state = evolve(thread_after(*given), event)
    assert state.active is None
    assert (outcome.status, outcome.status) == (state.status, state.runs[RunId("r1")].status)
    assert ["m1", "answer-r1"] == [ref.id for ref in state.messages]
    assert (command.end, outcome.usage) == (state.cursor, state.usage)


def test_a_failure_without_a_reason_is_an_error() -> None:
    event = decide(end(outcome=Outcome(status="failed", finish_reason="length")), thread_after(*STARTED))
    assert isinstance(event, RunFailed)
    assert "error" == event.reason


def test_a_run_that_waits_says_for_what() -> None:
    event = decide(end(outcome=WAITING, calls=[ASKS, OPEN]), thread_after(*STARTED))
    assert isinstance(event, RunRequiresAction)
    assert [("approval", "a1", "c1", "delete"), ("answer", "c2", "c2", "ask")] == [
        (asked.kind, asked.id, asked.tool_call_id, asked.tool_name) for asked in event.pending
    ]
    waiting = evolve(thread_after(*STARTED), event).waiting
    assert waiting is not None
    assert ("r1", "answer-r1", RunConfig(agent_id="helper"), event.pending, ()) == (
        waiting.run_id,
        waiting.assistant_id,
        waiting.config,
        waiting.pending,
        waiting.resolved,
    )


def test_a_run_that_ended_with_a_question_waits_for_no_call() -> None:
    waiting = thread_after(*STARTED, end(outcome=ASKING)).waiting
    assert waiting is not None
    assert () == waiting.pending


def test_a_run_that_said_nothing_leaves_no_answer() -> None:
    assert ["m1"] == [ref.id for ref in thread_after(*STARTED, end(outcome=FAILED, spoken=False)).messages]


def test_a_continuation_changes_its_message_where_it_stands() -> None:
    resolved = (*STARTED, end(outcome=WAITING, calls=[ASKS]), send("m2", "r2"), end("r2", frame=12))
    continued = (*STARTED, end(outcome=WAITING, calls=[ASKS]), resolve(approve(), run="r2"))
    assert [("m1", 0), ("answer-r1", 9), ("m2", 0), ("answer-r2", 12)] == [
        (ref.id, ref.last_frame) for ref in thread_after(*resolved).messages
    ]
    assert [("m1", 0), ("answer-r1", 12)] == [
        (ref.id, ref.last_frame) for ref in thread_after(*continued, end("r2", message="answer-r1", frame=12)).messages
    ]
    assert [("m1", 0), ("answer-r1", 9)] == [
        (ref.id, ref.last_frame) for ref in thread_after(*continued, end("r2", spoken=False, frame=12)).messages
    ]


def test_a_run_begins_at_the_cursor_that_its_thread_had() -> None:
    state = thread_after(*STARTED, end(frame=11), send("m2", "r2"), send("m3", "r3"))
    assert [(0, 0), (11, 2), (11, 2)] == [
        (record.cursor.sequence, record.cursor.index) for record in state.runs.values()
    ]


def test_the_head_of_the_queue_gets_its_turn_as_it_was_sent() -> None:
    state = thread_after(*QUEUED, send("m3", "r3"), end(frame=11))
    event = decide(PROMOTE, state)
    assert isinstance(event, RunRequested)
    sent = send("m2", "r2")
    assert (
        RunRequested(
            at=sent.now,
            run_id=sent.run_id,
            user_id=sent.user_id,
            message=sent.message,
            message_hash=sent.message_hash,
            assistant_id=sent.assistant_id,
            config=sent.config,
            traceparent=sent.traceparent,
        )
        == event
    )
    promoted = evolve(state, event)
    assert (["r3"], "r2", Cursor(11, 2)) == (
        [queued.run_id for queued in promoted.queue],
        active(promoted).run_id,
        promoted.runs[RunId("r2")].cursor,
    )
    assert ["m1", "answer-r1", "m2"] == [ref.id for ref in promoted.messages]


def test_usage_adds_up_over_runs() -> None:
    state = thread_after(*ENDED, send("m2", "r2"), end("r2", frame=12))
    assert Usage(input_tokens=6, output_tokens=10) == state.usage


@pytest.mark.parametrize("outcome", [COMPLETED, WAITING, FAILED])
def test_the_last_run_of_a_deleted_thread_brings_nothing_back(outcome: Outcome) -> None:
    deleted = thread_after(*QUEUED, delete())
    event = decide(end(outcome=outcome, calls=[ASKS]), deleted)
    assert isinstance(event, RunCompleted | RunRequiresAction | RunFailed)
    assert event.message is None
    if isinstance(event, RunRequiresAction):
        assert () == event.pending
    if isinstance(event, RunFailed):
        assert ("timed_out", "") == (event.reason, event.error_text)
    state = evolve(deleted, event)
    assert (True, None, None, None, (), (), {}) == (
        state.is_deleted,
        state.owner,
        state.active,
        state.waiting,
        state.queue,
        state.messages,
        state.sent,
    )


def test_a_deleted_thread_keeps_where_its_chunks_end() -> None:
    state = thread_after(*STARTED, end(frame=11), delete())
    assert Cursor(11, 2) == state.cursor
    assert MessageId("m1") not in state.sent
