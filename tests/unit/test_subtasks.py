import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai import Tool
from pydantic_ai.exceptions import ApprovalRequired, CallDeferred
from pydantic_ai.messages import ModelMessage, ModelResponse, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from decopilot.agent import Agent
from decopilot.contracts.configuration import AgentEntry, Configuration
from decopilot.contracts.messages import RunConfig
from decopilot_runner.default_agent import adapt
from decopilot_runner.default_agent.agent_search import agent_search_tool
from decopilot_runner.default_agent.subtasks import NOT_ALONE, NOT_READING, SHOWN_LENGTH, Subtasks
from support.demo import demo_agent
from support.driven import READONLY, Driven, Toolbox, call, calls_of, kinds, noted, of, says, verdicts

PLANNING = RunConfig(mode="plan")
TASK = '{"prompt": "task"}'


def agent_with(
    *tools: Tool[Any],
    steps: dict[str, list[Any]],
    configuration: Configuration | None = None,
    entry: AgentEntry | None = None,
    heard: list[str] | None = None,
) -> Agent:
    """Make an agent that does subtasks with these tools; what its model says depends on the prompt, step by step.

    What the model is sent last for the task is `heard`: its instructions, and what its tools returned.
    """

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        prompts = [str(part.content) for one in messages for part in one.parts if isinstance(part, UserPromptPart)]
        if heard is not None and prompts[0] == "task":
            heard[:] = [str(info.instructions), *(str(getattr(part, "content", "")) for part in messages[-1].parts)]
        yield steps[prompts[0]][sum(isinstance(message, ModelResponse) for message in messages)]

    subtasks = Subtasks(entry or AgentEntry(), configuration or Configuration(), lambda _: tools)
    return adapt(PydanticAgent[Any, str](FunctionModel(stream_function=stream), tools=[subtasks.tool()]))


def subtask(*steps: str | dict[int, DeltaToolCall], args: str = TASK) -> dict[str, list[Any]]:
    return {"go": [call("subtask", 0, args), "done"], "task": list(steps)}


def output_of(run: Driven) -> object:
    (part,) = calls_of(run.message)
    return part.get("output", part.get("errorText"))


async def test_a_subtask_gives_its_last_text_and_shows_meanwhile_what_it_does() -> None:
    run = Driven(demo_agent(delay_ms=0), "/subtask /weather Oslo")

    assert "completed" == (await run.attempt()).status
    shown = [chunk for chunk in of(run.chunks, "tool-output-available") if chunk.get("preliminary")]
    assert "\n→ get_weather\n" == shown[0]["output"]
    assert str(output_of(run)).startswith("In **Oslo** it is")
    assert "preliminary" not in calls_of(run.message)[0]


async def test_what_a_subtask_used_counts_into_its_message_ahead_of_its_output() -> None:
    run = Driven(demo_agent(delay_ms=0), "/subtask /weather Oslo")
    outcome = await run.attempt()

    called, ahead, *_ = (n for n, chunk in enumerate(run.chunks) if chunk["type"] == "message-metadata")
    used = [run.chunks[n]["messageMetadata"]["usage"]["totalTokens"] for n in (called, ahead)]
    assert {"type": "tool-output-available", "output": output_of(run)}.items() <= run.chunks[ahead + 1].items()
    assert used[0] < used[1] < outcome.usage.input_tokens + outcome.usage.output_tokens


async def test_a_subtask_has_tools_but_none_to_ask_or_to_do_subtasks(tmp_path: Path) -> None:
    agent = demo_agent(delay_ms=0, demo_dir=tmp_path)
    for text, tool in (("/ask Which", "user_ask"), ("/subtask /weather Oslo", "subtask"), ("/plan x", "propose_plan")):
        run = Driven(agent, f"/subtask {text}")
        await run.attempt()
        assert f"I have no tool `{tool}` here." == output_of(run)

    await Driven(agent, "/subtask /note milk").attempt()
    assert ["milk"] == noted(tmp_path)


@pytest.mark.parametrize("config", [READONLY, PLANNING])
async def test_a_subtask_of_a_run_that_only_reads_reads_only_and_is_not_asked_about(
    tmp_path: Path, config: RunConfig
) -> None:
    agent = demo_agent(delay_ms=0, demo_dir=tmp_path)
    run = Driven(agent, "/subtask /note milk", config=config)
    assert "completed" == (await run.attempt()).status
    assert "I have no tool `note` here." == output_of(run)
    assert [] == noted(tmp_path)

    run = Driven(agent, "/subtask /weather Oslo", config=config)
    await run.attempt()
    assert str(output_of(run)).startswith("In **Oslo**")


@pytest.mark.parametrize(
    ("config", "options", "why"), [(READONLY, {}, NOT_READING), (RunConfig(), {"requires_approval": True}, NOT_ALONE)]
)
async def test_in_a_subtask_what_is_not_offered_is_refused(
    config: RunConfig, options: dict[str, Any], why: str
) -> None:
    box, heard = Toolbox(), list[str]()
    run = Driven(agent_with(box.tool("act", **options), steps=subtask(call("act", 1), "sorry"), heard=heard), "go")
    run.config = config

    assert "completed" == (await run.attempt()).status
    assert "sorry" == output_of(run)
    assert [] == box.called
    assert why in heard[-1]


@pytest.mark.parametrize("wish", [ApprovalRequired, CallDeferred])
async def test_a_tool_that_asks_by_itself_is_told_that_nobody_can_be_asked(wish: type[Exception]) -> None:
    async def act() -> str:
        raise wish

    heard = list[str]()
    run = Driven(agent_with(Tool(act), steps=subtask(call("act", 1), "sorry"), heard=heard), "go")

    assert "completed" == (await run.attempt()).status
    assert "sorry" == output_of(run)
    assert NOT_ALONE in heard[-1]


async def test_a_subtask_ends_at_its_own_limit_of_steps_with_what_it_has() -> None:
    entry = AgentEntry(subtask_steps=2)
    run = Driven(demo_agent(delay_ms=0, entry=entry), "/subtask /steps 3")

    assert ("completed", "stop") == ((outcome := await run.attempt()).status, outcome.finish_reason)
    assert "Step 2 of 3: I look at Lisbon.\n\n[The subtask was ended: it took 2 steps.]" == output_of(run)


async def test_a_subtask_without_a_text_or_with_a_model_that_fails_is_a_failed_call() -> None:
    run = Driven(demo_agent(delay_ms=0), "/subtask /fail 3")
    assert "completed" == (await run.attempt()).status
    assert "The model is not available at the moment. Try again." == output_of(run)

    run = Driven(agent_with(Toolbox().tool("read"), steps=subtask(*[""] * 9)), "go")
    await run.attempt()
    assert "output-error" == calls_of(run.message)[0]["state"]


async def test_an_agent_that_is_named_does_it_with_its_own_instructions() -> None:
    heard, configuration = list[str](), Configuration(agents={"clerk": AgentEntry(instructions="You are a clerk.")})
    steps = subtask("result", args='{"prompt": "task", "agent_id": "clerk"}')
    entry = AgentEntry(instructions="You are a butler.")
    run = Driven(agent_with(steps=steps, configuration=configuration, entry=entry, heard=heard), "go")
    await run.attempt()

    assert "result" == output_of(run)
    assert "You are a clerk." in heard[0]
    assert "You are a butler." not in heard[0]


@pytest.mark.parametrize("agent_id", ["nobody", "foreign"])
async def test_an_agent_that_is_not_there_or_not_ours_does_no_subtasks(agent_id: str) -> None:
    configuration = Configuration(agents={"foreign": AgentEntry(agent="package:agent")})
    steps = subtask(args=f'{{"prompt": "task", "agent_id": "{agent_id}"}}')
    run = Driven(agent_with(steps=steps, configuration=configuration), "go")

    assert "completed" == (await run.attempt()).status
    assert f"There is no agent {agent_id} that does subtasks" in str(output_of(run))


@pytest.mark.parametrize(
    ("term", "found"),
    [("", ["clerk", "default", "foreign"]), ("BOOK seats", ["clerk"]), ("nobody", []), ("butler", ["foreign"])],
)
async def test_agents_are_found_by_their_ids_titles_and_descriptions(term: str, found: list[str]) -> None:
    agents = {
        "clerk": AgentEntry(description="Books seats."),
        "foreign": AgentEntry(title="The Butler", agent="package:agent"),
    }
    tool = agent_search_tool(Configuration(agents=agents))
    model = says([call("agent_search", 0, json.dumps({"search_term": term}))], ["done"])
    run = Driven(adapt(PydanticAgent[Any, str](model, tools=[tool])), "go", config=READONLY)
    await run.attempt()

    told: Any = output_of(run)
    assert found == [agent["agent_id"] for agent in told]
    assert ["foreign" not in agent["agent_id"] for agent in told] == [agent["does_subtasks"] for agent in told]


async def test_what_a_subtask_shows_is_its_end_and_never_more_than_fits() -> None:
    run = Driven(demo_agent(delay_ms=1), "/subtask /count 3000 0")
    await run.attempt()

    shown = [chunk["output"] for chunk in of(run.chunks, "tool-output-available") if chunk.get("preliminary")]
    assert all(len(text) <= SHOWN_LENGTH for text in shown)
    assert str(output_of(run)).endswith(" 3000")


async def killed_while_shown(config: RunConfig, folder: Path) -> Driven:
    run = Driven(demo_agent(delay_ms=0, demo_dir=folder), "/subtask /slowtool 0.01", config=config)
    reference = Driven(run.agent, run.text, config=config)
    await reference.attempt()
    await run.killed_at(kinds(reference.chunks).index("tool-output-available") + 1)
    return run


async def test_a_subtask_that_was_interrupted_is_repeated_where_it_only_reads(tmp_path: Path) -> None:
    run = await killed_while_shown(READONLY, tmp_path)

    assert "completed" == (await run.attempt()).status
    assert "The tool took 0.01 s." == output_of(run)


async def test_a_subtask_that_was_interrupted_and_may_have_changed_something_is_asked_about(tmp_path: Path) -> None:
    run = await killed_while_shown(RunConfig(), tmp_path)

    assert "requires_action" == (await run.attempt()).status
    assert 1 == len(of(run.chunks, "data-interrupted-call"))
    again = run.gone_on_with(*verdicts(run.message))
    assert "completed" == (await again.attempt()).status
    assert "The tool took 0.01 s." == output_of(again)
