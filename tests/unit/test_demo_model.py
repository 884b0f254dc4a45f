import asyncio
import time

import pytest
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.messages import ModelMessage, ModelRequest, UserPromptPart
from pydantic_ai.models import ModelRequestParameters

from decopilot.agent import AgentError, AgentRequest
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot_runner.default_agent import build
from decopilot_runner.default_agent.demo import BREATH, DemoModel
from decopilot_runner.default_agent.demo_script import COUNT_MAX, DELAY_MAX_MS, QUOTE_MAX, Script, get_weather, script


def asked(text: str, *earlier: UIMessage) -> AgentRequest:
    question = UIMessage(id=MessageId("m1"), role="user", parts=[{"type": "text", "text": text}])
    ids = OrgId("org"), ThreadId("thread"), RunId("run"), MessageId("m2")
    return AgentRequest(*ids, history=[*earlier, question], config=RunConfig())


async def answer(text: str, delay_ms: int = 0) -> list[Chunk]:
    return [chunk async for chunk in build("demo", delay_ms=delay_ms)(asked(text))]


def deltas(chunks: list[Chunk], kind: str = "text-delta") -> list[str]:
    return [chunk["delta"] for chunk in chunks if chunk["type"] == kind]


def scripted(text: str) -> Script:
    return script([ModelRequest(parts=[UserPromptPart(text)])])


async def test_a_text_is_answered_in_markdown_word_by_word() -> None:
    words = deltas(await answer("What is a durable log?"))
    text = "".join(words)

    assert len(words) > 30
    assert all(len(word.split()) == 1 for word in words if word.strip("\n> -"))
    for expected in ("> What is a durable log\n", "\n- It has **5** words", "**demo**", "\n```python\n", "\n```"):
        assert expected in text


async def test_the_same_text_has_the_same_answer_and_another_text_another() -> None:
    assert await answer("one") == await answer("one")
    assert await answer("one") != await answer("two")


async def test_the_question_is_quoted_as_it_was_written_without_being_markdown() -> None:
    text = "".join(deltas(await answer('# Hi <img src=x> `code`\n[link](http://x) **b** "?"')))

    assert '> \\# Hi \\<img src=x\\> \\`code\\` \\[link\\](http://x) \\*\\*b\\*\\* ""\n' in text


async def test_a_question_is_answered_though_the_run_before_it_ended_between_a_tool_and_its_report() -> None:
    call = {"type": "tool-get_weather", "toolCallId": "c1", "input": {"city": "Oslo"}}
    cut = call | {"state": "output-error", "errorText": "The run was interrupted."}
    earlier = [
        UIMessage(id=MessageId("m0"), role="user", parts=[{"type": "text", "text": "/weather Oslo"}]),
        UIMessage(id=MessageId("a0"), role="assistant", parts=[{"type": "step-start"}, cut]),
    ]
    chunks = [chunk async for chunk in build("demo", delay_ms=0)(asked("/count 3 0", *earlier))]

    assert "".join(deltas(chunks)) == "1 2 3"


async def test_a_long_question_is_quoted_in_part_and_never_as_a_question() -> None:
    text = "".join(deltas(await answer("why? " * 1000)))

    assert len(text) < QUOTE_MAX + 500
    assert "…" in text
    assert "?" not in text


async def test_count_answers_the_numbers_each_as_a_delta_of_its_own() -> None:
    words = deltas(await answer("/count 300"))

    assert len(words) == 300
    assert "".join(words) == " ".join(str(number) for number in range(1, 301))


async def test_the_time_between_two_numbers_is_the_messages_or_the_models() -> None:
    begin = time.monotonic()
    await answer("/count 5 10")
    assert time.monotonic() - begin >= 0.05

    begin = time.monotonic()
    await answer("/count 5", delay_ms=10)
    assert time.monotonic() - begin >= 0.05


def test_what_a_message_may_ask_for_is_limited() -> None:
    endless = scripted("/count 999999999999 999999999")

    assert len(list(endless.deltas)) == COUNT_MAX
    assert endless.delay_ms == DELAY_MAX_MS


async def test_others_get_their_turn_while_numbers_come_without_a_pause() -> None:
    turns = 0

    async def heartbeat() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(heartbeat())
    # The model alone: what pydantic-ai puts around it gives others a turn too.
    question: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart("/count 1600 0")])]
    async with DemoModel().request_stream(question, None, ModelRequestParameters()) as response:
        async for _ in response:
            pass
    task.cancel()

    assert turns > 1600 / BREATH / 2


async def test_think_reasons_before_it_answers() -> None:
    chunks = await answer("/think of the sea")
    kinds = [chunk["type"] for chunk in chunks]

    assert "of the sea" in "".join(deltas(chunks, "reasoning-delta"))
    assert "of the sea" in "".join(deltas(chunks))
    assert kinds.index("reasoning-end") < kinds.index("text-start")


async def test_weather_calls_a_tool_with_streamed_input_and_answers_in_a_second_step() -> None:
    chunks = await answer("/weather São Paulo")
    typed = [chunk["inputTextDelta"] for chunk in chunks if chunk["type"] == "tool-input-delta"]
    (output,) = [chunk["output"] for chunk in chunks if chunk["type"] == "tool-output-available"]

    assert len(typed) > 2
    assert "".join(typed) == '{"city": "São Paulo"}'
    assert output == get_weather("São Paulo")
    assert [chunk["type"] for chunk in chunks].count("start-step") == 2
    assert "".join(deltas(chunks)).startswith("In **São Paulo** it is ")
    assert chunks[-1] == {"type": "finish", "finishReason": "stop"}


@pytest.mark.parametrize(("text", "spoken"), [("/fail", 0), ("/fail 0", 0), ("/fail 3", 3)])
async def test_fail_fails_like_a_provider_after_as_many_deltas(text: str, spoken: int) -> None:
    chunks: list[Chunk] = []

    async def listen() -> None:
        async for chunk in build("demo", delay_ms=0)(asked(text)):
            chunks.append(chunk)  # noqa: PERF401  what came before the exception is looked at

    with pytest.raises(AgentError) as raised:
        await listen()

    assert raised.value.category == "model_error"
    assert len(deltas(chunks)) == spoken


async def test_length_ends_for_want_of_tokens() -> None:
    chunks = await answer("/length")

    assert deltas(chunks)
    assert chunks[-1] == {"type": "finish", "finishReason": "length"}


@pytest.mark.parametrize(
    "text",
    [
        "/count",
        "/count 0",
        "/count -1",
        "/count many",
        "/count 5 fast",
        "/count 5 1 1",
        "/count ٣",
        "/counts 5",
        "please /count 5",
        "/weather",
        "/fail now",
        "/length 5",
        "/dance",
        "/",
        "",
    ],
)
async def test_what_is_no_directive_is_answered_as_text(text: str) -> None:
    assert "".join(deltas(await answer(text))).startswith("You wrote:")


async def test_a_directive_may_be_followed_by_more_lines() -> None:
    assert deltas(await answer("  /count 2  \nand so on")) == ["1", " 2"]


async def test_the_weather_can_be_asked_for_twice_in_a_thread_under_different_call_ids() -> None:
    first = scripted("/weather Oslo")
    before = [ModelRequest(parts=[UserPromptPart("hi")])]
    second = script([*before, ModelRequest(parts=[UserPromptPart("/weather Oslo")])])

    assert list(first.deltas) != list(second.deltas)


async def test_the_model_answers_at_once_where_nobody_listens() -> None:
    result = await PydanticAgent(DemoModel(0)).run("/count 3")

    assert result.output == "1 2 3"
    assert result.usage.output_tokens == 3
