"""Wishes about a thread. Ids and time come with them, so that deciding stays pure."""

from dataclasses import dataclass
from datetime import datetime

from decopilot.contracts.commands import OnConflict, Role, Visibility
from decopilot.contracts.frames import Cursor, Outcome
from decopilot.contracts.ids import MessageId, RunId, ThreadId, UserId
from decopilot.contracts.interactions import Resolution
from decopilot.contracts.messages import RunConfig, UIMessage, Usage


@dataclass(frozen=True, slots=True)
class Send:
    """Answer this message of a user."""

    now: datetime
    user_id: UserId
    role: Role
    message: UIMessage
    message_hash: str
    config: RunConfig
    run_id: RunId
    assistant_id: MessageId
    on_conflict: OnConflict = "queue"
    traceparent: str | None = None
    tracestate: str | None = None
    baggage: str | None = None
    title: str | None = None
    """Of a thread that begins with it, in place of its first words."""
    visibility: Visibility = "org"
    """Of a thread that begins with it."""


@dataclass(frozen=True, slots=True)
class Resolve:
    """Resolve what the thread waits for; once all of it is, `run_id` goes on with the answer.

    With `is_whole_message`, facts that answer nothing the thread ever waited for are ignored instead of refused.
    """

    now: datetime
    user_id: UserId
    role: Role
    resolutions: tuple[Resolution, ...]
    run_id: RunId
    message_id: MessageId | None = None
    is_whole_message: bool = False
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """End this run, or without its id the active one; a run that has ended stays as it is."""

    now: datetime
    user_id: UserId
    role: Role
    run_id: RunId | None = None


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take a queued message back."""

    now: datetime
    user_id: UserId
    role: Role
    message_id: MessageId


@dataclass(frozen=True, slots=True)
class Retitle:
    """Give the thread another title."""

    now: datetime
    user_id: UserId
    role: Role
    title: str


@dataclass(frozen=True, slots=True)
class Archive:
    """Put the thread aside, or take it back."""

    now: datetime
    user_id: UserId
    role: Role
    archived: bool


@dataclass(frozen=True, slots=True)
class SetVisibility:
    """Say who may read the thread."""

    now: datetime
    user_id: UserId
    role: Role
    visibility: Visibility


@dataclass(frozen=True, slots=True)
class Regenerate:
    """Answer a user's message anew; of an answer, the one before it. Without an id, the last message is meant."""

    now: datetime
    user_id: UserId
    role: Role
    message_id: MessageId | None
    config: RunConfig
    run_id: RunId
    assistant_id: MessageId
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Fork:
    """Begin the thread with these messages of another one, whose title and agent it takes over.

    `asked_until` is the last message that was asked for; None where that was all there is.
    """

    now: datetime
    user_id: UserId
    role: Role
    source: ThreadId
    asked_until: MessageId | None
    messages: tuple[UIMessage, ...]
    agent_id: str
    title: str
    visibility: Visibility = "org"


@dataclass(frozen=True, slots=True)
class Title:
    """Give the thread a title that was found for it, unless somebody gave it one."""

    now: datetime
    title: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the thread."""

    now: datetime
    user_id: UserId
    role: Role


@dataclass(frozen=True, slots=True)
class Promote:
    """Let the thread go on by itself: drop what nobody is to answer, or let the queue's head start in its turn."""

    now: datetime


@dataclass(frozen=True, slots=True)
class Start:
    """Begin this attempt of a run."""

    now: datetime
    run_id: RunId
    attempt: int
    runner_id: str


@dataclass(frozen=True, slots=True)
class HandBack:
    """Let go of an attempt that is as good as any, for another runner to go on."""

    now: datetime
    run_id: RunId
    attempt: int
    runner_id: str


@dataclass(frozen=True, slots=True)
class CompleteStep:
    """Count one more finished step."""

    now: datetime
    run_id: RunId
    attempt: int
    step: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class End:
    """End a run as its sealed chunk log says; `end` is the position behind the closing frame's last chunk."""

    now: datetime
    run_id: RunId
    attempt: int
    outcome: Outcome
    message: UIMessage | None
    end: Cursor


UserCommand = Send | Regenerate | Resolve | Cancel | Withdraw | Retitle | Archive | SetVisibility | Fork | Delete
Command = UserCommand | Title | Promote | Start | HandBack | CompleteStep | End


class RefusedError(Exception):
    """The wish can't be granted in this state; nothing happens. `code` is one of `problems.PROBLEMS`.

    `outcome` says what stands in the place of what was wished, where that is the reason; `retry_after_s` in how many
    seconds it may be granted, where that is known.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        outcome: dict[str, object] | None = None,
        *,
        retry_after_s: int | None = None,
    ) -> None:
        self.code, self.detail, self.outcome, self.retry_after_s = code, detail, outcome, retry_after_s
        super().__init__(f"{code}: {detail}")


class StaleError(Exception):
    """The run or attempt that the command speaks of is not the thread's present one."""

    def __init__(self, run_id: RunId, attempt: int) -> None:
        self.run_id, self.attempt = run_id, attempt
        super().__init__(f"attempt {attempt} of {run_id} is not the present one")
