"""A message so far in few chunks folds to the same message, and goes on as it would have."""

import json
from pathlib import Path
from random import Random

import pytest

from decopilot.contracts.chunks import Chunk
from decopilot.contracts.ids import MessageId
from decopilot.domain.compacting import compact
from decopilot.domain.fold import Fold, FoldError
from support.streams import valid_stream

ID = MessageId("msg_1")
EXCEPT = {
    "approval-comes-while-input-streams.newest": "no agent of ours asks for approval of half an input",
    "approvals-are-answered-in-the-stream.v7": "no chunk before `ai` 7 says who approved",
    "approvals-say-why.newest": "as above",
}
CORPUS = sorted(path for path in (Path(__file__).parents[1] / "corpus").glob("*.ndjson") if path.stem not in EXCEPT)


def folded(chunks: list[Chunk]) -> Fold:
    fold = Fold(ID)
    for chunk in chunks:
        fold.add(chunk)
    return fold


def goes_on(chunks: list[Chunk]) -> None:
    """At every chunk: what was compacted there folds to the same, at once and at the end."""
    for cut in range(1, len(chunks) + 1):
        begun = folded(chunks[:cut])
        told = compact(begun)
        assert shown(begun) == shown(folded(told)), chunks[cut - 1]
        try:
            whole = shown(folded(chunks))
        except FoldError:
            continue
        assert whole == shown(folded([*told, *chunks[cut:]])), chunks[cut - 1]


def shown(fold: Fold) -> object:
    message = fold.message()
    return [message.id, message.metadata, list(message.parts)]


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_corpus_goes_on_from_wherever_it_is_compacted(path: Path) -> None:
    goes_on([json.loads(line) for line in path.read_bytes().split(b"\n") if line])


@pytest.mark.parametrize("seed", range(60))
def test_random_streams_go_on_from_wherever_they_are_compacted(seed: int) -> None:
    goes_on(valid_stream(Random(seed), ID))


def test_a_text_that_has_ended_does_not_end_one_that_is_open() -> None:
    of_text: Chunk = {"type": "text-start", "id": "text:1"}
    ended: Chunk = {"id": "t"}
    goes_on(
        [
            {"type": "start", "messageId": ID},
            of_text,
            {"type": "text-start"} | ended,
            {"type": "text-end"} | ended,
            of_text | {"type": "text-delta", "delta": "more"},
            of_text | {"type": "text-end"},
        ]
    )


def test_a_call_whose_output_came_before_any_input_goes_on() -> None:
    call: Chunk = {"toolCallId": "c1"}
    goes_on(
        [
            {"type": "start", "messageId": ID},
            {"type": "tool-input-start", "toolName": "search"} | call,
            {"type": "tool-output-available", "output": 1, "preliminary": True} | call,
            {"type": "tool-output-available", "output": 2} | call,
        ]
    )
