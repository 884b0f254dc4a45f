import asyncio
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.messages import ModelMessage, ModelRequest, UserPromptPart
from pydantic_ai.models import ModelRequestParameters

from decopilot.agent import Agent, AgentError, AgentRequest
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot.domain.fold import fold
from decopilot_runner.default_agent import STEPS
from decopilot_runner.default_agent.demo import BREATH, DemoModel
from decopilot_runner.default_agent.demo_script import COUNT_MAX, DELAY_MAX_MS, QUOTE_MAX, Script, script
from decopilot_runner.default_agent.demo_tools import NOTES, get_weather
from support.demo import demo_agent


def asked(text: str, *earlier: UIMessage) -> AgentRequest:
    question = UIMessage(id=MessageId("m1"), role="user", parts=[{"type": "text", "text": text}])
    ids = OrgId("org"), ThreadId("thread"), RunId("run"), MessageId("m2")
    return AgentRequest(*ids, history=[*earlier, question], config=RunConfig())


async def answer(text: str, delay_ms: int = 0) -> list[Chunk]:
    return [chunk async for chunk in demo_agent(delay_ms=delay_ms)(asked(text))]


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
    chunks = [chunk async for chunk in demo_agent(delay_ms=0)(asked("/count 3 0", *earlier))]

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

    assert " the sea" in "".join(deltas(chunks, "reasoning-delta"))
    assert " the sea" in "".join(deltas(chunks))
    assert kinds.index("reasoning-end") < kinds.index("text-start")


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("/think", "this"),
        ("/think about", "this"),
        ("/think about it", "it"),
        ("/think of rain", "rain"),
        ("/think rain", "rain"),
        ("/think offhand", "offhand"),
        ("/think aboutness", "aboutness"),
    ],
)
async def test_what_is_thought_about_is_said_in_whole_sentences(text: str, about: str) -> None:
    assert f"I have thought about {about}: there" in "".join(deltas(await answer(text)))


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
        async for chunk in demo_agent(delay_ms=0)(asked(text)):
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
        "/counts 5",
        "please /count 5",
        "/thinking",
        "/dance",
        "/",
        "",
    ],
)
async def test_what_is_no_directive_is_answered_as_text(text: str) -> None:
    assert "".join(deltas(await answer(text))).startswith("You wrote:")


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
        "/weather",
        "/weather " + "x" * 81,
        "/fail now",
        "/length 5",
        "/steps",
        "/steps 0",
        "/steps 3 /weather Oslo",
        "/note",
        "/delete",
        "/ask",
        "/plan",
        "/subtask",
        "/search",
        "/slowtool",
        "/slowtool soon",
        "/hang on",
        "/tool",
        "/tool a.b",
        "/tool a [1]",
        "/tool a {} x",
    ],
)
async def test_a_directive_that_is_not_well_formed_is_answered_with_its_form_in_one_line(text: str) -> None:
    chunks = await answer(text)
    said = "".join(deltas(chunks))

    assert f"`{text.split(maxsplit=1)[0]}" in said
    assert "\n" not in said
    # A question mark would have the run wait for an answer.
    assert "?" not in said
    assert chunks[-1] == {"type": "finish", "finishReason": "stop"}


async def test_any_tool_can_be_called_and_what_it_gave_is_reported() -> None:
    chunks = await answer('/tool get_weather {"city": "Oslo"}')
    (called,) = [chunk for chunk in chunks if chunk["type"] == "tool-input-available"]
    assert ("get_weather", {"city": "Oslo"}) == (called["toolName"], called["input"])
    assert "".join(deltas(chunks)).startswith(r'The tool get\_weather gave: {"city":"Oslo"')
    assert "The arguments are no JSON object." == "".join(deltas(await answer("/tool get_weather {city}")))
    unknown = "".join(deltas(await answer("/tool nothing")))
    assert "I have no tool `nothing` here." == unknown


async def test_a_directive_may_be_followed_by_more_lines() -> None:
    assert deltas(await answer("  /count 2  \nand so on")) == ["1", " 2"]


def call_ids(chunks: list[Chunk]) -> list[str]:
    return [chunk["toolCallId"] for chunk in chunks if chunk["type"] == "tool-input-available"]


async def test_calls_have_ids_of_their_own_in_a_thread_however_little_of_it_the_model_sees() -> None:
    history: list[UIMessage] = []
    ids: list[str] = []
    for number in range(4):
        config = RunConfig(window_size=2)
        request = replace(asked("/steps 3", *history), run_id=RunId(f"run{number}"), config=config)
        chunks = [chunk async for chunk in demo_agent(delay_ms=0)(request)]
        history = [*request.history, fold(MessageId(f"a{number}"), chunks)]
        ids += call_ids(chunks)

    assert 12 == len(ids) == len(set(ids))
    # Some providers take no longer ones, and a thread may go on with another model.
    assert max(map(len, ids)) <= 40


async def test_the_same_run_calls_under_the_same_ids() -> None:
    assert call_ids(await answer("/steps 3")) == call_ids(await answer("/steps 3"))


async def test_steps_each_say_a_sentence_and_call_a_tool_and_the_last_sums_up() -> None:
    chunks = await answer("/steps 3")
    kinds = [chunk["type"] for chunk in chunks]

    assert 4 == kinds.count("start-step") == kinds.count("finish-step")
    assert 3 == kinds.count("tool-output-available")
    assert "".join(deltas(chunks)) == (
        "Step 1 of 3: I look at Oslo.Step 2 of 3: I look at Lisbon.Step 3 of 3: I look at Nairobi."
        "Those were 3 steps: 3 calls were done, 0 were not."
    )
    assert chunks[-1] == {"type": "finish", "finishReason": "stop"}


async def test_as_many_steps_as_an_answer_may_have_come_to_their_end() -> None:
    chunks = await answer("/steps 9999")

    assert STEPS == [chunk["type"] for chunk in chunks].count("finish-step")
    assert chunks[-1] == {"type": "finish", "finishReason": "stop"}


async def test_a_note_is_a_line_of_its_own_that_says_which_call_wrote_it(tmp_path: Path) -> None:
    agent = demo_agent(delay_ms=0, demo_dir=tmp_path / "new" / "folder")
    ids: list[str] = []
    for text in ("/note Öl\u2028 und Milch", "/steps 2 /note tea", "/delete tea 1"):
        ids += call_ids([chunk async for chunk in agent(asked(text))])

    lines = [json.loads(line) for line in (tmp_path / "new" / "folder" / NOTES).read_text().split("\n")[:-1]]
    assert ids == [line["call"] for line in lines]
    assert ["Öl\u2028 und Milch", "tea 1", "tea 2", None] == [line.get("text") for line in lines]
    assert "tea 1" == lines[-1]["deleted"]
    assert [datetime.fromisoformat(line["at"]).tzinfo for line in lines] == [UTC] * 4


async def test_notes_are_not_written_through_a_link_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / NOTES).symlink_to(tmp_path / "elsewhere")
    chunks = await _listened(demo_agent(delay_ms=0, demo_dir=tmp_path), "/note x")

    assert "Nothing was noted." == "".join(deltas(chunks))
    assert not (tmp_path / "elsewhere").exists()


async def _listened(agent: Agent, text: str) -> list[Chunk]:
    return [chunk async for chunk in agent(asked(text))]


async def test_the_model_answers_at_once_where_nobody_listens() -> None:
    result = await PydanticAgent(DemoModel(0)).run("/count 3")

    assert result.output == "1 2 3"
    assert result.usage.output_tokens == 3


async def test_a_model_speaks_at_its_own_pace_however_long_a_word_takes_to_be_dealt_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("decopilot_runner.default_agent.demo.asyncio.sleep", pause)
    model, request = DemoModel(delay_ms=10), ModelRequest(parts=[UserPromptPart("/count 4")])
    async with model.request_stream([request], None, ModelRequestParameters()) as answer:
        async for _ in answer:
            time.sleep(0.1)  # noqa: ASYNC251  longer than all that is left to be said

    assert 0 < pauses[0] <= 0.01
    assert all(seconds < 0 for seconds in pauses[1:])
