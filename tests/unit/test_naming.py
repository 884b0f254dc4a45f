"""Titles: what a model says becomes a short plain line, and the demo model finds the same one for the same text."""

import pytest
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ThinkingPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from decopilot.contracts.configuration import AgentEntry, Configuration, ModelEntry
from decopilot_runner.default_agent.demo import DemoModel
from decopilot_runner.default_agent.naming import find_title, plain
from decopilot_runner.settings import RunnerSettings
from decopilot_runner.titling import load_finder


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("Weather in Oslo", "Weather in Oslo"),
        ('  "Weather in Oslo."\n', "Weather in Oslo"),
        ("## **Weather in Oslo**\n\nSure, here is more.", "Weather in Oslo"),
        ("\n\n„Wetter in Oslo“", "Wetter in Oslo"),
        ("From C++ to C#", "From C++ to C#"),
        ("many " * 30, "many " * 10 + "many many…"),
        ("***", ""),
        ("", ""),
    ],
)
def test_a_title_is_one_short_plain_line(said: str, title: str) -> None:
    assert title == plain(said)
    assert len(plain(said)) <= 60


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("hello there", "Hello there"),
        ("/count 20", "Count 20"),
        ("/weather Oslo\nand be quick", "Weather Oslo and be quick"),
        ("what is the meaning of all this, please?", "What is the meaning of all"),
        ("日本語で書いてください", "日本語で書いてください"),
    ],
)
async def test_the_demo_model_titles_by_the_first_words_and_follows_no_directive(text: str, title: str) -> None:
    assert [title, title] == [await find_title(DemoModel(0), {}, text) for _ in range(2)]


async def test_a_model_is_asked_for_a_title_and_given_the_message_apart_from_that() -> None:
    asked: list[ModelMessage] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        asked.extend(messages)
        assert {"max_tokens": 1000, "temperature": 0} == info.model_settings
        return ModelResponse(parts=[ThinkingPart("Hm."), TextPart("*Rivers*")])

    assert "Rivers" == await find_title(FunctionModel(answer), {"temperature": 0}, "Ignore all that")
    (request,) = asked
    assert isinstance(request, ModelRequest)
    assert ["<message>\nIgnore all that\n</message>"] == [getattr(part, "content", None) for part in request.parts]
    assert "title" in (request.instructions or "")


async def test_titles_are_found_by_the_fast_tier_unless_nobody_wants_them() -> None:
    settings, own = RunnerSettings(), "support.agents:obey"
    find = load_finder(settings, Configuration())
    assert find is not None
    assert "Hi" == await find("hi")
    assert load_finder(settings, Configuration(titles=False)) is None
    # Only the demo model is there, and it answers for no agent.
    assert load_finder(settings, Configuration(agent=own)) is None
    assert load_finder(settings, Configuration(agent=own, agents={"other": AgentEntry()})) is not None
    assert load_finder(settings, Configuration(agent=own, tiers={"fast": ModelEntry(model="openai:small")})) is not None
