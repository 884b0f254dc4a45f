"""What may happen to a thread: each command in each state, and what holds whatever the order."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.contracts.events import Event, RunCompleted, RunFailed, RunRequested, RunRequiresAction, RunStarted
from decopilot.contracts.frames import Cursor, Outcome
from decopilot.contracts.ids import MessageId, RunId, UserId
from decopilot.contracts.messages import RunConfig, UIMessage, Usage
from decopilot.domain.decider import (
    TITLE_LENGTH,
    UNTITLED,
    Command,
    CompleteStep,
    End,
    RefusedError,
    Send,
    StaleError,
    Start,
    decide,
)
from decopilot.domain.thread import INITIAL, ThreadState, evolve

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
COMPLETED = Outcome(status="completed", finish_reason="stop", usage=Usage(input_tokens=3, output_tokens=5))
WAITING = Outcome(status="requires_action", finish_reason="tool-calls")
FAILED = Outcome(status="failed", finish_reason="error", reason="timed_out", error_category="time", error_text="Late.")


def text(id_: str, role: str = "user", said: str = "Hello") -> UIMessage:
    return UIMessage.model_validate({"id": id_, "role": role, "parts": [{"type": "text", "text": said}]})


def send(
    message: str = "m1", run: str = "r1", *, user: str = "ann", owner_of_org: bool = False, said: str = "Hello"
) -> Send:
    return Send(
        now=NOW,
        user_id=UserId(user),
        may_write_all=owner_of_org,
        message=text(message, said=said),
        message_hash=f"hash of {said}",
        config=RunConfig(agent_id="helper"),
        run_id=RunId(run),
        assistant_id=MessageId(f"answer-{run}"),
        traceparent="00-trace-span-01",
    )


def start(run: str = "r1", attempt: int = 1) -> Start:
    return Start(now=NOW, run_id=RunId(run), attempt=attempt, runner_id="runner-a")


def step(run: str = "r1", attempt: int = 1, number: int = 1) -> CompleteStep:
    return CompleteStep(now=NOW, run_id=RunId(run), attempt=attempt, step=number, usage=Usage(output_tokens=1))


def end(run: str = "r1", attempt: int = 1, outcome: Outcome = COMPLETED, *, frame: int = 9, spoken: bool = True) -> End:
    message = text(f"answer-{run}", "assistant", "Hi") if spoken else None
    return End(
        now=NOW, run_id=RunId(run), attempt=attempt, outcome=outcome, message=message, end=Cursor(frame, frame % 3)
    )


def thread_after(*commands: Command) -> ThreadState:
    """Given these commands, all granted."""
    state = INITIAL
    for command in commands:
        event = decide(command, state)
        assert event is not None
        state = evolve(state, event)
    return state


EMPTY: tuple[Command, ...] = ()
REQUESTED = (send(),)
STARTED = (*REQUESTED, start())
STEPPED = (*STARTED, step())
ENDED = (*STEPPED, end())
BROKEN = (*STARTED, end(outcome=FAILED, spoken=False))
PENDING = (*STARTED, end(outcome=WAITING))
NEXT = (*ENDED, send("m2", "r2"))


def test_the_first_message_creates_the_thread_and_requests_its_run() -> None:
    event = decide(send(said=" What  is\nlove? "), INITIAL)
    assert isinstance(event, RunRequested)
    assert event.thread is not None
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


@pytest.mark.parametrize("given", [ENDED, BROKEN, PENDING])
def test_a_message_to_a_quiet_thread_requests_its_run_and_creates_nothing(given: Sequence[Command]) -> None:
    event = decide(send("m2", "r2"), thread_after(*given))
    assert isinstance(event, RunRequested)
    assert event.thread is None


@pytest.mark.parametrize("given", [REQUESTED, STARTED, STEPPED, ENDED, BROKEN, PENDING, NEXT])
def test_the_same_message_twice_is_one_run(given: Sequence[Command]) -> None:
    state = thread_after(*given)
    assert decide(send("m1", "another-run"), state) is None
    assert "r1" == state.sent[MessageId("m1")].run_id


@pytest.mark.parametrize("given", [REQUESTED, STARTED, ENDED, NEXT])
def test_the_same_message_id_with_another_body_is_a_conflict(given: Sequence[Command]) -> None:
    with pytest.raises(RefusedError, match="message_conflict"):
        decide(send("m1", "r9", said="Something else"), thread_after(*given))


def test_an_answers_id_is_no_id_for_a_message() -> None:
    with pytest.raises(RefusedError, match="message_conflict"):
        decide(send("answer-r1", "r9"), thread_after(*ENDED))


@pytest.mark.parametrize("given", [REQUESTED, STARTED, STEPPED, NEXT])
def test_a_busy_thread_takes_no_other_message(given: Sequence[Command]) -> None:
    with pytest.raises(RefusedError, match="run_active"):
        decide(send("m9", "r9"), thread_after(*given))


@pytest.mark.parametrize("given", [REQUESTED, STARTED, ENDED])
def test_only_its_owner_and_the_orgs_owners_write_to_a_thread(given: Sequence[Command]) -> None:
    state = thread_after(*given)
    for command in (send("m9", "r9", user="bob"), send("m1", "r9", user="bob")):
        with pytest.raises(RefusedError, match="forbidden"):
            decide(command, state)
    assert decide(send("m1", "r9", user="bob", owner_of_org=True), state) is None


def test_an_owner_of_the_org_writes_to_a_thread_that_stays_its_owners() -> None:
    state = thread_after(*ENDED, send("m2", "r2", user="bob", owner_of_org=True))
    assert "ann" == state.owner
    assert state.active is not None
    assert "bob" == state.active.requested.user_id


@pytest.mark.parametrize(("given", "attempt"), [(REQUESTED, 1), (REQUESTED, 3), (STARTED, 2), (STEPPED, 2)])
def test_a_newer_attempt_starts(given: Sequence[Command], attempt: int) -> None:
    state = thread_after(*given, start(attempt=attempt))
    assert state.active is not None
    assert attempt == state.active.attempt


@pytest.mark.parametrize(
    ("given", "command"),
    [
        (EMPTY, start()),
        (STARTED, start()),
        ((*REQUESTED, start(attempt=2)), start(attempt=1)),
        (ENDED, start(attempt=2)),
        (NEXT, start(attempt=2)),
        (EMPTY, step()),
        (ENDED, step(number=2)),
        (NEXT, step(number=2)),
        ((*REQUESTED, start(attempt=2)), step(attempt=1)),
        (EMPTY, end()),
        (REQUESTED, end("never-asked-for")),
        (ENDED, end("never-asked-for")),
    ],
)
def test_what_speaks_of_a_run_or_attempt_that_is_over_is_stale(given: Sequence[Command], command: Command) -> None:
    with pytest.raises(StaleError):
        decide(command, thread_after(*given))


def test_steps_are_counted_once() -> None:
    state = thread_after(*STEPPED)
    assert decide(step(number=1), state) is None
    further = thread_after(*STEPPED, step(number=2))
    assert further.active is not None
    assert 2 == further.active.steps


@pytest.mark.parametrize("given", [REQUESTED, STARTED, STEPPED])
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
    assert (outcome.status, outcome.status) == (state.status, state.sent[MessageId("m1")].status)
    assert ["m1", "answer-r1"] == [ref.id for ref in state.messages]
    assert (command.end, outcome.usage) == (state.cursor, state.usage)


def test_a_failure_without_a_reason_is_an_error() -> None:
    event = decide(end(outcome=Outcome(status="failed", finish_reason="length")), thread_after(*STARTED))
    assert isinstance(event, RunFailed)
    assert "error" == event.reason


@pytest.mark.parametrize("given", [ENDED, BROKEN, PENDING, NEXT])
def test_an_end_repeated_changes_nothing(given: Sequence[Command]) -> None:
    assert decide(end(outcome=FAILED), thread_after(*given)) is None


def test_a_run_that_said_nothing_leaves_no_answer() -> None:
    assert ["m1"] == [ref.id for ref in thread_after(*BROKEN).messages]


def test_the_cursor_of_a_message_is_the_position_before_its_run() -> None:
    state = thread_after(*STARTED, end(frame=11), send("m2", "r2"))
    assert (0, 0) == (state.sent[MessageId("m1")].last_frame, state.sent[MessageId("m1")].last_index)
    assert (11, 2) == (state.sent[MessageId("m2")].last_frame, state.sent[MessageId("m2")].last_index)


def test_usage_adds_up_over_runs() -> None:
    state = thread_after(*ENDED, send("m2", "r2"), end("r2", frame=12))
    assert Usage(input_tokens=6, output_tokens=10) == state.usage


RUNS = st.sampled_from(["r1", "r2", "r3", "r4"])
ATTEMPTS = st.integers(1, 3)
COMMANDS: st.SearchStrategy[Command] = st.one_of(
    st.builds(
        send,
        st.sampled_from(["m1", "m2", "m3"]),
        user=st.sampled_from(["ann", "bob"]),
        owner_of_org=st.booleans(),
        said=st.sampled_from(["Hello", "Bye"]),
    ),
    st.builds(start, RUNS, ATTEMPTS),
    st.builds(step, RUNS, ATTEMPTS, st.integers(1, 3)),
    st.builds(end, RUNS, ATTEMPTS, st.sampled_from([COMPLETED, WAITING, FAILED]), spoken=st.booleans()),
)


def granted(commands: Sequence[Command]) -> list[Event]:
    """Decide one command after another, as writers that race do; run ids are new with each Send."""
    state, events = INITIAL, list[Event]()
    for command in commands:
        if isinstance(command, Send):
            run = f"r{sum(isinstance(event, RunRequested) for event in events) + 1}"
            command = replace(command, run_id=RunId(run), assistant_id=MessageId(f"answer-{run}"))  # noqa: PLW2901
        try:
            event = decide(command, state)
        except (RefusedError, StaleError):
            continue
        if event is not None:
            events.append(event)
            state = evolve(state, event)
    return events


@given(st.lists(COMMANDS, max_size=40))
def test_whatever_the_order_a_thread_has_one_run_at_a_time_and_each_run_one_end(commands: list[Command]) -> None:
    active: RunId | None = None
    attempt = 0
    requested: list[RunId] = []
    ended: list[RunId] = []
    state = INITIAL
    for event in granted(commands):
        state = evolve(state, event)
        if isinstance(event, RunRequested):
            assert active is None
            active, attempt = event.run_id, 0
            requested.append(active)
            assert (event.thread is not None) == (len(requested) == 1)
        else:
            assert active == event.run_id
            if isinstance(event, RunStarted):
                assert attempt < event.attempt
                attempt = event.attempt
            elif isinstance(event, RunCompleted | RunRequiresAction | RunFailed):
                ended.append(event.run_id)
                active = None
        assert active == (None if state.active is None else state.active.requested.run_id)
        assert (active is not None) == (state.status == "in_progress")
    assert requested[: len(ended)] == ended
    ids = [ref.id for ref in state.messages]
    assert len(set(ids)) == len(ids)
    assert requested == [sent.run_id for sent in state.sent.values()]
    assert list(state.sent) == [id_ for id_ in ids if id_.startswith("m")]


@given(st.lists(COMMANDS, max_size=40), st.data())
def test_a_snapshot_anywhere_and_the_events_behind_it_add_up_to_all_events(
    commands: list[Command], data: st.DataObject
) -> None:
    events = granted(commands)
    cut = data.draw(st.integers(0, len(events)))
    state = INITIAL
    for event in events[:cut]:
        state = evolve(state, event)
    state = ThreadState.model_validate_json(state.model_dump_json(exclude_defaults=True))
    for event in events[cut:]:
        state = evolve(state, event)
    whole = INITIAL
    for event in events:
        whole = evolve(whole, event)
    assert whole == state
