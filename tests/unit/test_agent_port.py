"""The port: whatever a foreign agent yields, only what every viewer understands gets as far as the log."""

import re
from random import Random

import pytest
from hypothesis import given, settings

from decopilot.contracts.chunks import Chunk
from decopilot.domain.fold import Fold, fold
from decopilot_runner.checking import Checker
from support.porting import ANSWER, START, YIELDS, disordered, ported
from support.streams import valid_stream

STEP: Chunk = {"type": "start-step"}
WORD: Chunk = {"type": "text-delta", "id": "t", "delta": "Hi"}


@settings(max_examples=300, deadline=None)
@given(YIELDS)
async def test_whatever_is_yielded_the_log_is_whole_and_says_which_chunk_was_bad(yields: list[object]) -> None:
    run = await ported(yields)
    assert run.fold.message() == fold(ANSWER, run.log)
    assert ["finish"] == [chunk["type"] for chunk in run.log if chunk["type"] == "finish"]
    assert [] == run.fold.stream_ends("")
    first_bad = number_of_first_bad(yields)
    if first_bad is None:
        assert "protocol" != run.outcome.error_category
        return
    assert ("failed", "protocol") == (run.outcome.status, run.outcome.error_category)
    told = re.fullmatch(r"The agent broke the chunk protocol: chunk (\d+) \((.+)\): (.+)\.", run.outcome.error_text)
    assert told is not None, run.outcome.error_text
    assert first_bad == int(told[1])


def number_of_first_bad(yields: list[object]) -> int | None:
    """Find it by the rules themselves: a form that is known, and a place that the fold accepts."""
    checker, growing = Checker(1 << 20), Fold(ANSWER)
    growing.add(START)
    for number, chunk in enumerate(yields, 1):
        try:
            checked = checker.check(chunk)
            if checked["type"] in {"start-step", "finish-step"}:
                for end in growing.stream_ends(""):
                    growing.add(end)
            if checked["type"] not in {"start", "abort", "finish"}:
                growing.add(checked)
        except Exception:  # noqa: BLE001  whatever the rules say
            return number
    return None


@pytest.mark.parametrize("seed", range(100))
async def test_a_good_stream_that_was_shaken_ends_in_a_log_that_folds(seed: int) -> None:
    rng = Random(seed)
    chunks = [chunk for chunk in valid_stream(rng, ANSWER) if chunk["type"] not in {"start", "data-run"}]
    run = await ported(disordered(rng, chunks))
    assert run.fold.message() == fold(ANSWER, run.log)


@pytest.mark.parametrize(
    ("yields", "said"),
    [
        ([STEP, WORD], "chunk 2 (text-delta): 't': a delta comes between its start and its end"),
        ([STEP, STEP, {"type": "text-start"}], "chunk 3 (text-start): must have a field 'id'"),
        ([STEP, "Hi"], "chunk 2 (str): must be an object"),
        ([{}], "chunk 1 (chunk): must have a type"),
        (
            [STEP, {"type": "tool-output-available", "toolCallId": "c", "output": 1}],
            "chunk 2 (tool-output-available): ",
        ),
    ],
)
async def test_a_broken_rule_is_told_with_the_chunk_and_its_number(yields: list[object], said: str) -> None:
    run = await ported(yields)
    assert run.outcome.error_text.startswith(f"The agent broke the chunk protocol: {said}")
