"""How the stream of every run begins and ends."""

from typing import get_args

import pytest

from decopilot.contracts.chunks import Chunk
from decopilot.contracts.events import FailureReason, RunRequested
from decopilot.contracts.frames import Outcome
from decopilot.contracts.ids import MessageId, RunId
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot.domain.fold import Fold, fold
from decopilot.domain.margins import closing, opening, rewind_chunk, run_chunk
from decopilot.domain.outcome import FORCED, forced, resolve
from support.deciding import ASKS, NOW, OPEN, approve, send, text

ANSWER = MessageId("answer-r1")
QUESTION = text("m1")
REQUESTED = RunRequested(
    at=NOW,
    run_id=RunId("r1"),
    user_id=send().user_id,
    message=QUESTION,
    message_hash="hash",
    assistant_id=ANSWER,
    config=RunConfig(),
)
CONTINUES = RunRequested(
    at=NOW,
    run_id=RunId("r2"),
    user_id=send().user_id,
    assistant_id=ANSWER,
    config=RunConfig(),
    continues=RunId("r1"),
    resolutions=(approve(),),
)
START: Chunk = {"type": "start", "messageId": "answer-r1"}


def test_a_run_opens_with_its_ids_and_its_question() -> None:
    question = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
    assert [
        START,
        {"type": "data-run", "data": {"runId": "r1", "attempt": 3}, "transient": True},
        {"type": "data-user-message", "data": {"message": question}, "transient": True},
    ] == opening(REQUESTED, 3)


def test_a_run_that_answers_anew_opens_with_what_is_left_of_the_thread() -> None:
    anew = CONTINUES.model_copy(update={"continues": None, "resolutions": (), "regenerates": QUESTION.id})
    dropped: Chunk = {"type": "data-messages-dropped", "data": {"after": "m1"}, "transient": True}
    run, question = opening(REQUESTED, 1)[1:]
    run = run | {"data": {"runId": "r2", "attempt": 1}}
    assert [START, run, dropped, question] == opening(anew, 1, QUESTION)
    # A thread that is being erased meanwhile has no question any more.
    assert [START, run, dropped] == opening(anew, 1)


def test_a_question_is_told_with_every_null_that_it_holds() -> None:
    noted = UIMessage.model_validate(
        {"id": "m1", "role": "user", "parts": [{"type": "data-note", "data": {"kept": None}}], "metadata": {"a": None}}
    )
    told = opening(REQUESTED.model_copy(update={"message": noted}), 1)[-1]["data"]["message"]
    assert noted == UIMessage.model_validate(told)
    assert {"kept": None} == told["parts"][0]["data"]


def test_a_continuation_opens_with_the_message_that_it_goes_on_with() -> None:
    waited = UIMessage(id=ANSWER, role="assistant", parts=[ASKS, OPEN], metadata={"a": 1})
    answered = ASKS | {"state": "approval-responded", "approval": {"id": "a1", "approved": True}}
    told = {"id": "answer-r1", "role": "assistant", "parts": [answered, OPEN], "metadata": {"a": 1}}
    rewind: Chunk = {
        "type": "data-run-rewind",
        "data": {"runId": "r2", "attempt": 1, "message": told},
        "transient": True,
    }
    assert [START, run_chunk(CONTINUES, 1), rewind] == opening(CONTINUES, 1, waited)


def test_a_continuation_whose_message_is_gone_opens_all_the_same() -> None:
    assert [START, run_chunk(CONTINUES, 1)] == opening(CONTINUES, 1)


def test_a_rewind_tells_a_message_whole() -> None:
    whole = UIMessage(id=ANSWER, role="assistant", parts=[OPEN | {"input": {"a": None}}], metadata={"b": None})
    growing = Fold(ANSWER)
    growing.add(rewind_chunk(REQUESTED, 2, whole))
    assert whole == growing.message()


@pytest.mark.parametrize("reason", ["stop", "tool-calls"])
@pytest.mark.parametrize("parts", [[], [ASKS]])
def test_a_run_that_ended_well_closes_with_its_end_and_its_finish(reason: str, parts: list[Chunk]) -> None:
    outcome = resolve(reason, UIMessage(id=ANSWER, role="assistant", parts=parts))
    assert [
        {"type": "data-run-end", "data": {"runId": "r1", "status": outcome.status}, "transient": True},
        {"type": "finish", "finishReason": outcome.finish_reason},
    ] == closing(REQUESTED, outcome, {})


def test_a_finish_takes_the_agents_metadata_with_it() -> None:
    outcome = Outcome(status="completed", finish_reason="stop")
    assert {"type": "finish", "finishReason": "stop", "messageMetadata": {"a": 1}} == closing(
        REQUESTED, outcome, {"a": 1}
    )[-1]


@pytest.mark.parametrize("reason", get_args(FailureReason))
def test_a_run_that_failed_says_why_to_those_who_watch_and_to_those_who_read_later(reason: FailureReason) -> None:
    is_wished = reason in {"cancelled", "superseded"}
    told = "other" if is_wished else "error"
    error: Chunk = {"type": "abort"} if is_wished else {"type": "error", "errorText": FORCED[reason]}
    metadata = {"a": 1, "finishReason": told, "failureReason": reason, "errorText": FORCED[reason]}
    outcome = forced(UIMessage(id=ANSWER, role="assistant", parts=[]), reason)
    chunks = closing(REQUESTED, outcome, {"a": 1})
    assert [
        {"type": "data-run-end", "data": {"runId": "r1", "status": "failed", "reason": reason}, "transient": True},
        error,
        {"type": "finish", "finishReason": told, "messageMetadata": metadata},
    ] == chunks
    assert metadata == fold(ANSWER, [START, *chunks]).metadata


@pytest.mark.parametrize("reason", ["length", "content-filter", "other"])
def test_a_run_whose_model_stopped_early_failed_but_shows_no_error(reason: str) -> None:
    chunks = closing(REQUESTED, resolve(reason, UIMessage(id=ANSWER, role="assistant", parts=[])), {})
    assert ["data-run-end", "finish"] == [chunk["type"] for chunk in chunks]
    assert {"runId": "r1", "status": "failed", "reason": "error"} == chunks[0]["data"]
    assert reason == chunks[-1]["finishReason"]


@pytest.mark.parametrize("reason", [*get_args(FailureReason), None])
def test_every_run_closes_with_one_finish_and_nothing_behind_it(reason: FailureReason | None) -> None:
    message = UIMessage(id=ANSWER, role="assistant", parts=[])
    chunks = closing(REQUESTED, resolve("stop", message) if reason is None else forced(message, reason), {})
    assert [len(chunks) - 1] == [index for index, chunk in enumerate(chunks) if chunk["type"] == "finish"]
