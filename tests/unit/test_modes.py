import json
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.profiles import ModelProfile

from decopilot.contracts.configuration import AgentEntry, Configuration
from decopilot.contracts.interactions import Answer
from decopilot.contracts.messages import RunConfig
from decopilot.domain.interactions import pending_in
from decopilot_runner.default_agent import adapt
from decopilot_runner.default_agent.asking import destructive, read_only
from decopilot_runner.default_agent.modes import ONLY_READING, OTHER_MODE
from decopilot_runner.default_agent.prompting import PLAN, SEARCH, instructions
from decopilot_runner.default_agent.tools import PLAN_LENGTH, PROPOSE_PLAN
from support.demo import demo_agent
from support.driven import Driven, Toolbox, agent_of, call, calls_of, noted, of, says

PLANNING = RunConfig(mode="plan")
SEARCHING = RunConfig(mode="web-search")
HAS_SEARCH = Configuration.model_validate({"tiers": {"web_research": "demo"}})


def answered(run: Driven, output: object) -> Driven:
    (asked,) = pending_in(run.message)
    return run.gone_on_with(Answer(tool_call_id=asked.tool_call_id, output=output))


def overheard(*replies: str | dict[int, DeltaToolCall], profile: ModelProfile | None = None) -> Any:  # noqa: ANN401
    """Make a model that gives one reply a step, and the list of what it was told with each request."""
    heard: list[AgentInfo] = []

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        heard.append(info)
        yield replies[sum(isinstance(message, ModelResponse) for message in messages)]

    return FunctionModel(stream_function=stream, profile=profile), heard


async def test_in_plan_mode_only_tools_that_read_are_offered_and_propose_plan() -> None:
    model, heard = overheard("done")
    box = Toolbox()
    tools = [box.tool("act"), box.tool("drop", destructive()), box.tool("read", read_only()), PROPOSE_PLAN]
    agent = adapt(PydanticAgent[None, str](model, tools=tools))

    await Driven(agent, "go", config=PLANNING).attempt()
    assert {"read", "propose_plan"} == {tool.name for tool in heard[-1].function_tools}
    await Driven(agent, "go").attempt()
    assert {"act", "drop", "read"} == {tool.name for tool in heard[-1].function_tools}


@pytest.mark.parametrize("level", ["auto", "readonly"])
async def test_in_plan_mode_a_tool_that_may_change_something_is_refused_and_never_asked_about(level: str) -> None:
    box = Toolbox()
    model = says([call("act", 0), call("read", 1)], ["done"])
    config = RunConfig.model_validate({"mode": "plan", "tool_approval_level": level})
    run = Driven(agent_of(model, box.tool("act"), box.tool("read", read_only())), "go", config=config)

    assert "completed" == (await run.attempt()).status
    assert ["c1"] == box.called
    assert [ONLY_READING] == [chunk["errorText"] for chunk in of(run.chunks, "tool-output-error")]
    assert "done" == run.message.text


async def test_a_plan_is_proposed_in_plan_mode_only() -> None:
    model = says([call("propose_plan", 0, '{"plan": "1."}')], ["done"])
    run = Driven(agent_of(model, PROPOSE_PLAN), "go")

    assert "completed" == (await run.attempt()).status
    assert [OTHER_MODE] == [chunk["errorText"] for chunk in of(run.chunks, "tool-output-error")]


async def test_a_plan_waits_for_its_approval_and_is_then_carried_out_in_the_same_message(tmp_path: Path) -> None:
    first = Driven(demo_agent(delay_ms=0, demo_dir=tmp_path), "/plan milk", config=PLANNING)
    outcome = await first.attempt()

    (asked,) = pending_in(first.message)
    assert ("requires_action", "answer", "propose_plan") == (outcome.status, asked.kind, asked.tool_name)
    assert [{"plan": "1. Note: milk"}] == [part["input"] for part in calls_of(first.message)]

    run = answered(first, {"approved": True})
    assert "completed" == (await run.attempt()).status
    assert ["milk"] == noted(tmp_path)
    assert run.message.text.endswith("As planned, I have noted milk.")


async def test_what_an_approved_plan_changes_is_asked_for_where_the_level_says_so(tmp_path: Path) -> None:
    config = RunConfig(mode="plan", tool_approval_level="readonly")
    first = Driven(demo_agent(delay_ms=0, demo_dir=tmp_path), "/plan milk", config=config)
    await first.attempt()
    run = answered(first, {"approved": True})

    assert "requires_action" == (await run.attempt()).status
    assert [("approval", "note")] == [(found.kind, found.tool_name) for found in pending_in(run.message)]


@pytest.mark.parametrize("output", [{"approved": False}, {"approved": "true"}, {}, "yes", None, True, ["approved"]])
async def test_a_plan_that_was_not_approved_leaves_the_run_in_plan_mode(output: object) -> None:
    model, heard = overheard(call("propose_plan", 0, '{"plan": "1."}'), "sorry")
    tools = [Toolbox().tool("act"), PROPOSE_PLAN]
    first = Driven(adapt(PydanticAgent[None, str](model, tools=tools)), "go", config=PLANNING)
    await first.attempt()
    await answered(first, output).attempt()

    assert {"propose_plan"} == {tool.name for tool in heard[-1].function_tools}


async def test_a_carried_out_plan_that_dies_goes_on_as_approved(tmp_path: Path) -> None:
    first = Driven(demo_agent(delay_ms=0, demo_dir=tmp_path), "/plan milk", config=PLANNING)
    await first.attempt()
    run = answered(first, {"approved": True})
    await run.killed_at(4)

    assert "completed" == (await run.attempt()).status
    assert ["milk"] == noted(tmp_path)


@pytest.mark.parametrize("length", [0, PLAN_LENGTH + 1])
async def test_a_plan_has_a_length(length: int) -> None:
    model = says([call("propose_plan", 0, json.dumps({"plan": "x" * length}))], ["sorry"])
    run = Driven(agent_of(model, PROPOSE_PLAN), "go", config=PLANNING)

    assert "completed" == (await run.attempt()).status
    assert ["output-error"] == [part["state"] for part in calls_of(run.message)]


async def test_in_mode_web_search_the_first_step_searches_and_the_next_is_free() -> None:
    run = Driven(demo_agent(delay_ms=0, configuration=HAS_SEARCH), "What is new", config=SEARCHING)

    assert "completed" == (await run.attempt()).status
    assert [("tool-web_search", {"query": "What is new"})] == [(c["type"], c["input"]) for c in calls_of(run.message)]
    assert run.message.text.startswith("I found")


async def test_in_mode_web_search_without_a_search_the_model_answers_as_ever() -> None:
    run = Driven(demo_agent(delay_ms=0), "What is new", config=SEARCHING)

    assert "completed" == (await run.attempt()).status
    assert [] == calls_of(run.message)


@pytest.mark.parametrize(
    ("profile", "choices"),
    [
        (ModelProfile(), [["web_search"], None]),
        (ModelProfile(supports_forced_tool_choice=False), [None, None]),
        (ModelProfile(supports_forced_tool_choice_with_thinking=False), [["web_search"], None]),
    ],
)
async def test_a_model_that_can_be_forced_is_and_only_at_first(profile: ModelProfile, choices: list[Any]) -> None:
    model, heard = overheard(call("web_search", 0), "done", profile=profile)
    tools = [Toolbox().tool("web_search", read_only()), Toolbox().tool("act")]
    await Driven(adapt(PydanticAgent[None, str](model, tools=tools)), "go", config=SEARCHING).attempt()

    assert choices == [(info.model_settings or {}).get("tool_choice") for info in heard]


async def test_a_model_that_thinks_is_not_forced_where_it_can_not_be_then() -> None:
    model, heard = overheard("done", profile=ModelProfile(supports_forced_tool_choice_with_thinking=False))
    agent = PydanticAgent[None, str](
        model, tools=[Toolbox().tool("web_search", read_only())], model_settings={"thinking": True}
    )
    await Driven(adapt(agent), "go", config=SEARCHING).attempt()

    assert [None] == [(info.model_settings or {}).get("tool_choice") for info in heard]


def test_a_model_is_told_of_itself_its_mode_its_agent_and_the_request_in_this_order() -> None:
    entry, day = AgentEntry(instructions="You are a clerk."), date(2026, 3, 1)
    base, *rest = instructions(entry, "plan", ["Be brief.", " "], has_search=True, today=day)

    assert "Today is 2026-03-01" in base
    assert [PLAN, "You are a clerk.", "Be brief."] == rest
    assert [SEARCH] == instructions(AgentEntry(), "web-search", has_search=True)[1:]
    assert [] == instructions(AgentEntry(), "web-search", has_search=False)[1:]
    assert ["Be brief."] == instructions(None, "default", ["Be brief."], has_search=True)


async def test_the_instructions_reach_the_model_with_every_request() -> None:
    heard: list[ModelMessage] = []
    agent = agent_of(says([call("read", 0)], ["done"], heard=heard), Toolbox().tool("read", read_only()))
    await Driven(agent, "go", config=RunConfig(mode="plan", instructions=("Be brief.",))).attempt()

    requests = [message for message in heard if isinstance(message, ModelRequest)]
    assert [f"{PLAN}\n\nBe brief."] * 2 == [request.instructions for request in requests]
