"""An answer as it arrives: one run's chunks, picked out of its thread's and folded. Pure."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, cast, get_args

from decopilot.client.models import EndStatus, RunResult
from decopilot.contracts.chunks import RESET, RUN, RUN_END, RUN_REWIND, Chunk, FinishReason
from decopilot.contracts.events import FailureReason
from decopilot.contracts.ids import MessageId, RunId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.fold import Fold, FoldError
from decopilot.domain.interactions import pending_in

ENDS = get_args(EndStatus)


class Answer:
    """The answer that one run gives, from its thread's chunks: those of runs before it come first.

    What follows on a reset may begin in the middle, and what is missed then is never guessed: the answer is lost here,
    and has to be read from the history.
    """

    ended: bool
    """Whether the run's closing `finish` came."""

    def __init__(self, run_id: RunId) -> None:
        self.run_id = run_id
        self.message_id: MessageId | None = None
        """The answer's id, as soon as it is known."""
        self.ended = False
        self._end: dict[str, Any] = {}
        self._forget()

    def _forget(self) -> None:
        self._opening: Chunk | None = None
        self._is_ours = False
        self._fold: Fold | None = None

    @property
    def reason(self) -> str | None:
        """Why the run failed, as soon as that is known."""
        return self._end.get("reason")

    def take(self, chunk: Chunk) -> list[Chunk]:
        """Take the thread's next chunk; return those that are now known to be the run's, resets among them."""
        kind = chunk["type"]
        if self.ended:
            return []
        if kind == RESET:
            self._forget()
            return [chunk]
        if kind == "start":
            # Whose it is, the next chunk says.
            self._is_ours, self._opening = False, chunk
            return []
        if kind == RUN:
            return self._begin(chunk)
        if kind == RUN_END and chunk["data"].get("runId") == self.run_id:
            self._end, self._is_ours = chunk["data"], True
        if not self._is_ours:
            return []
        self._add(chunk)
        self.ended = kind == "finish"
        return [chunk]

    def _begin(self, chunk: Chunk) -> list[Chunk]:
        opening, self._opening = self._opening, None
        self._is_ours = chunk["data"].get("runId") == self.run_id
        if not self._is_ours:
            return []
        if opening is None:
            # Another attempt goes on, or a reset led into the middle of the run.
            return [chunk]
        self.message_id = MessageId(opening.get("messageId", ""))
        self._fold = Fold(self.message_id)
        self._add(opening)
        return [opening, chunk]

    def _add(self, chunk: Chunk) -> None:
        if self._fold is None and chunk["type"] == RUN_REWIND:
            # It says all that the message is.
            self.message_id = MessageId(chunk["data"]["message"]["id"])
            self._fold = Fold(self.message_id)
        if self._fold is None:
            return
        try:
            self._fold.add(chunk)
        except FoldError:
            self._fold = None

    def result(self) -> RunResult | None:
        """Tell how the run ended; None where the chunks that came don't say it whole."""
        status = self._end.get("status")
        if not self.ended or self._fold is None or status not in ENDS:
            return None
        return result_of(
            self.run_id, cast("EndStatus", status), self._fold.message(), reason=self.reason, fold=self._fold
        )


def result_of(
    run_id: RunId,
    status: EndStatus,
    message: UIMessage | None,
    *,
    reason: str | None = None,
    fold: Fold | None = None,
) -> RunResult:
    """Tell how a run ended, from its message; what that does not say may be known from elsewhere."""
    metadata = {} if message is None or message.metadata is None else message.metadata
    return RunResult(
        run_id=run_id,
        status=status,
        reason=cast("FailureReason | None", reason or metadata.get("failureReason")) if status == "failed" else None,
        message=message,
        pending=() if message is None or status != "requires_action" else pending_in(message),
        finish_reason=cast("FinishReason | None", metadata.get("finishReason") if fold is None else fold.finish_reason),
    )


def answer_in(messages: Iterable[UIMessage], *, answer: MessageId | None, question: MessageId) -> UIMessage | None:
    """Find a run's answer in a history: by its id, or behind its question; None where it has none."""
    listed = list(messages)
    for wanted in (answer, question):
        for message in listed:
            if message.id == wanted and message.role == "assistant":
                return message
    for asked, next_ in pairwise(listed):
        if asked.id == question and next_.role == "assistant":
            return next_
    return None
