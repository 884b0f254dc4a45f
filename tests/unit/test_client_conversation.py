"""A conversation, as one who follows it holds it: whatever is lost on the way, in the end it is what the server has."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from decopilot.client.attaching import Event
from decopilot.client.conversation import Conversation
from decopilot.client.models import History
from decopilot.contracts.chunks import Chunk, transient
from decopilot.contracts.ids import MessageId
from decopilot.contracts.interactions import Approval, Interaction
from decopilot.contracts.messages import UIMessage
from decopilot.domain.fold import Fold
from decopilot.domain.interactions import pending_in, with_verdicts

CALL: list[Chunk] = [
    {"type": "start-step"},
    {"type": "tool-input-available", "toolCallId": "c1", "toolName": "rm", "input": {}},
    {"type": "tool-approval-request", "approvalId": "p1", "toolCallId": "c1"},
    {"type": "finish-step"},
]


def question(number: int) -> UIMessage:
    return UIMessage(id=MessageId(f"u{number}"), role="user", parts=[{"type": "text", "text": f"question {number}"}])


@dataclass
class Server:
    """A thread as the log has it: its chunks at their cursors, and what its runs left in the history."""

    log: list[Event] = field(default_factory=list)
    messages: list[UIMessage] = field(default_factory=list)
    histories: list[tuple[int, History]] = field(default_factory=list)
    """What the history says from so many events on."""

    def write(self, *said: Chunk) -> None:
        for chunk in said:
            self.log.append(Event(f"{len(self.log) // 3 + 1}-{len(self.log) % 3}", chunk))

    def run(self, number: int, texts: list[str], *, rewinds: bool, waits: bool, continues: bool) -> None:
        """Write a run; what its first attempt says behind its first step is void, if it `rewinds`."""
        message_id = MessageId(f"a{number}")
        base = None
        if continues and self.messages and (pending := pending_in(self.messages[-1])):
            base = self.messages.pop()
            message_id = base.id
            base = with_verdicts(base, [Approval(approval_id=pending[0].id, approved=True)])
        run = {"runId": f"r{number}", "attempt": 1}
        fold = Fold(message_id)
        opening: list[Chunk] = [{"type": "start", "messageId": message_id}, transient("data-run", run)]
        if base is None:
            self.messages.append(question(number))
            opening.append(transient("data-user-message", {"message": question(number).model_dump(exclude_none=True)}))
        else:
            opening.append(transient("data-run-rewind", run | {"message": base.model_dump(exclude_none=True)}))
        body = opening + [chunk for text in texts for chunk in said(text)]
        if rewinds:
            kept = Fold(message_id)
            for chunk in body:
                kept.add(chunk)
            told = {"runId": f"r{number}", "attempt": 2, "message": kept.message().model_dump(exclude_none=True)}
            body += [*said("void")[:-2], transient("data-run-rewind", told), *said("anew")]
        if waits:
            body += CALL
        status = "requires_action" if waits else "completed"
        closing: list[Chunk] = [
            transient("data-run-end", {"runId": f"r{number}", "status": status}),
            {"type": "finish", "finishReason": "stop"},
        ]
        for chunk in body + closing:
            fold.add(chunk)
        ended = self.histories[-1][1] if self.histories else History(messages=(), cursor="0-0", status="in_progress")
        asked = (*ended.messages, *([question(number)] if base is None else []))
        began = ended.model_copy(update={"messages": asked, "status": "in_progress", "pending": ()})
        self.histories.append((len(self.log) + 1, began))
        self.write(*body, *closing)
        self.messages.append(fold.message())
        waiting = pending_in(fold.message()) if waits else ()
        history = History(messages=tuple(self.messages), cursor=self.log[-1].cursor, status=status, pending=waiting)
        self.histories.append((len(self.log), history))

    def history(self, at: int) -> History | None:
        return next((history for since, history in reversed(self.histories) if since <= at), None)


def said(text: str) -> list[Chunk]:
    return [
        {"type": "start-step"},
        {"type": "text-start", "id": "t"},
        *({"type": "text-delta", "id": "t", "delta": letter} for letter in text),
        {"type": "text-end", "id": "t"},
        {"type": "finish-step"},
    ]


RUNS = st.lists(
    st.tuples(st.lists(st.text("abc", max_size=4), max_size=3), st.booleans(), st.booleans(), st.booleans()),
    min_size=1,
    max_size=4,
)


@given(RUNS, st.data())
def test_whatever_holes_it_is_reset_over_it_ends_as_the_history_does(
    runs: list[tuple[list[str], bool, bool, bool]], data: st.DataObject
) -> None:
    server = Server()
    for number, (texts, rewinds, waits, continues) in enumerate(runs):
        server.run(number, texts, rewinds=rewinds, waits=waits, continues=continues)
    size = len(server.log)
    holes = sorted(data.draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, 8)), max_size=4)))
    conversation = Conversation()
    known = data.draw(st.integers(0, size))

    def read(place: int) -> History | None:
        """Read what the log said at a place, or later: no reader is ever told less than before."""
        nonlocal known
        known = max(known, place)
        return server.history(known)

    read_history(conversation, lambda: read(0))
    place = next((i + 1 for i, event in enumerate(server.log) if event.cursor == conversation.cursor), 0)
    while place < size:
        if holes and holes[0][0] <= place:
            _, length = holes.pop(0)
            # The closing of the last run is always there: it is what the thread's next frame is linked to.
            place = min(place + length, size - 1)
            if length:
                # Frames go only once the end of their run is in the log.
                known = max(known, place)
            cursor = server.log[place - 1].cursor if place else "0-0"
            told = transient("data-thread-reset", {"cursor": cursor, "reason": "hole"})
            conversation.take(Event(cursor, told))
        else:
            conversation.take(server.log[place])
            place += 1
        # The history may be ahead of the stream, and behind the end of the run that has just been told.
        reads = iter([place - 1, *[data.draw(st.integers(place, size))] * 2])
        read_history(conversation, lambda: read(next(reads)))  # noqa: B023  used in this turn only
    assert server.messages == list(conversation.messages)
    history = server.history(size)
    assert history is not None
    assert (history.status, history.pending) == (conversation.status, conversation.pending)
    assert not conversation.is_answering
    assert conversation.answer is None


def read_history(conversation: Conversation, read: Callable[[], History | None]) -> None:
    while conversation.needs_history:
        conversation.load(read())


def following(*said_: Chunk) -> Conversation:
    conversation = Conversation()
    conversation.load(None)
    for number, chunk in enumerate(said_, 1):
        conversation.take(Event(f"{number}-0", chunk))
    return conversation


def opening(number: int = 1) -> list[Chunk]:
    return [
        {"type": "start", "messageId": f"a{number}"},
        transient("data-run", {"runId": f"r{number}", "attempt": 1}),
        transient("data-user-message", {"message": question(number).model_dump(exclude_none=True)}),
    ]


def closing(number: int = 1, status: str = "completed", **more: str) -> list[Chunk]:
    return [
        transient("data-run-end", {"runId": f"r{number}", "status": status} | more),
        {"type": "finish", "finishReason": "stop"},
    ]


def test_while_it_is_told_an_answer_grows_behind_its_question() -> None:
    conversation = following(*opening(), *said("half")[:-2])
    assert ["u1", "a1"] == [message.id for message in conversation.messages]
    assert conversation.answer is not None
    assert ("half", "r1", True) == (conversation.answer.text, conversation.run_id, conversation.is_answering)


def test_a_run_that_failed_says_why_until_its_answer_is_gone_on_with() -> None:
    conversation = following(*opening(), *said("half"), *closing(status="failed", reason="cancelled"))
    end = conversation.ends[MessageId("a1")]
    assert ("failed", "cancelled", None) == (end.status, end.reason, conversation.run_id)
    conversation.take(Event("99-0", {"type": "start", "messageId": "a1"}))
    assert {} == conversation.ends


def test_what_an_answer_waits_for_goes_one_by_one_and_all_with_the_next_run() -> None:
    conversation = following(*opening(), *CALL, *closing(status="requires_action"))
    asked = Interaction(kind="approval", id="p1", tool_call_id="c1", tool_name="rm")
    assert [asked] == list(conversation.pending)
    conversation.resolved(Approval(approval_id="p1", approved=True))
    assert [] == list(conversation.pending)
    assert "requires_action" == conversation.status


def test_what_is_told_again_from_its_start_is_held_once() -> None:
    conversation = following(*opening(), *said("one")[:-2], *opening(), *said("one"), *closing())
    assert ["question 1", "one"] == [message.text for message in conversation.messages]


def test_where_a_message_is_answered_anew_what_stood_behind_it_is_gone() -> None:
    regenerated = [opening(3)[0], opening(3)[1], transient("data-messages-dropped", {"after": "u1"}), opening(1)[2]]
    first = [*opening(1), *said("old"), *closing(1), *opening(2), *said("next"), *closing(2)]
    conversation = following(*first, *regenerated, *said("new"), *closing(3))
    assert ["question 1", "new"] == [message.text for message in conversation.messages]


def test_a_wait_for_the_model_is_told_until_anything_else_is() -> None:
    retry = transient("data-retry", {"attempt": 2, "delayMs": 1000, "category": "rate_limit"})
    conversation = following(*opening(), retry)
    assert conversation.retry is not None
    conversation.take(Event("9-0", {"type": "start-step"}))
    assert conversation.retry is None


def test_a_chunk_that_does_not_fold_costs_nothing_but_the_sight_of_that_answer_until_it_ends() -> None:
    conversation = following(*opening(), {"type": "text-delta", "id": "never begun", "delta": "x"}, *closing())
    assert (None, True) == (conversation.answer, conversation.needs_history)


def test_of_a_deleted_thread_that_is_what_is_known() -> None:
    assert following(*opening(), transient("data-thread-deleted", {})).is_deleted
