"""A thread as one who follows it holds it: its messages, the answer that grows, how runs ended. Pure."""

from dataclasses import dataclass
from typing import Any

from decopilot.client.answers import result_of
from decopilot.client.attaching import Event
from decopilot.client.models import EndStatus, History
from decopilot.contracts import chunks
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.commands import ThreadStatus
from decopilot.contracts.ids import MessageId, RunId
from decopilot.contracts.interactions import Interaction, Resolution
from decopilot.contracts.messages import UIMessage
from decopilot.domain.fold import Fold, FoldError


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended, in the message that it left; `text` is what went wrong, in words for its users."""

    message_id: MessageId
    status: EndStatus
    finish_reason: str | None = None
    reason: str | None = None
    text: str = ""


class Conversation:
    """Takes a thread's history and then its events, in their order; holds what they come to.

    While `needs_history` holds, the history is to be read, and loaded, before the next event is taken.
    """

    def __init__(self) -> None:
        self.status: ThreadStatus | None = None
        """How the thread stands; None while it has no message."""
        self.run_id: RunId | None = None
        """The run that is being answered, as soon as its first chunk came."""
        self.pending: tuple[Interaction, ...] = ()
        """What the last answer waits for."""
        self.ends: dict[MessageId, RunEnd] = {}
        """How the runs ended that left these answers: of those that are known to have gone wrong, and the last one."""
        self.retry: dict[str, Any] | None = None
        """What is waited for before the model is asked again: `{attempt, delayMs, category}`."""
        self.is_deleted = False
        self.cursor: str | None = None
        """Where to go on reading; None where there is no place yet."""
        self._messages: list[UIMessage] = []
        self._fold: Fold | None = None
        self._is_answering = False
        self._end: dict[str, Any] = {}
        self._horizon = (0, 0)
        self._needs = True
        self._owed = (0, 0)
        """How far the history that is read next has to reach."""
        self._ended = (0, 0)
        """Where the last run ended that was seen to end."""

    @property
    def needs_history(self) -> bool:
        """Whether the history has to be read (again)."""
        return self._needs or self._owed > self._horizon

    @property
    def is_answering(self) -> bool:
        """Whether a run is being told that has not ended."""
        return self._is_answering

    @property
    def answer(self) -> UIMessage | None:
        """The answer that grows, as far as it has come; None where none does, or its beginning was missed."""
        return None if self._fold is None else self._fold.message()

    @property
    def messages(self) -> tuple[UIMessage, ...]:
        """All messages, the growing answer in its place."""
        answer = self.answer
        return tuple(self._messages if answer is None else _with(self._messages, answer))

    def load(self, history: History | None) -> None:
        """Take the history as the truth; None says that the thread is not there."""
        self._needs = False
        self.pending, self.status = (), None
        self._messages, self.ends = [], {}
        if history is None:
            self._owed = (0, 0)
            return
        self._horizon = _position(history.cursor)
        if self.cursor is None or self._horizon > _position(self.cursor):
            self.cursor = history.cursor
            self._forget()
        self._messages = list(history.messages)
        self.status, self.pending = history.status, history.pending
        for message in history.messages:
            if (message.metadata or {}).get("failureReason"):
                self._note_end(message, "failed")

    def take(self, event: Event) -> None:
        """Take the thread's next event."""
        chunk = event.chunk
        kind = chunk["type"]
        if kind == chunks.THREAD_DELETED:
            self.is_deleted = True
            self._forget()
            return
        if event.cursor:
            if kind != chunks.RESET and _position(event.cursor) <= self._horizon:
                return  # the history had it already
            self.cursor = event.cursor
        if kind == chunks.RESET:
            if self._ended <= _position(chunk["data"]["cursor"]):
                # An end that was told may come into the history only after the reset has been read.
                self._owed = max(self._owed, self._ended)
            self._forget()
            self._needs = True
            return
        self.retry = chunk["data"] if kind == chunks.RETRY else None
        if kind == "start":
            self._begin(MessageId(chunk.get("messageId", "")))
        self._is_answering = True
        self._add(chunk)
        self._note(chunk, event.cursor)

    def resolved(self, resolution: Resolution) -> None:
        """Take it from what is pending: its resolution was accepted."""
        self.pending = tuple(asked for asked in self.pending if asked.key != resolution.key)

    def _note(self, chunk: Chunk, cursor: str) -> None:
        """Note what a chunk says besides its part in a message."""
        match chunk["type"]:
            case chunks.RUN:
                self.run_id = RunId(chunk["data"]["runId"])
            case chunks.USER_MESSAGE:
                self._ask(UIMessage.model_validate(chunk["data"]["message"]))
            case chunks.MESSAGES_DROPPED:
                self._drop(chunk["data"]["after"])
            case chunks.RUN_END:
                self._end = chunk["data"]
            case "finish":
                self._finish(cursor)
            case _:
                pass

    def _forget(self) -> None:
        self._fold, self._is_answering, self.run_id, self._end, self.retry = None, False, None, {}, None

    def _begin(self, message_id: MessageId) -> None:
        self._forget()
        self.status, self.pending = "in_progress", ()
        self.ends.pop(message_id, None)
        self._fold = Fold(message_id)
        for message in self._messages:
            if message.id == message_id:
                # It goes on; what it goes on with exactly, a rewind says.
                self._fold.restore(message)

    def _add(self, chunk: Chunk) -> None:
        if chunk["type"] == chunks.RUN_REWIND and self._fold is None:
            # It says all that the message is.
            self._begin(MessageId(chunk["data"]["message"]["id"]))
            self._is_answering = True
            self.run_id = RunId(chunk["data"]["runId"])
        if self._fold is None:
            return
        try:
            self._fold.add(chunk)
        except FoldError:
            self._fold = None

    def _ask(self, question: UIMessage) -> None:
        self._messages = _with(self._messages, question)

    def _drop(self, after: str) -> None:
        for place, message in enumerate(self._messages):
            if message.id == after:
                del self._messages[place + 1 :]
                return

    def _finish(self, cursor: str) -> None:
        self._ended = _position(cursor)
        if self._fold is None or "status" not in self._end:
            # Its beginning was missed, so that its answer is in the history as soon as its end is.
            self._owed = _position(cursor)
            self._forget()
            return
        message, end = self._fold.message(), self._end
        finish_reason = self._fold.finish_reason
        self._messages = _with(self._messages, message)
        self._forget()
        self.status = end["status"]
        result = result_of(RunId(str(end.get("runId"))), end["status"], message, reason=end.get("reason"))
        self.pending = result.pending
        self.ends[message.id] = RunEnd(message.id, result.status, finish_reason, result.reason, result.error_text)

    def _note_end(self, message: UIMessage, status: EndStatus) -> None:
        said = message.metadata or {}
        self.ends[message.id] = RunEnd(
            message.id, status, said.get("finishReason"), said.get("failureReason"), str(said.get("errorText", ""))
        )


def _with(messages: list[UIMessage], message: UIMessage) -> list[UIMessage]:
    """Put a message in the place of the one of its id, else at the end."""
    if any(known.id == message.id for known in messages):
        return [message if known.id == message.id else known for known in messages]
    return [*messages, message]


def _position(cursor: str) -> tuple[int, int]:
    sequence, _, index = cursor.partition("-")
    return (int(sequence), int(index)) if sequence.isdigit() and index.isdigit() else (0, 0)
