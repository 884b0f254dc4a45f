"""What comes of every wish in every state of a thread: the table that tests check and `docs/decider.md` shows.

In each state the thread's present run is `r1`, of message `m1`. Run `r0` ended before it, and message `m9` was
withdrawn; where something waits its turn it is message `m2` with run `r2`.
"""

from dataclasses import dataclass

from decopilot.domain.commands import Command
from decopilot.domain.thread import ThreadState
from support.deciding import (
    ASKING,
    ASKS,
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
    fork,
    hand_back,
    regenerate,
    resolve,
    retitle,
    send,
    set_visibility,
    start,
    step,
    thread_after,
    title,
    withdraw,
)

NOTHING = "—"
STALE = "stale"
NO_THREAD = "404 thread_not_found"
UNKNOWN = "404 interaction_not_found"
FORBIDDEN = "403 forbidden"
CONFLICT = "409 message_conflict"
ACTIVE = "409 run_active"
RESOLVED = "409 interaction_resolved"
BEGUN = "409 run_started"
NOT_QUEUED = "404 message_not_queued"
NOT_FOUND = "404 message_not_found"
TAKEN = "409 thread_conflict"

_EARLIER = (send("m0", "r0"), send("m9", "r8"), withdraw("m9"), start("r0"), end("r0"))
_REQUESTED = (*_EARLIER, send())
_STARTED = (*_REQUESTED, start())
_QUEUED = (*_STARTED, send("m2", "r2"))
_APPROVAL = (*_STARTED, end(outcome=WAITING, calls=[ASKS]))
_BOTH = (*_STARTED, end(outcome=WAITING, calls=[ASKS, OPEN]))
_CONTINUED = (
    *_EARLIER,
    send("m1", "r7"),
    start("r7"),
    end("r7", outcome=WAITING, calls=[ASKS]),
    resolve(approve(), run="r1"),
    start(),
)
_COMPLETED = (*_STARTED, end())
_FORKED = (fork(),)
_AGAIN = (*_EARLIER, send("m1", "r7"), start("r7"), end("r7"), regenerate("answer-r7", "r1"))

STATES: dict[str, dict[str, tuple[Command, ...]]] = {
    "At rest": {
        "no thread": (),
        "completed": _COMPLETED,
        "failed": (*_STARTED, end(outcome=FAILED)),
        "denied": (*_APPROVAL, cancel()),
        "turn": (*_QUEUED, end()),
        "made anew": (*_AGAIN, start(), end()),
        "archived": (*_COMPLETED, archive()),
        "private": (*_COMPLETED, set_visibility("private")),
    },
    "Busy": {
        "requested": _REQUESTED,
        "started": _STARTED,
        "cancelling": (*_STARTED, cancel()),
        "let go": (*_STARTED, hand_back()),
        "queue": _QUEUED,
        "continued": _CONTINUED,
        "answering anew": (*_AGAIN, start()),
    },
    "Waiting for a person": {
        "approval": _APPROVAL,
        "both": _BOTH,
        "one of both": (*_BOTH, resolve(approve())),
        "question": (*_STARTED, end(outcome=ASKING)),
        "approval, queue": (*_QUEUED, end(outcome=WAITING, calls=[ASKS])),
        "dropped": (*_STARTED, cancel(), end(outcome=WAITING, calls=[ASKS])),
    },
    "Forked": {
        "fork": _FORKED,
        "fork, answered": (*_FORKED, send(), start(), end()),
    },
    "Deleted": {
        "ending": (*_QUEUED, delete()),
        "deleted": (*_COMPLETED, delete()),
        "private, deleted": (*_COMPLETED, set_visibility("private"), delete()),
    },
}
MEANINGS = {
    "no thread": "nothing was ever sent",
    "completed": "the run ended well",
    "failed": "the run failed",
    "denied": "the run waited for an approval, and the user cancelled that",
    "turn": "the run ended, and a queued message has its turn but did not get it yet",
    "made anew": "the run answered `m1` anew, whose first answer was `answer-r7`",
    "archived": "the run ended well, and the thread was put aside",
    "private": "the run ended well, and the thread was made private",
    "requested": "nobody took the run up yet",
    "started": "its first attempt is at work",
    "cancelling": "the run's end was asked for",
    "let go": "its first attempt was handed back",
    "queue": "the run is at work, and a message waits its turn",
    "continued": "the run goes on with an answer whose approval (`a1`) was given",
    "answering anew": "the run answers `m1` anew, whose first answer was `answer-r7`",
    "approval": "the run ended waiting for approval `a1`",
    "both": "it waits for approval `a1`, and for the output of call `c2`",
    "one of both": "of these, the approval was given",
    "question": "it ended with a question in its text; no call is pending",
    "approval, queue": "it waits for approval `a1`, and a message waits its turn",
    "dropped": "it waits for approval `a1`, but its end was asked for before: nobody is to answer",
    "fork": "the thread began with message `f1` and its answer `f2`, taken over from another one; it had no run",
    "fork, answered": "a message was sent to it, and its run ended well",
    "ending": "the thread was deleted while the run was at work and a message waited",
    "deleted": "the thread was deleted",
    "private, deleted": "the thread was private, and deleted",
}

_AT_REST = ("completed", "failed", "denied")
_BUSY = tuple(STATES["Busy"])
_ASKED = tuple(STATES["Waiting for a person"])
_GONE = tuple(STATES["Deleted"])
_HIDDEN = ("private",)
"""States in which only the thread's owner and the org's owners know of it."""
_FORKS = tuple(STATES["Forked"])
_ALIEN = ("no thread", *_FORKS)
"""States without what else is told of all of them: `r0` and `m9`."""
_NO_RUN = ("no thread", "fork")
_LINED = ("queue", "approval, queue", "turn")


@dataclass(frozen=True, slots=True)
class Row:
    """What comes of one wish: `otherwise`, but for the states that are named under another outcome."""

    wish: str
    command: Command
    otherwise: str
    but: dict[str, tuple[str, ...]]

    def __getitem__(self, state: str) -> str:
        found = [outcome for outcome, states in self.but.items() if state in states]
        if len(found) > 1:
            msg = f"{self.wish}, {state}: {found}"
            raise ValueError(msg)
        return found[0] if found else self.otherwise


def _users(wish: str, command: Command, otherwise: str, but: dict[str, tuple[str, ...]] | None = None) -> Row:
    """Make the row of a wish about a thread that must be there."""
    return Row(wish, command, otherwise, (but or {}) | {NO_THREAD: ("no thread", *_GONE)})


def _strangers(wish: str, command: Command) -> Row:
    """Make the row of a wish about a thread that must be there, by somebody who may not write to it."""
    return Row(wish, command, FORBIDDEN, {NO_THREAD: ("no thread", *_HIDDEN, *_GONE)})


def _sent(wish: str, command: Command, otherwise: str, but: dict[str, tuple[str, ...]] | None = None) -> Row:
    """Make the row of a wish that may be a thread's first."""
    return Row(wish, command, otherwise, (but or {}) | {NO_THREAD: _GONE})


def _forked(wish: str, command: Command, but: dict[str, tuple[str, ...]]) -> Row:
    """Make the row of a wish that the thread begins as a fork."""
    return Row(wish, command, TAKEN, but | {"thread_forked": ("no thread",), NO_THREAD: _GONE})


_SENDS = (
    _sent("Send, a new message", send("m5", "r5"), "run_requested", {"run_queued": (*_BUSY, "turn")}),
    _sent(
        "Send, a new message that interrupts",
        send("m5", "r5", on_conflict="interrupt"),
        "run_requested",
        {"run_queued": (*_BUSY, "turn")},
    ),
    _sent(
        "Send, a new message that does not wait",
        send("m5", "r5", on_conflict="reject"),
        "run_requested",
        {ACTIVE: (*_BUSY, "turn")},
    ),
    _sent("Send, the run's message again", send("m1", "r5"), NOTHING, {"run_requested": _NO_RUN}),
    _sent(
        "Send, the queued message again",
        send("m2", "r5"),
        "run_requested",
        {"run_queued": tuple(state for state in _BUSY if state != "queue"), NOTHING: _LINED},
    ),
    _sent("Send, the withdrawn message again", send("m9", "r5"), NOTHING, {"run_requested": _ALIEN}),
    _sent(
        "Send, the run's message id with another body",
        send("m1", "r5", said="Else"),
        CONFLICT,
        {"run_requested": _NO_RUN},
    ),
    _sent("Send, an answer's id", send("answer-r0", "r5"), CONFLICT, {"run_requested": _ALIEN}),
    _sent(
        "Send, the id of the answer that was made anew",
        send("answer-r7", "r5"),
        "run_requested",
        {
            CONFLICT: ("made anew", "answering anew", "continued"),
            "run_queued": (*(state for state in _BUSY if state not in {"answering anew", "continued"}), "turn"),
        },
    ),
    _sent(
        "Send, the id of a message taken over",
        send("f1", "r5"),
        "run_requested",
        {CONFLICT: _FORKS, "run_queued": (*_BUSY, "turn")},
    ),
    Row(
        "Send, by a stranger",
        send("m5", "r5", user="bob"),
        FORBIDDEN,
        {"run_requested": ("no thread",), NO_THREAD: (*_HIDDEN, *_GONE)},
    ),
    Row(
        "Send, by a service",
        send("m5", "r5", user="bob", role="service"),
        "run_requested",
        {"run_queued": (*_BUSY, "turn"), NO_THREAD: (*_HIDDEN, *_GONE)},
    ),
    _sent(
        "Send, by an owner of the org",
        send("m5", "r5", user="bob", role="owner"),
        "run_requested",
        {"run_queued": (*_BUSY, "turn")},
    ),
    Row("Send, by the thread's owner who only views by now", send("m5", "r5", role="viewer"), FORBIDDEN, {}),
)
_RESOLVES = (
    _users(
        "Resolve, approve `a1`",
        resolve(approve()),
        UNKNOWN,
        {
            "run_requested": ("approval", "approval, queue"),
            "interactions_resolved": ("both",),
            RESOLVED: ("denied", "dropped"),
            NOTHING: ("one of both", "continued"),
        },
    ),
    _users(
        "Resolve, deny `a1`",
        resolve(approve(approved=False)),
        UNKNOWN,
        {
            "run_requested": ("approval", "approval, queue"),
            "interactions_resolved": ("both",),
            RESOLVED: ("one of both", "continued", "denied", "dropped"),
        },
    ),
    _users(
        "Resolve, answer `c2`",
        resolve(answer()),
        UNKNOWN,
        {"run_requested": ("one of both",), "interactions_resolved": ("both",)},
    ),
    _users(
        "Resolve, approve `a1` and answer `c2`",
        resolve(approve(), answer()),
        UNKNOWN,
        {"run_requested": ("both", "one of both")},
    ),
    _users(
        "Resolve, a whole message: approve `a1` and answer `c2`",
        resolve(approve(), answer(), whole=True),
        UNKNOWN,
        {
            "run_requested": ("approval", "both", "one of both", "approval, queue"),
            RESOLVED: ("denied", "dropped"),
            NOTHING: ("continued",),
        },
    ),
    _users("Resolve, what nobody asked for", resolve(approve("a7")), UNKNOWN),
    _strangers("Resolve, by a stranger", resolve(approve(), user="bob")),
)
_CANCELS = (
    _users(
        "Cancel, no run named",
        cancel(),
        NOTHING,
        {
            "run_cancel_requested": tuple(state for state in _BUSY if state != "cancelling"),
            "interactions_denied": _ASKED,
        },
    ),
    _users(
        "Cancel, the present run",
        cancel("r1"),
        NOTHING,
        {
            "run_cancel_requested": tuple(state for state in _BUSY if state != "cancelling"),
            "interactions_denied": _ASKED,
        },
    ),
    _users("Cancel, the queued run", cancel("r2"), NOTHING, {"run_withdrawn": _LINED}),
    _users("Cancel, an earlier run", cancel("r0"), NOTHING),
    _users("Cancel, an unknown run", cancel("r99"), NOTHING),
    _strangers("Cancel, by a stranger", cancel(user="bob")),
)
_OTHERS = (
    _users("Withdraw, the queued message", withdraw("m2"), NOT_QUEUED, {"run_withdrawn": _LINED}),
    _users("Withdraw, the run's message", withdraw("m1"), BEGUN, {NOT_QUEUED: ("fork",)}),
    _users("Withdraw, the withdrawn message again", withdraw("m9"), NOTHING, {NOT_QUEUED: _FORKS}),
    _strangers("Withdraw, by a stranger", withdraw("m2", user="bob")),
    _users("Retitle", retitle(), "thread_titled"),
    _users("Retitle, to its title", retitle("Hello"), "thread_titled"),
    _strangers("Retitle, by a stranger", retitle(user="bob")),
    _users("Archive", archive(), "thread_archived", {NOTHING: ("archived",)}),
    _users("Take back out of the archive", archive(archived=False), NOTHING, {"thread_archived": ("archived",)}),
    _strangers("Archive, by a stranger", archive(user="bob")),
    Row("Delete", delete(), "thread_deleted", {NO_THREAD: ("no thread",), NOTHING: _GONE}),
    Row(
        "Delete, by a stranger",
        delete(user="bob"),
        FORBIDDEN,
        {NO_THREAD: ("no thread", *_HIDDEN, "private, deleted"), NOTHING: ("ending", "deleted")},
    ),
    _users("Make private", set_visibility("private"), "thread_visibility_set", {NOTHING: _HIDDEN}),
    _users("Show to the org", set_visibility("org"), NOTHING, {"thread_visibility_set": _HIDDEN}),
    _users(
        "Show to the org, by an owner of it",
        set_visibility("org", user="bob", role="owner"),
        NOTHING,
        {"thread_visibility_set": _HIDDEN},
    ),
    _strangers("Make private, by a stranger", set_visibility("private", user="bob")),
    _strangers("Make private, by a service", set_visibility("private", user="bob", role="service")),
)
_BRANCHES = (
    _users(
        "Regenerate, the last message",
        regenerate(),
        "run_requested",
        {ACTIVE: (*_BUSY, "turn")},
    ),
    _users(
        "Regenerate, the run's message",
        regenerate("m1"),
        "run_requested",
        {
            ACTIVE: (*(state for state in _BUSY if state != "answering anew"), "turn"),
            NOTHING: ("answering anew",),
            NOT_FOUND: ("fork",),
        },
    ),
    _users(
        "Regenerate, the answer of `r0`",
        regenerate("answer-r0"),
        "run_requested",
        {ACTIVE: (*_BUSY, "turn"), NOT_FOUND: _FORKS},
    ),
    _users(
        "Regenerate, the answer that was made anew",
        regenerate("answer-r7"),
        NOT_FOUND,
        {
            ACTIVE: (*(state for state in _BUSY if state != "answering anew"), "turn"),
            NOTHING: ("made anew", "answering anew"),
        },
    ),
    _users(
        "Regenerate, the answer that was taken over",
        regenerate("f2"),
        NOT_FOUND,
        {ACTIVE: (*_BUSY, "turn"), "run_requested": _FORKS},
    ),
    _users(
        "Regenerate, the queued message",
        regenerate("m2"),
        NOT_FOUND,
        {ACTIVE: (*_BUSY, "turn")},
    ),
    _strangers("Regenerate, by a stranger", regenerate(user="bob")),
    _forked("Fork another thread into this one", fork(), {NOTHING: _FORKS}),
    _forked("Fork it up to a message that was not named before", fork("f2"), {}),
    _forked("Fork yet another thread into this one", fork(source="nowhere"), {}),
    Row(
        "Fork, by a stranger",
        fork(user="bob"),
        FORBIDDEN,
        {"thread_forked": ("no thread",), NO_THREAD: (*_HIDDEN, *_GONE)},
    ),
)
_AT_WORK = tuple(state for state in _BUSY if state != "requested")
_PRESENT = (*_BUSY, "ending")
_RUNNERS = (
    Row("Promote", PROMOTE, NOTHING, {"run_requested": ("turn",), "interactions_denied": ("dropped",)}),
    Row("Title, automatically", title(), "thread_titled", {NOTHING: (*_ALIEN, *_GONE)}),
    Row("Title, automatically, to its title", title("Hello"), NOTHING, {}),
    Row("Start, the first attempt", start(), STALE, {"run_started": ("requested",)}),
    Row("Start, the next attempt", start(attempt=2), STALE, {"run_started": _BUSY}),
    Row("Start, an earlier run", start("r0", 2), STALE, {}),
    Row("Start, the queued run", start("r2"), STALE, {}),
    Row(
        "Hand back, the present attempt",
        hand_back(),
        STALE,
        {"run_handed_back": tuple(state for state in _AT_WORK if state != "let go"), NOTHING: ("let go", "ending")},
    ),
    Row("Hand back, another attempt", hand_back(attempt=2), STALE, {}),
    Row("Complete a step, of the present attempt", step(), STALE, {"step_completed": _AT_WORK, NOTHING: ("ending",)}),
    Row("Complete a step, of another attempt", step(attempt=2), STALE, {}),
    Row("Complete a step, of an earlier run", step("r0"), STALE, {}),
    Row("End, completed", end(), NOTHING, {STALE: _NO_RUN, "run_completed": _PRESENT}),
    Row(
        "End, waiting for a person",
        end(outcome=WAITING, calls=[ASKS]),
        NOTHING,
        {STALE: _NO_RUN, "run_requires_action": _PRESENT},
    ),
    Row("End, failed", end(outcome=FAILED), NOTHING, {STALE: _NO_RUN, "run_failed": _PRESENT}),
    Row("End, an earlier run", end("r0"), NOTHING, {STALE: _ALIEN}),
    Row("End, the queued run", end("r2"), STALE, {}),
    Row("End, an unknown run", end("r99"), STALE, {}),
)
TABLE: dict[str, tuple[Row, ...]] = {
    "What users wish: messages": _SENDS,
    "What users wish: answers": _RESOLVES,
    "What users wish: ends": _CANCELS,
    "What users wish: other answers, other threads": _BRANCHES,
    "What users wish: the rest": _OTHERS,
    "What runners and reactors wish": _RUNNERS,
}


def state_of(name: str) -> ThreadState:
    """Bring a thread into a state of the table."""
    return thread_after(*next(states[name] for states in STATES.values() if name in states))
