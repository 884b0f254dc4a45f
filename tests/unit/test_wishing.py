"""What users may wish of a thread, and what each wish says in the log."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from decopilot.contracts.events import (
    Event,
    InteractionsDenied,
    InteractionsResolved,
    RunCancelRequested,
    RunQueued,
    RunRequested,
    RunWithdrawn,
    ThreadArchived,
    ThreadDeleted,
    ThreadTitled,
)
from decopilot.contracts.ids import MessageId, RunId
from decopilot.contracts.interactions import Resolution
from decopilot.contracts.messages import RunConfig
from decopilot.domain.commands import Command, RefusedError, Resolve
from decopilot.domain.decider import decide
from decopilot.domain.thread import INITIAL, ThreadState, evolve
from decopilot.domain.wishing import QUEUE_BYTES, QUEUE_LENGTH, TITLE_LENGTH, UNTITLED
from support.deciding import (
    ASKS,
    NOW,
    OPEN,
    PROMOTE,
    WAITING,
    answer,
    approve,
    archive,
    cancel,
    delete,
    end,
    folded,
    regenerate,
    resolve,
    retitle,
    send,
    start,
    step,
    thread_after,
    withdraw,
)

REQUESTED = (send(),)
STARTED = (*REQUESTED, start())
STEPPED = (*STARTED, step())
ENDED = (*STEPPED, end())
NEXT = (*ENDED, send("m2", "r2"))
QUEUED = (*STARTED, send("m2", "r2"), send("m3", "r3"))
APPROVAL = (*STARTED, end(outcome=WAITING, calls=[ASKS]))
BOTH = (*STARTED, end(outcome=WAITING, calls=[ASKS, OPEN]))


def refusal(command: Command, given: Sequence[Command]) -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        decide(command, thread_after(*given))
    return refused.value


def queue_of(state: ThreadState) -> list[str]:
    return [queued.run_id for queued in state.queue]


def test_the_first_message_creates_the_thread_and_requests_its_run() -> None:
    event = decide(send(said=" What  is\nlove? "), INITIAL)
    assert isinstance(event, RunRequested)
    assert event.thread is not None
    assert event.message is not None
    assert ("ann", "helper", "What is love?", "org") == (
        event.thread.owner,
        event.thread.agent_id,
        event.thread.title,
        event.thread.visibility,
    )
    assert ("r1", "ann", "m1", "answer-r1", NOW) == (
        event.run_id,
        event.user_id,
        event.message.id,
        event.assistant_id,
        event.at,
    )
    assert ("00-trace-span-01", RunConfig(agent_id="helper")) == (event.traceparent, event.config)


@pytest.mark.parametrize(("said", "title"), [(" \n ", UNTITLED), ("x" * 60, "x" * 60), ("y" * 61, "y" * 59 + "…")])
def test_a_thread_goes_by_the_first_words_of_its_first_message(said: str, title: str) -> None:
    assert title == thread_after(send(said=said)).title
    assert len(title) <= TITLE_LENGTH


def test_a_thread_that_is_given_a_title_goes_by_that_and_is_known_to_have_been() -> None:
    given = decide(replace(send(), title="Automation: report"), INITIAL)
    by_itself = decide(send(), INITIAL)
    assert isinstance(given, RunRequested)
    assert isinstance(by_itself, RunRequested)
    assert [("Automation: report", True), ("Hello", False)] == [
        (event.thread.title, event.thread.is_titled) for event in (given, by_itself) if event.thread is not None
    ]


@pytest.mark.parametrize("given", [ENDED, APPROVAL])
def test_a_message_to_a_quiet_thread_requests_its_run_and_creates_nothing(given: Sequence[Command]) -> None:
    event = decide(send("m2", "r2"), thread_after(*given))
    assert isinstance(event, RunRequested)
    assert event.thread is None


@pytest.mark.parametrize("given", [REQUESTED, STARTED, STEPPED, ENDED, NEXT, APPROVAL, QUEUED])
def test_the_same_message_twice_is_one_run(given: Sequence[Command]) -> None:
    state = thread_after(*given)
    assert decide(send("m1", "another-run"), state) is None
    assert "r1" == state.sent[MessageId("m1")].run_id


@pytest.mark.parametrize(
    ("given", "id_"),
    [
        (REQUESTED, "answer-r1"),
        (ENDED, "answer-r1"),
        (NEXT, "answer-r1"),
        (QUEUED, "answer-r3"),
        (APPROVAL, "answer-r1"),
        (QUEUED, "m3"),
    ],
)
def test_the_id_of_another_message_or_an_answer_is_no_id_for_a_message(given: Sequence[Command], id_: str) -> None:
    assert "message_conflict" == refusal(send(id_, "r9", said="Something else"), given).code


@pytest.mark.parametrize("given", [REQUESTED, STARTED, ENDED, QUEUED, APPROVAL])
@pytest.mark.parametrize(
    "command",
    [
        send("m9", "r9", user="bob"),
        send("m1", "r9", user="bob"),
        resolve(approve(), user="bob"),
        cancel(user="bob"),
        withdraw("m2", user="bob"),
        retitle(user="bob"),
        archive(user="bob"),
        delete(user="bob"),
    ],
)
def test_only_its_owner_and_the_orgs_owners_write_to_a_thread(given: Sequence[Command], command: Command) -> None:
    assert "forbidden" == refusal(command, given).code


def test_an_owner_of_the_org_writes_to_a_thread_that_stays_its_owners() -> None:
    state = thread_after(*ENDED, send("m2", "r2", user="bob", role="owner"))
    assert "ann" == state.owner
    assert state.active is not None
    assert "bob" == state.active.requested.user_id


def test_messages_to_a_busy_thread_wait_in_the_order_they_came() -> None:
    state = thread_after(*QUEUED)
    assert ["r2", "r3"] == queue_of(state)
    assert (["queued", "queued"], "in_progress") == (
        [state.runs[RunId(run)].status for run in ("r2", "r3")],
        state.status,
    )
    assert ["m1"] == [ref.id for ref in state.messages]


def test_a_queued_message_says_all_that_its_run_will_need() -> None:
    command = send("m2", "r2")
    event = decide(command, thread_after(*STARTED))
    assert (
        RunQueued(
            at=NOW,
            run_id=command.run_id,
            user_id=command.user_id,
            message=command.message,
            message_hash=command.message_hash,
            assistant_id=command.assistant_id,
            config=command.config,
            traceparent=command.traceparent,
        )
        == event
    )


def test_a_message_that_interrupts_goes_first_and_asks_for_the_active_runs_end() -> None:
    command = send("m4", "r4", on_conflict="interrupt")
    event = decide(command, thread_after(*QUEUED))
    assert isinstance(event, RunQueued)
    assert (True, "r1") == (event.interrupts, event.supersedes)
    state = evolve(thread_after(*QUEUED), event)
    assert state.active is not None
    assert (["r4", "r2", "r3"], "superseded") == (queue_of(state), state.active.cancel)


def test_a_message_that_interrupts_changes_nothing_about_a_cancel_that_was_asked_for() -> None:
    state = thread_after(*STARTED, cancel(), send("m4", "r4", on_conflict="interrupt"))
    assert state.active is not None
    assert "cancelled" == state.active.cancel


def test_a_message_that_interrupts_before_the_heads_turn_takes_it_and_ends_nothing() -> None:
    given = (*QUEUED, end())
    event = decide(send("m4", "r4", on_conflict="interrupt"), thread_after(*given))
    assert isinstance(event, RunQueued)
    assert event.supersedes is None
    promoted = decide(PROMOTE, evolve(thread_after(*given), event))
    assert isinstance(promoted, RunRequested)
    assert "r4" == promoted.run_id


def test_a_queue_has_its_length() -> None:
    waiting = [send(f"q{number}", f"rq{number}") for number in range(QUEUE_LENGTH)]
    full: tuple[Command, ...] = (*STARTED, *waiting)
    assert QUEUE_LENGTH == len(thread_after(*full).queue)
    assert "queue_full" == refusal(send("m9", "r9"), full).code
    assert "queue_full" == refusal(send("m9", "r9", on_conflict="interrupt"), full).code
    assert decide(waiting[3], thread_after(*full)) is None
    assert isinstance(decide(send("m9", "r9"), thread_after(*full, withdraw("q7"))), RunQueued)


def test_a_queue_has_its_size() -> None:
    large = "x" * (QUEUE_BYTES // 2)
    assert "queue_full" == refusal(send("m9", "r9", said=large), (*STARTED, send("m2", "r2", said=large))).code
    assert isinstance(decide(send("m9", "r9"), thread_after(*STARTED, send("m2", "r2", said=large))), RunQueued)


def test_a_message_to_a_thread_that_waits_denies_what_is_pending_and_goes_before_the_queue() -> None:
    state = thread_after(*QUEUED, end(outcome=WAITING, calls=[ASKS]), send("m4", "r4"))
    assert state.active is not None
    assert ("r4", None, ["r2", "r3"], "denied") == (
        state.active.run_id,
        state.waiting,
        queue_of(state),
        state.settled["approval:a1"].verdict,
    )


@pytest.mark.parametrize("run", [None, "r1"])
def test_a_cancel_asks_for_the_active_runs_end(run: str | None) -> None:
    event = decide(cancel(run), thread_after(*QUEUED))
    assert RunCancelRequested(at=NOW, run_id=RunId("r1"), user_id=send().user_id) == event


def test_a_cancel_of_a_queued_run_withdraws_it() -> None:
    event = decide(cancel("r2"), thread_after(*QUEUED))
    assert RunWithdrawn(at=NOW, run_id=RunId("r2"), user_id=send().user_id) == event
    state = thread_after(*QUEUED, cancel("r2"))
    assert (["r3"], "withdrawn") == (queue_of(state), state.runs[RunId("r2")].status)


@pytest.mark.parametrize("run", [None, "r1"])
def test_a_cancel_of_a_run_that_waits_drops_what_it_waits_for(run: str | None) -> None:
    event = decide(cancel(run), thread_after(*BOTH))
    assert InteractionsDenied(at=NOW, run_id=RunId("r1"), user_id=send().user_id) == event
    state = thread_after(*BOTH, cancel(run))
    assert ("completed", None, {"approval:a1": "denied", "answer:c2": "denied"}) == (
        state.status,
        state.waiting,
        {key: settled.verdict for key, settled in state.settled.items()},
    )


def test_a_cancel_of_what_is_waited_for_lets_the_queue_go_on() -> None:
    state = thread_after(*QUEUED, end(outcome=WAITING, calls=[ASKS]))
    assert decide(PROMOTE, state) is None
    assert isinstance(decide(PROMOTE, folded([_granted(cancel(), state)], state)), RunRequested)


def test_a_message_that_was_withdrawn_is_answered_with_its_run_as_it_stands() -> None:
    state = thread_after(*QUEUED, withdraw("m2"))
    assert decide(send("m2", "r9"), state) is None
    assert "withdrawn" == state.runs[state.sent[MessageId("m2")].run_id].status


def test_a_message_whose_run_was_promoted_can_not_be_withdrawn() -> None:
    assert "run_started" == refusal(withdraw("m2"), (*QUEUED, end(), PROMOTE)).code


def test_a_resolution_of_all_goes_on_with_the_answer() -> None:
    event = decide(resolve(answer(), approve(reason="Go."), run="r2"), thread_after(*BOTH))
    assert (
        RunRequested(
            at=NOW,
            run_id=RunId("r2"),
            user_id=send().user_id,
            assistant_id=MessageId("answer-r1"),
            config=RunConfig(agent_id="helper"),
            continues=RunId("r1"),
            resolutions=(answer(), approve(reason="Go.")),
            traceparent="00-trace-span-02",
        )
        == event
    )
    state = thread_after(*BOTH, resolve(answer(), approve(), run="r2"))
    assert {"approval:a1": ("r1", "approved", "r2"), "answer:c2": ("r1", "answered", "r2")} == {
        key: (settled.run_id, settled.verdict, settled.continued_by) for key, settled in state.settled.items()
    }
    assert (None, "in_progress", ["m1", "answer-r1"]) == (
        state.waiting,
        state.status,
        [ref.id for ref in state.messages],
    )


def test_a_resolution_of_some_is_kept_until_the_rest_comes() -> None:
    event = decide(resolve(approve()), thread_after(*BOTH))
    assert InteractionsResolved(at=NOW, run_id=RunId("r1"), user_id=send().user_id, resolutions=(approve(),)) == event
    state = thread_after(*BOTH, resolve(approve()))
    assert state.waiting is not None
    assert (["answer:c2"], (approve(),), "requires_action") == (
        [pending.key for pending in state.waiting.pending],
        state.waiting.resolved,
        state.status,
    )
    rest = decide(resolve(answer(), run="r2"), state)
    assert isinstance(rest, RunRequested)
    assert (approve(), answer()) == rest.resolutions


def test_a_continuation_runs_before_the_queue() -> None:
    state = thread_after(*QUEUED, end(outcome=WAITING, calls=[ASKS]), resolve(approve(), run="r7"))
    assert state.active is not None
    assert ("r7", ["r2", "r3"]) == (state.active.run_id, queue_of(state))


@pytest.mark.parametrize(
    ("given", "command", "told"),
    [
        ((*APPROVAL, resolve(approve())), resolve(approve(approved=False)), ("a1", "approved")),
        ((*APPROVAL, resolve(approve(approved=False))), resolve(approve()), ("a1", "denied")),
        ((*APPROVAL, resolve(approve())), resolve(approve(reason="Because.")), ("a1", "approved")),
        ((*BOTH, resolve(approve())), resolve(approve(approved=False), answer()), ("a1", "approved")),
        ((*BOTH, resolve(approve(), answer())), resolve(answer(output="the second")), ("c2", "answered")),
        ((*BOTH, resolve(approve()), cancel()), resolve(approve()), ("a1", "denied")),
        ((*BOTH, send("m2", "r2")), resolve(answer()), ("c2", "denied")),
        ((*APPROVAL, cancel()), resolve(approve(), whole=True), ("a1", "denied")),
    ],
)
def test_what_was_resolved_otherwise_is_refused_and_told(
    given: Sequence[Command], command: Resolve, told: tuple[str, str]
) -> None:
    refused = refusal(command, given)
    assert ("interaction_resolved", {"interactions": [{"id": told[0], "outcome": told[1]}]}) == (
        refused.code,
        refused.outcome,
    )


@pytest.mark.parametrize(
    ("given", "resolutions"),
    [
        ((*APPROVAL, resolve(approve())), [approve()]),
        ((*APPROVAL, resolve(approve()), end("r9", message="answer-r1")), [approve()]),
        ((*BOTH, resolve(approve())), [approve()]),
        ((*BOTH, resolve(approve(), answer())), [answer(), approve()]),
        ((*BOTH, resolve(approve(), answer(output={"a": 1, "b": 2}))), [answer(output={"b": 2, "a": 1})]),
    ],
)
def test_the_same_resolution_twice_is_one(given: Sequence[Command], resolutions: list[Resolution]) -> None:
    assert decide(resolve(*resolutions), thread_after(*given)) is None


def test_one_resolution_in_two_ways_is_refused() -> None:
    both_ways = (approve(), approve(approved=False))
    assert "invalid_body" == refusal(resolve(*both_ways), APPROVAL).code
    assert isinstance(decide(resolve(approve(), approve()), thread_after(*APPROVAL)), RunRequested)


def test_of_a_whole_message_only_what_answers_something_counts() -> None:
    facts = (answer("c0", "of a tool of ours"), approve(), answer())
    assert "interaction_not_found" == refusal(resolve(*facts), APPROVAL).code
    event = decide(resolve(*facts, whole=True), thread_after(*APPROVAL))
    assert isinstance(event, RunRequested)
    assert (approve(),) == event.resolutions
    assert "interaction_not_found" == refusal(resolve(answer("c0"), whole=True), APPROVAL).code


@pytest.mark.parametrize("whole", [True, False])
def test_what_another_answer_says_answers_nothing(*, whole: bool) -> None:
    said = resolve(approve(), message="answer-r1", whole=whole)
    assert isinstance(decide(said, thread_after(*APPROVAL)), RunRequested)
    assert decide(said, thread_after(*APPROVAL, said)) is None
    for given in (APPROVAL, (*APPROVAL, said), (*APPROVAL, cancel())):
        other = resolve(approve(approved=False), message="answer-r0", whole=whole)
        assert "interaction_not_found" == refusal(other, given).code


def test_an_id_that_comes_again_in_a_later_run_is_asked_anew() -> None:
    again = (*APPROVAL, resolve(approve(), run="r2"), end("r2", outcome=WAITING, message="answer-r1", calls=[ASKS]))
    event = decide(resolve(approve(approved=False), run="r3"), thread_after(*again))
    assert isinstance(event, RunRequested)
    assert ("r2", (approve(approved=False),)) == (event.continues, event.resolutions)


def test_a_title_and_an_end_are_told_with_who_wished_them() -> None:
    state = thread_after(*ENDED)
    assert ThreadTitled(at=NOW, user_id=send().user_id, title="Love") == decide(retitle(), state)
    assert ThreadDeleted(at=NOW, user_id=send().user_id) == decide(delete(), state)
    assert "Love" == thread_after(*ENDED, retitle()).title


def test_what_was_put_aside_is_taken_back_by_a_new_message_and_not_by_one_that_waited() -> None:
    aside = thread_after(*ENDED, archive())
    assert (True, False) == (aside.is_archived, thread_after(*ENDED, archive(), archive(archived=False)).is_archived)
    assert ThreadArchived(at=NOW, user_id=send().user_id, archived=False) == decide(archive(archived=False), aside)
    again, regenerated = (thread_after(*ENDED, archive(), wish) for wish in (send("m5", "r5"), regenerate(run="r5")))
    assert (False, True) == (again.is_archived, regenerated.is_archived)
    waiting = (send(), start(), send("m2", "r2"))
    assert not thread_after(send(), start(), archive(), send("m2", "r2")).is_archived
    assert thread_after(*waiting, archive(), end(), PROMOTE).is_archived


def test_a_thread_remembers_what_it_was_called_first() -> None:
    state = thread_after(*ENDED, retitle())
    assert ("Love", "Hello") == (state.title, state.first_title)


def _granted(command: Command, state: ThreadState) -> Event:
    event = decide(command, state)
    assert event is not None
    return event
