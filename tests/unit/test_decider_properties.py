"""What holds of a thread whatever was wished, in whatever order, by writers that race."""

from collections.abc import Callable, Iterator, Sequence
from typing import get_args

from hypothesis import given, seed, settings
from hypothesis import strategies as st

from decopilot.contracts.commands import OnConflict, Role, Visibility
from decopilot.contracts.events import (
    Event,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunHandedBack,
    RunQueued,
    RunRequested,
    RunRequiresAction,
    RunStarted,
    RunWithdrawn,
    StepCompleted,
    ThreadArchived,
    ThreadDeleted,
    ThreadForked,
    ThreadTitled,
    ThreadVisibilitySet,
    decode_event,
)
from decopilot.contracts.frames import Outcome
from decopilot.contracts.interactions import Resolution
from decopilot.contracts.messages import Part
from decopilot.domain.commands import Cancel, Command, Promote, RefusedError, StaleError
from decopilot.domain.decider import decide
from decopilot.domain.thread import INITIAL, ThreadState, evolve
from support.deciding import (
    ASKING,
    ASKS,
    COMPLETED,
    FAILED,
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
    fork,
    hand_back,
    regenerate,
    resolve,
    retitle,
    send,
    set_visibility,
    start,
    step,
    title,
    withdraw,
)

Wish = Callable[[ThreadState, int], Command]
"""A wish is drawn before the thread is known that it is about: `the present run`, not `r3`."""

ROLES = st.sampled_from(["present", "present", "present", "queued", "first", "r2", "r99"])
MESSAGES = st.sampled_from([f"m{number}" for number in range(1, 7)])
NEWER = st.sampled_from([0, 0, 1, -1])
USERS = st.sampled_from(["ann", "ann", "ann", "bob"])
RESOLUTIONS = st.sampled_from(
    [approve(), approve(), approve(approved=False), answer(), answer(), answer(output=2), approve("a7")]
)
OUTCOMES = st.sampled_from([COMPLETED, WAITING, WAITING, ASKING, FAILED])
CALLS = st.sampled_from([[], [ASKS], [ASKS, OPEN], [ASKS, OPEN], [OPEN]])


def run_of(role: str, state: ThreadState) -> str:
    active, waiting = state.active, state.waiting
    if role == "present" and (active or waiting):
        return active.run_id if active is not None else waiting.run_id if waiting is not None else role
    if role == "queued" and state.queue:
        return state.queue[-1].run_id
    return role if role in {"r2", "r99"} else "r1"


def attempt_of(state: ThreadState, newer: int) -> int:
    return max(1, newer + (0 if state.active is None else state.active.attempt))


def sending(message: str, user: str, said: str, on_conflict: OnConflict, *, role: Role) -> Wish:
    return lambda _, number: send(message, f"r{number}", user=user, said=said, on_conflict=on_conflict, role=role)


def resolving(facts: list[Resolution], user: str, *, whole: bool) -> Wish:
    return lambda _, number: resolve(*facts, run=f"r{number}", whole=whole, user=user)


def regenerating(named: str | int | None, user: str) -> Wish:
    """Wish for another answer: of a message that is named, of the last but so many, or of none that is named."""

    def wish(state: ThreadState, number: int) -> Command:
        if isinstance(named, int):
            message: str | None = state.messages[-1 - named].id if named < len(state.messages) else "m99"
        else:
            message = named
        return regenerate(message, f"r{number}", user=user)

    return wish


def ending(role: str, newer: int, outcome: Outcome, calls: list[Part], *, spoken: bool) -> Wish:
    def wish(state: ThreadState, _: int) -> Command:
        # The one message of a run and of those that go on with it.
        message = None if state.active is None else state.active.requested.assistant_id
        run, attempt = run_of(role, state), attempt_of(state, newer)
        return end(run, attempt, outcome, message=message, calls=calls, spoken=spoken, frame=len(state.runs))

    return wish


SENDS = st.builds(
    sending,
    MESSAGES,
    USERS,
    st.sampled_from(["Hello", "Hello", "Bye"]),
    st.sampled_from(["queue", "queue", "interrupt", "reject"]),
    role=st.sampled_from(get_args(Role)),
)
STARTS = st.builds(
    lambda role, newer: lambda state, _: start(run_of(role, state), attempt_of(state, 1 - newer)), ROLES, NEWER
)
REGENERATIONS = st.builds(
    regenerating, st.sampled_from([None, 0, 0, 1, 2, 3, "m1", "m2", "answer-r1", "answer-r3", "f2"]), USERS
)
ENDS = st.builds(ending, ROLES, NEWER, OUTCOMES, CALLS, spoken=st.sampled_from([True, True, False]))
ONE_WISH: st.SearchStrategy[Wish] = st.one_of(
    SENDS,
    SENDS,
    st.builds(resolving, st.lists(RESOLUTIONS, min_size=1, max_size=3), USERS, whole=st.booleans()),
    st.builds(
        lambda role, user: lambda state, _: cancel(role and run_of(role, state), user=user), st.none() | ROLES, USERS
    ),
    st.builds(lambda message, user: lambda _, __: withdraw(message, user=user), MESSAGES, USERS),
    st.builds(lambda title, user: lambda _, __: retitle(title, user=user), st.sampled_from(["Love", "Hate"]), USERS),
    st.builds(lambda archived, user: lambda _, __: archive(archived=archived, user=user), st.booleans(), USERS),
    st.builds(
        lambda visibility, user: lambda _, __: set_visibility(visibility, user=user),
        st.sampled_from(get_args(Visibility)),
        USERS,
    ),
    REGENERATIONS,
    st.builds(
        lambda source, until, user: lambda _, __: fork(until, source=source, user=user),
        st.sampled_from(["elsewhere", "nowhere"]),
        st.sampled_from([None, None, "f2"]),
        USERS,
    ),
    st.builds(lambda said: lambda _, __: title(said), st.sampled_from(["Greetings", "Hello"])),
    st.just(lambda _, __: PROMOTE),
    STARTS,
    st.builds(
        lambda role, newer: lambda state, _: hand_back(run_of(role, state), attempt_of(state, newer)), ROLES, NEWER
    ),
    st.builds(
        lambda role, newer, number: lambda state, _: step(run_of(role, state), attempt_of(state, newer), number),
        ROLES,
        NEWER,
        st.integers(1, 3),
    ),
    ENDS,
    ENDS,
)
SENT = sending("m1", "ann", "Hello", "queue", role="member")
QUEUED = sending("m2", "ann", "Hello", "queue", role="member")
STARTED: Wish = lambda state, _: start(run_of("present", state), attempt_of(state, 1))  # noqa: E731  as all its like
WAITED = ending("present", 0, WAITING, [ASKS, OPEN], spoken=True)
FORKED: Wish = lambda _, __: fork()  # noqa: E731
ENDED = ending("present", 0, COMPLETED, [], spoken=True)
ANEW = regenerating(None, "ann")
BEGINNINGS: list[list[Wish]] = [
    [],
    [FORKED],
    [FORKED, QUEUED, STARTED, ENDED],
    [FORKED, ANEW],
    [SENT, STARTED, ENDED, ANEW, STARTED],
    [SENT, STARTED, QUEUED, ENDED, lambda _, __: PROMOTE, STARTED, ENDED],
    [SENT],
    [SENT, STARTED],
    [SENT, STARTED, QUEUED],
    [SENT, STARTED, WAITED],
    [SENT, STARTED, QUEUED, WAITED],
]
WISHES = st.builds(
    lambda beginning, before, deleting, after: [*beginning, *before, *deleting, *after],
    st.sampled_from(BEGINNINGS),
    st.lists(ONE_WISH, max_size=25),
    st.sampled_from([[], [], [lambda _, __: delete()]]),
    st.lists(ONE_WISH, max_size=15),
)
Terminal = RunCompleted | RunRequiresAction | RunFailed


def played(wishes: Sequence[Wish]) -> Iterator[tuple[Command, Event | None, ThreadState]]:
    """Decide one wish after another, as writers that race do; yield each with its event and the state behind it."""
    state = INITIAL
    for number, wish in enumerate(wishes, 1):
        # Each wish for a run has an id of its own.
        command = wish(state, number)
        event = tried(command, state)
        if event is not None:
            state = evolve(state, event)
        yield command, event, state


def tried(command: Command, state: ThreadState) -> Event | None:
    try:
        return decide(command, state)
    except (RefusedError, StaleError):
        return None


def events_of(wishes: Sequence[Wish]) -> list[Event]:
    return [event for _, event, _ in played(wishes) if event is not None]


class Witness:
    """Remembers what was said of each run, in the simplest way, and compares."""

    def __init__(self) -> None:
        self.active: str | None = None
        self.attempt = self.let_go = self.steps = 0
        self.queue: list[str] = []
        self.requested: list[str] = []
        self.ended: list[str] = []
        self.withdrawn: list[str] = []
        self.dropped: list[str] = []
        self.messages: list[str] = []
        self.gone: list[str] = []
        self.is_titled = self.is_archived = self.is_deleted = False
        self.visibility = "org"

    def see(self, event: Event) -> None:  # noqa: C901, PLR0912, PLR0915  one case per event
        if self.is_deleted:
            assert isinstance(event, Terminal)
        match event:
            case RunRequested():
                assert self.active is None
                assert event.run_id not in self.requested
                assert (event.thread is not None) == (not self.requested and not self.messages)
                assert [event.message, event.continues, event.regenerates].count(None) == 2
                if event.message is not None:
                    self.messages.append(event.message.id)
                if event.regenerates is not None:
                    kept = self.messages.index(event.regenerates) + 1
                    self.gone += self.messages[kept:]
                    self.messages = self.messages[:kept]
                if event.continues is not None:
                    assert self.ended[-1] == event.continues
                if event.run_id in self.queue:
                    assert self.queue.pop(0) == event.run_id
                elif event.message is not None:
                    self.is_archived = False
                self.active, self.attempt, self.let_go, self.steps = event.run_id, 0, 0, 0
                self.requested.append(event.run_id)
            case RunQueued():
                assert event.run_id not in (*self.requested, *self.queue, *self.withdrawn)
                assert event.supersedes in {None, self.active}
                self.queue.insert(0 if event.interrupts else len(self.queue), event.run_id)
                self.is_archived = False
            case RunWithdrawn():
                self.queue.remove(event.run_id)
                self.withdrawn.append(event.run_id)
            case RunStarted():
                assert self.active == event.run_id
                assert self.attempt < event.attempt
                self.attempt = event.attempt
            case RunHandedBack():
                assert (self.active, self.attempt) == (event.run_id, event.attempt)
                assert self.let_go != self.attempt
                self.let_go = self.attempt
            case StepCompleted():
                assert (self.active, self.attempt) == (event.run_id, event.attempt)
                assert self.steps < event.step
                self.steps = event.step
            case RunCancelRequested():
                assert self.active == event.run_id
            case RunCompleted() | RunRequiresAction() | RunFailed():
                assert self.active == event.run_id
                self.active = None
                self.ended.append(event.run_id)
                if event.message is not None and event.message.id not in self.messages:
                    self.messages.append(event.message.id)
            case ThreadForked():
                assert not self.requested
                self.messages = [message.id for message in event.messages]
                self.is_titled = True
            case ThreadTitled():
                assert not (event.automatic and self.is_titled)
                self.is_titled = True
            case ThreadVisibilitySet():
                assert event.visibility != self.visibility
                self.visibility = event.visibility
            case ThreadArchived():
                assert event.archived != self.is_archived
                self.is_archived = event.archived
            case ThreadDeleted():
                self.is_deleted = True
                self.dropped, self.queue = self.queue, []
            case _:
                assert self.active is None or self.requested

    def agrees_with(self, state: ThreadState) -> None:
        active = state.active
        assert self.active == (None if active is None else active.run_id)
        assert self.queue == [queued.run_id for queued in state.queue]
        assert self.is_deleted == state.is_deleted
        assert self.is_deleted or self.visibility == state.visibility
        assert (active is not None) == (state.status == "in_progress")
        if active is not None:
            assert (self.attempt, self.steps, self.let_go == self.attempt > 0) == (
                active.attempt,
                active.steps,
                active.is_let_go,
            )
            assert 0 <= active.failed < max(active.attempt, 1)
        if not self.is_deleted:
            assert (state.waiting is not None) == (state.status == "requires_action")
        is_answerable = state.waiting is not None and state.waiting.dropped_by is None
        assert not state.queue or [active is not None, is_answerable, state.may_promote].count(True) == 1
        assert state.waiting is None or active is None
        if not self.is_deleted:
            assert self.messages == [ref.id for ref in state.messages]
            assert self.is_titled == state.is_titled
            assert self.is_archived == state.is_archived
            assert set(self.gone) == set(state.dropped)
        # An id stands for one message, wherever that is by now.
        assert len({*self.messages, *self.gone}) == len(self.messages) + len(self.gone)
        self._agrees_with_records(state)

    def _agrees_with_records(self, state: ThreadState) -> None:
        ended = self.requested if self.active is None else self.requested[:-1]
        assert ended == self.ended
        told: dict[str, str] = {run: record.status for run, record in state.runs.items()}
        assert set(told) == {*self.requested, *self.queue, *self.withdrawn, *self.dropped}
        for run in self.queue:
            assert "queued" == told[run]
        for run in self.withdrawn:
            assert "withdrawn" == told[run]
        for run in self.ended:
            assert told[run] in {"completed", "requires_action", "failed"}
        if self.active is not None:
            assert "in_progress" == told[self.active]


@given(WISHES)
def test_whatever_the_order_a_thread_keeps_its_rules(wishes: list[Wish]) -> None:
    witness = Witness()
    for _, event, state in played(wishes):
        if event is not None:
            witness.see(event)
        witness.agrees_with(state)


@given(WISHES)
def test_whatever_the_order_a_wish_said_again_at_once_appends_nothing_more(wishes: list[Wish]) -> None:
    for command, event, state in played(wishes):
        again = tried(command, state)
        # A cancel that names no run takes, one after another, what there is to cancel; and a thread that goes on by
        # itself first drops what nobody is to answer.
        goes_on = isinstance(command, Promote) or (isinstance(command, Cancel) and command.run_id is None)
        assert event is None or again is None or goes_on


@given(WISHES, st.data())
def test_a_snapshot_anywhere_and_the_events_behind_it_add_up_to_all_events(
    wishes: list[Wish], data: st.DataObject
) -> None:
    events = events_of(wishes)
    cut = data.draw(st.integers(0, len(events)))
    snapshot = folded(events[:cut]).model_dump_json(exclude_defaults=True)
    state = ThreadState.model_validate_json(snapshot)
    assert folded(events) == folded(events[cut:], state)


@given(WISHES)
def test_every_event_reads_back_as_it_was_decided(wishes: list[Wish]) -> None:
    for event in events_of(wishes):
        assert event == decode_event(event.model_dump_json().encode())


def test_the_wishes_above_reach_every_state_that_matters() -> None:
    """What the properties never see, they don't prove."""
    seen: set[str] = set()

    @given(WISHES)
    @seed(1)
    @settings(max_examples=600, database=None)
    def look(wishes: list[Wish]) -> None:
        for command, event, state in played(wishes):
            if event is not None:
                seen.update(_marks(command, event, state))

    look()
    assert {
        "continued",
        "part resolved",
        "denied",
        "queue while waiting",
        "turn",
        "promoted",
        "superseded",
        "withdrawn",
        "handed back",
        "deleted while active",
        "ended after delete",
        "answered anew",
        "dropped",
        "denied by another answer",
        "fork goes on",
        "fork answers anew",
    } == seen


def _marks(command: Command, event: Event, state: ThreadState) -> set[str]:
    anew = state.active is not None and state.active.requested.regenerates is not None
    marks = {
        "continued": isinstance(event, RunRequested) and event.continues is not None,
        "promoted": isinstance(event, RunRequested) and command == PROMOTE,
        "part resolved": state.waiting is not None and bool(state.waiting.resolved),
        "denied": any(settled.verdict == "denied" for settled in state.settled.values()),
        "queue while waiting": state.waiting is not None and bool(state.queue),
        "turn": state.may_promote,
        "superseded": state.active is not None and state.active.cancel == "superseded",
        "withdrawn": isinstance(event, RunWithdrawn),
        "handed back": isinstance(event, RunHandedBack),
        "deleted while active": state.is_deleted and state.active is not None,
        "answered anew": anew and isinstance(event, RunStarted),
        "dropped": len(state.dropped) > 1,
        "denied by another answer": anew and bool(state.settled),
        "fork goes on": state.forked is not None and bool(state.runs),
        "fork answers anew": state.forked is not None and anew,
        "ended after delete": state.is_deleted and isinstance(event, Terminal),
    }
    return {name for name, holds in marks.items() if holds}
