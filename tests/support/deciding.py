"""Wishes about one thread, and the events that they lead to."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from decopilot.contracts.commands import OnConflict, Role, Visibility
from decopilot.contracts.events import Event
from decopilot.contracts.frames import Cursor, Outcome
from decopilot.contracts.ids import MessageId, RunId, ThreadId, UserId
from decopilot.contracts.interactions import Answer, Approval, Resolution
from decopilot.contracts.messages import Part, RunConfig, UIMessage, Usage
from decopilot.contracts.problems import PROBLEMS
from decopilot.domain.commands import (
    Archive,
    Cancel,
    Command,
    CompleteStep,
    Delete,
    End,
    Fork,
    HandBack,
    Promote,
    RefusedError,
    Regenerate,
    Resolve,
    Retitle,
    Send,
    SetVisibility,
    StaleError,
    Start,
    Title,
    Withdraw,
)
from decopilot.domain.decider import decide
from decopilot.domain.thread import INITIAL, ThreadState, evolve

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OWNER = "ann"
COMPLETED = Outcome(status="completed", finish_reason="stop", usage=Usage(input_tokens=3, output_tokens=5))
WAITING = Outcome(status="requires_action", finish_reason="tool-calls")
ASKING = Outcome(status="requires_action", finish_reason="stop")
FAILED = Outcome(status="failed", finish_reason="error", reason="timed_out", error_category="time", error_text="Late.")

ASKS: Part = {
    "type": "tool-delete",
    "toolCallId": "c1",
    "state": "approval-requested",
    "input": {},
    "approval": {"id": "a1"},
}
OPEN: Part = {"type": "tool-ask", "toolCallId": "c2", "state": "input-available", "input": {"question": "Which?"}}
PROMOTE = Promote(now=NOW)


def text(id_: str, role: str = "user", said: str = "Hello", calls: Sequence[Part] = ()) -> UIMessage:
    """Make a message of one text, and of calls behind it."""
    return UIMessage.model_validate({"id": id_, "role": role, "parts": [{"type": "text", "text": said}, *calls]})


def send(
    message: str = "m1",
    run: str = "r1",
    *,
    user: str = OWNER,
    role: Role = "member",
    said: str = "Hello",
    on_conflict: OnConflict = "queue",
) -> Send:
    """Wish for an answer."""
    return Send(
        now=NOW,
        user_id=UserId(user),
        role=role,
        message=text(message, said=said),
        message_hash=f"hash of {said}",
        config=RunConfig(agent_id="helper"),
        run_id=RunId(run),
        assistant_id=MessageId(f"answer-{run}"),
        on_conflict=on_conflict,
        traceparent="00-trace-span-01",
    )


def approve(id_: str = "a1", *, approved: bool = True, reason: str | None = None) -> Approval:
    """Decide about a tool call."""
    return Approval(approval_id=id_, approved=approved, reason=reason)


def answer(call: str = "c2", output: object = "the first") -> Answer:
    """Give a tool call its output."""
    return Answer(tool_call_id=call, output=output)


def regenerate(message: str | None = None, run: str = "r6", *, user: str = OWNER) -> Regenerate:
    """Wish for another answer."""
    return Regenerate(
        now=NOW,
        user_id=UserId(user),
        role="member",
        message_id=None if message is None else MessageId(message),
        config=RunConfig(agent_id="helper"),
        run_id=RunId(run),
        assistant_id=MessageId(f"answer-{run}"),
        traceparent="00-trace-span-03",
    )


def fork(until: str | None = None, *, source: str = "elsewhere", user: str = OWNER) -> Fork:
    """Wish for a thread that begins with a question and its answer, from elsewhere."""
    return Fork(
        now=NOW,
        user_id=UserId(user),
        role="member",
        source=ThreadId(source),
        asked_until=None if until is None else MessageId(until),
        messages=(text("f1"), text("f2", "assistant", "Hi")),
        agent_id="helper",
        title="Hello",
    )


def title(said: str = "Greetings") -> Title:
    """Find a title."""
    return Title(now=NOW, title=said)


def resolve(
    *resolutions: Resolution, run: str = "r9", message: str | None = None, whole: bool = False, user: str = OWNER
) -> Resolve:
    """Wish for what the thread waits for to be resolved."""
    return Resolve(
        now=NOW,
        user_id=UserId(user),
        role="member",
        resolutions=resolutions,
        run_id=RunId(run),
        message_id=None if message is None else MessageId(message),
        is_whole_message=whole,
        traceparent="00-trace-span-02",
    )


def cancel(run: str | None = None, *, user: str = OWNER) -> Cancel:
    """Wish for a run's end."""
    return Cancel(now=NOW, user_id=UserId(user), role="member", run_id=None if run is None else RunId(run))


def withdraw(message: str, *, user: str = OWNER) -> Withdraw:
    """Wish to have a message back."""
    return Withdraw(now=NOW, user_id=UserId(user), role="member", message_id=MessageId(message))


def retitle(title: str = "Love", *, user: str = OWNER) -> Retitle:
    """Wish for another title."""
    return Retitle(now=NOW, user_id=UserId(user), role="member", title=title)


def archive(*, archived: bool = True, user: str = OWNER) -> Archive:
    """Wish for the thread to be put aside, or taken back."""
    return Archive(now=NOW, user_id=UserId(user), role="member", archived=archived)


def set_visibility(visibility: Visibility, *, user: str = OWNER, role: Role = "member") -> SetVisibility:
    """Wish for the thread to be read by all of the org, or not."""
    return SetVisibility(now=NOW, user_id=UserId(user), role=role, visibility=visibility)


def delete(*, user: str = OWNER) -> Delete:
    """Wish for the thread's end."""
    return Delete(now=NOW, user_id=UserId(user), role="member")


def start(run: str = "r1", attempt: int = 1) -> Start:
    """Begin an attempt."""
    return Start(now=NOW, run_id=RunId(run), attempt=attempt, runner_id="runner-a")


def hand_back(run: str = "r1", attempt: int = 1) -> HandBack:
    """Let go of an attempt."""
    return HandBack(now=NOW, run_id=RunId(run), attempt=attempt, runner_id="runner-a")


def step(run: str = "r1", attempt: int = 1, number: int = 1) -> CompleteStep:
    """Count a step."""
    return CompleteStep(now=NOW, run_id=RunId(run), attempt=attempt, step=number, usage=Usage(output_tokens=1))


def end(
    run: str = "r1",
    attempt: int = 1,
    outcome: Outcome = COMPLETED,
    *,
    message: str | None = None,
    frame: int = 9,
    spoken: bool = True,
    calls: Sequence[Part] = (),
) -> End:
    """End a run as its sealed log says; without an id, its answer has the one that `send` gave it."""
    said = text(message or f"answer-{run}", "assistant", "Hi", calls) if spoken else None
    return End(now=NOW, run_id=RunId(run), attempt=attempt, outcome=outcome, message=said, end=Cursor(frame, frame % 3))


def thread_after(*commands: Command) -> ThreadState:
    """Return the thread behind these commands, each of which must have its event."""
    state = INITIAL
    for command in commands:
        event = decide(command, state)
        if event is None:
            msg = f"nothing came of {command}"
            raise ValueError(msg)
        state = evolve(state, event)
    return state


def folded(events: Iterable[Event], state: ThreadState = INITIAL) -> ThreadState:
    """Fold events."""
    for event in events:
        state = evolve(state, event)
    return state


def outcome_of(command: Command, state: ThreadState) -> str:
    """Tell what comes of a command: an event's type, `—`, a refusal's status and code, or `stale`."""
    try:
        event = decide(command, state)
    except RefusedError as refused:
        return f"{PROBLEMS[refused.code].status} {refused.code}"
    except StaleError:
        return "stale"
    return "—" if event is None else event.type
