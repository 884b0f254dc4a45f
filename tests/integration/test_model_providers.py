"""The default agent over fakes of the real APIs: every way a model call can go, the same through each of them."""

import asyncio
from collections.abc import Sequence
from itertools import groupby

import pytest
from pydantic_ai import Tool

from decopilot.agent import AgentRequest
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.ids import MessageId, RunId
from decopilot.contracts.messages import RunConfig
from decopilot_runner.default_agent.failures import BROKEN_OFF, TEXTS
from support.driven import ORG, THREAD, Driven, asked, calls_of, kinds, of, verdicts
from support.model_calls import act, driven, ended, settings_of
from support.providers import KINDS, rig, roles

NOT_AVAILABLE = "The model is not available at the moment. Try again."
TOO_LONG = "The conversation is too long for this model."
LIMIT, FILTER = "The answer reached its length limit.", "The answer was stopped by a content filter."

ENDS: dict[str, tuple[str, str, str]] = {
    "say": ("completed", "stop", ""),
    "think": ("completed", "stop", ""),
    "weather": ("completed", "stop", ""),
    "batch": ("completed", "stop", ""),
    "secretly": ("completed", "stop", ""),
    "busy": ("completed", "stop", ""),
    "busy then tool": ("completed", "stop", ""),
    "busy in stream": ("completed", "stop", ""),
    "breaks off at once": ("completed", "stop", ""),
    "malformed": ("completed", "stop", ""),
    "wrong arguments": ("completed", "stop", ""),
    "refuses": ("failed", "content-filter", FILTER),
    "too long": ("failed", "length", LIMIT),
    "busy for ever": ("failed", "rate_limit", TEXTS["rate_limit"]),
    "busy for long": ("failed", "rate_limit", TEXTS["rate_limit"]),
    "breaks off": ("failed", "model_error", BROKEN_OFF),
    "breaks off in a call": ("failed", "model_error", BROKEN_OFF),
    "fails midway": ("failed", "model_error", NOT_AVAILABLE),
    "hangs": ("failed", "timeout", TEXTS["timeout"]),
    "hangs at once": ("failed", "timeout", TEXTS["timeout"]),
    "unauthorized": ("failed", "auth", TEXTS["auth"]),
    "no money": ("failed", "insufficient_funds", TEXTS["insufficient_funds"]),
    "broken": ("failed", "model_error", TEXTS["model_error"]),
    "unavailable": ("failed", "model_error", NOT_AVAILABLE),
    "context": ("failed", "model_error", TOO_LONG),
}
WAITS_OF: dict[str, list[str]] = {
    "busy": ["rate_limit", "model_error"],
    "busy then tool": ["rate_limit"] * 3,
    "busy in stream": ["model_error"],
    "breaks off at once": ["model_error"],
    "busy for ever": ["rate_limit"] * 5,
    "broken": ["model_error"] * 5,
    "unavailable": ["model_error"] * 5,
}


def squeezed(chunks: Sequence[Chunk]) -> list[str]:
    """Tell the kinds of chunks, of those that repeat one."""
    return [kind for kind, _ in groupby(kinds(chunks))]


@pytest.mark.parametrize("script", ENDS)
async def test_whatever_a_provider_does_the_run_ends_as_documented_in_the_same_chunks_as_with_any_other(
    script: str,
) -> None:
    streams = {}
    for kind in KINDS:
        async with rig(kind, settings_of(script)) as at:
            run = driven(at, script)
            end = await ended(run)

            told = of(run.chunks, "data-retry")
            why = end.finish_reason if end.finish_reason != "error" else end.error_category
            assert ENDS[script] == (end.status, why, end.error_text), kind
            assert WAITS_OF.get(script, []) == [chunk["data"]["category"] for chunk in told], kind
            assert len(at.fake.requests) == len(told) + kinds(run.stored()).count("start-step"), kind
            assert "secret" not in str(run.chunks) + end.error_text, kind
            streams[kind] = squeezed(run.chunks)
    if script == "secretly":
        # An open model has no thoughts that it would hide.
        del streams["openai-chat"]
    assert 1 == len({tuple(stream) for stream in streams.values()}), streams


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_to_wait_is_told_before_it_waits(kind: str) -> None:
    async with rig(kind) as at:
        run = driven(at, "busy")
        await run.attempt()

        assert [
            {"attempt": 2, "delayMs": 10, "category": "rate_limit"},
            {"attempt": 3, "delayMs": 10, "category": "model_error"},
        ] == [chunk["data"] for chunk in of(run.chunks, "data-retry")]
        assert all(chunk["transient"] for chunk in of(run.chunks, "data-retry"))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_wait_is_told_while_it_lasts_and_a_cancellation_ends_it(kind: str) -> None:
    async with rig(kind) as at:
        agent_run = Driven(at.agent(), "breaks off at once")
        waiting = asyncio.create_task(agent_run.attempt())
        async with asyncio.timeout(10):
            while not of(agent_run.chunks, "data-retry"):
                await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])

        assert waiting.cancelled()
        assert 1 == len(at.fake.requests)


@pytest.mark.parametrize("kind", KINDS)
async def test_tokens_are_those_of_the_answers_whatever_was_tried_in_vain(kind: str) -> None:
    async with rig(kind) as at:
        run = driven(at, "busy then tool")
        end = await run.attempt()

        assert (210, 14) == (end.usage.input_tokens, end.usage.output_tokens)
        assert {"inputTokens": 210, "outputTokens": 14, "totalTokens": 224} == (run.message.metadata or {})["usage"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("script", ["weather", "batch", "secretly"])
async def test_whoever_goes_on_behind_any_chunk_sends_what_the_first_would_have_sent(kind: str, script: str) -> None:
    async with rig(kind) as at:
        whole = driven(at, script)
        end = await whole.attempt()
        sent = at.fake.requests[1]
        for kill_at, chunk in enumerate(whole.chunks[:-1], 1):
            if chunk["type"].endswith("-delta"):
                continue
            run = driven(at, script)
            await run.killed_at(kill_at)
            again = await run.attempt()

            assert sent == at.fake.requests[-1], (kill_at, chunk)
            assert (end.status, end.usage) == (again.status, again.usage), (kill_at, chunk)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_model_goes_on_behind_approvals_with_what_it_thought_before(kind: str) -> None:
    async with rig(kind) as at:
        first = Driven(at.agent(Tool(act)), "batch", config=RunConfig(tool_approval_level="readonly"))
        waits = await first.attempt()
        second = first.gone_on_with(*verdicts(first.message))
        end = await second.attempt()

        assert ("requires_action", "completed") == (waits.status, end.status)
        assert ["user", "thought", "call", "call", "call", "result", "result", "result"] == roles(at.fake.requests[1])
        assert ["a done", "b done", "c done"] == [part["output"] for part in calls_of(second.message)]


async def test_an_answer_whose_thoughts_are_not_there_is_gone_on_with_without_thinking() -> None:
    async with rig("openai") as at:
        first = Driven(at.agent(Tool(act)), "batch", config=RunConfig(tool_approval_level="readonly"))
        await first.attempt()
    async with rig("anthropic") as at:
        first.agent = at.agent(Tool(act))
        end = await first.gone_on_with(*verdicts(first.message)).attempt()

        assert "completed" == end.status
        assert {"type": "disabled"} == at.fake.requests[0]["thinking"]
        assert ["user", "call", "call", "call", "result", "result", "result"] == roles(at.fake.requests[0])


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_that_is_over_is_told_without_thoughts(kind: str) -> None:
    async with rig(kind) as at:
        first = driven(at, "weather")
        await first.attempt()
        history = [asked("weather"), first.message, asked("say")]
        request = AgentRequest(ORG, THREAD, RunId("next"), MessageId("next"), history, RunConfig())
        chunks = [chunk async for chunk in at.agent()(request)]

        assert "stop" == chunks[-1]["finishReason"]
        assert ["user", "assistant", "call", "result", "assistant", "user"] == roles(at.fake.requests[-1])
