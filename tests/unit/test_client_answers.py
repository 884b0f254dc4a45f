"""One run's answer, picked out of its thread's chunks."""

import pytest

from decopilot.client.answers import Answer, answer_in
from decopilot.client.models import RunResult
from decopilot.contracts.chunks import Chunk, transient
from decopilot.contracts.ids import MessageId, RunId
from decopilot.contracts.interactions import Interaction
from decopilot.contracts.messages import UIMessage

RESET = transient("data-thread-reset", {"cursor": "9-0", "reason": "hole"})


def opening(number: int = 1, attempt: int = 1) -> list[Chunk]:
    return [
        {"type": "start", "messageId": f"a{number}"},
        transient("data-run", {"runId": f"r{number}", "attempt": attempt}),
        transient("data-user-message", {"message": {"id": f"u{number}", "role": "user", "parts": []}}),
    ]


def said(text: str, id_: str = "t") -> list[Chunk]:
    return [
        {"type": "text-start", "id": id_},
        *({"type": "text-delta", "id": id_, "delta": letter} for letter in text),
        {"type": "text-end", "id": id_},
    ]


def closing(number: int = 1, status: str = "completed", **end: str) -> list[Chunk]:
    return [
        transient("data-run-end", {"runId": f"r{number}", "status": status} | end),
        {"type": "finish", "finishReason": "stop"},
    ]


def rewind(text: str, number: int = 1) -> Chunk:
    parts = [{"type": "text", "text": text, "state": "done"}]
    message = {"id": f"a{number}", "role": "assistant", "parts": parts}
    return transient("data-run-rewind", {"runId": f"r{number}", "attempt": 2, "message": message})


def take(answer: Answer, *chunks: Chunk) -> list[Chunk]:
    return [own for chunk in chunks for own in answer.take(chunk)]


def result(*chunks: Chunk) -> RunResult | None:
    answer = Answer(RunId("r1"))
    take(answer, *chunks)
    return answer.result()


def text_of(found: RunResult | None) -> str:
    assert found is not None
    assert found.message is not None
    return found.message.text


def test_only_the_run_s_own_chunks_are_taken_from_its_start_to_its_finish() -> None:
    answer = Answer(RunId("r2"))
    own = [*opening(2), *said("b"), *closing(2)]
    assert own == take(answer, *opening(1), *said("a"), *closing(1), *own, *opening(3), *said("c"), *closing(3))
    assert "b" == text_of(answer.result())


def test_it_ends_as_its_end_says() -> None:
    found = result(*opening(), *said("half"), *closing(status="failed", reason="cancelled"))
    assert found is not None
    assert ("failed", "cancelled", "stop") == (found.status, found.reason, found.finish_reason)


def test_a_run_that_waits_tells_for_what() -> None:
    asked: list[Chunk] = [
        {"type": "tool-input-available", "toolCallId": "c1", "toolName": "rm", "input": {}},
        {"type": "tool-approval-request", "approvalId": "p1", "toolCallId": "c1"},
    ]
    found = result(*opening(), *asked, *closing(status="requires_action"))
    assert found is not None
    assert (Interaction(kind="approval", id="p1", tool_call_id="c1", tool_name="rm"),) == found.pending


def test_after_a_rewind_it_is_what_that_says_and_what_comes_behind() -> None:
    assert "ad" == text_of(
        result(
            *opening(),
            *said("a"),
            *said("void", "t2")[:3],
            rewind("a"),
            {"type": "text-start", "id": "t"},
            {"type": "text-delta", "id": "t", "delta": "d"},
            {"type": "text-end", "id": "t"},
            *closing(),
        )
    ).replace("\n", "")


def test_another_attempt_of_the_run_is_the_same_run() -> None:
    fence = transient("data-run", {"runId": "r1", "attempt": 2})
    assert "ab" == text_of(result(*opening(), *said("a"), fence, *said("b", "t2"), *closing())).replace("\n", "")


def test_behind_a_reset_it_begins_anew_where_the_run_does() -> None:
    assert "whole" == text_of(result(*opening(), *said("who")[:2], RESET, *opening(), *said("whole"), *closing()))


def test_behind_a_reset_a_rewind_says_all_that_was_missed() -> None:
    fence = transient("data-run", {"runId": "r1", "attempt": 2})
    assert "kept" == text_of(result(*opening(), RESET, fence, rewind("kept"), *closing()))


@pytest.mark.parametrize("missed", [[], opening()[1:2]], ids=["all before its end", "its start"])
def test_an_answer_that_was_not_seen_whole_is_not_guessed(missed: list[Chunk]) -> None:
    answer = Answer(RunId("r1"))
    take(answer, *opening(), *said("a")[:2], RESET, *missed, *said("b")[1:], *closing())
    assert answer.ended
    assert answer.result() is None
    assert MessageId("a1") == answer.message_id


def test_chunks_that_do_not_fold_are_no_answer() -> None:
    answer = Answer(RunId("r1"))
    take(answer, *opening(), {"type": "text-delta", "id": "never begun", "delta": "x"}, *closing())
    assert (True, None) == (answer.ended, answer.result())


def test_without_its_end_said_how_it_ended_is_not_known() -> None:
    assert result(*opening(), *said("a"), {"type": "finish", "finishReason": "stop"}) is None


def test_in_a_history_an_answer_is_found_by_its_id_or_behind_its_question() -> None:
    roles = {"u1": "user", "a1": "assistant", "u2": "user", "u3": "user", "a3": "assistant"}
    messages = [UIMessage.model_validate({"id": id_, "role": role, "parts": []}) for id_, role in roles.items()]

    def found(question: str, answer: str | None = None) -> str | None:
        wanted = None if answer is None else MessageId(answer)
        message = answer_in(messages, answer=wanted, question=MessageId(question))
        return None if message is None else message.id

    assert "a1" == found("u1")
    assert found("u2") is None
    assert "a3" == found("u3")
    assert "a3" == found("gone", "a3")
    assert "a1" == found("a1")
    assert found("gone") is None
