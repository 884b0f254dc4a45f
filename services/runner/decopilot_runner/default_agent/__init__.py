"""The agent that answers when nobody brought one: pydantic-ai's loop, told in our own chunks.

Importing this package imports pydantic-ai (about a second), so the runner does it only when this agent is asked for.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pydantic_ai
from pydantic_ai import CallToolsNode, ModelRequestNode, Tool
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.output import OutputSpec
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.usage import UsageLimits

from decopilot.agent import Agent, AgentRequest
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.configuration import AgentEntry
from decopilot.contracts.messages import UIMessage
from decopilot_runner.default_agent.agent_search import agent_search_tool
from decopilot_runner.default_agent.asking import Asking
from decopilot_runner.default_agent.continuing import Begun, begun
from decopilot_runner.default_agent.demo_tools import demo_tools
from decopilot_runner.default_agent.encoder import Encoder
from decopilot_runner.default_agent.failures import early_end
from decopilot_runner.default_agent.history import begun_messages, earlier_messages, prompt, window
from decopilot_runner.default_agent.models import Models
from decopilot_runner.default_agent.modes import WEB_SEARCH, manner_of
from decopilot_runner.default_agent.offering import Offering
from decopilot_runner.default_agent.prompting import instructions
from decopilot_runner.default_agent.search_endpoint import SearchEndpoint
from decopilot_runner.default_agent.showing import Showing
from decopilot_runner.default_agent.subtasks import Subtasks
from decopilot_runner.default_agent.tools import PROPOSE_PLAN, USER_ASK
from decopilot_runner.default_agent.web_search import WebSearch
from decopilot_runner.settings import DEMO_DIR

STEPS = 30
"""So many model calls an answer has at most, whoever made them: attempts and continuations add up."""

OUTPUT: OutputSpec[str | DeferredToolRequests] = [str, DeferredToolRequests]

PydanticAgent = pydantic_ai.Agent[Any, str]
"""Its tools have the `AgentRequest` as their `deps`."""


def build(entry: AgentEntry, models: Models, *, demo_dir: Path = DEMO_DIR) -> Agent:
    """Build an agent of the configuration; each run has the model of its tier.

    `demo_dir` is where the tools of the `demo` model leave their traces.

    Raises:
        MissingVariableError: a key of the search endpoint is not in the environment.

    """
    configuration = models.configuration
    endpoint = None if configuration.search is None else SearchEndpoint(configuration.search)
    search = WebSearch(endpoint, models.of_tier("web_research")).tools()

    def working(_: AgentEntry) -> list[Tool[Any]]:
        """Make the tools that an agent has in subtasks, too."""
        demo = demo_tools(demo_dir) if models.has_demo else []
        return [*search, agent_search_tool(configuration), *demo]

    subtask = Subtasks(entry, configuration, working, [_traced()]).tool()
    agent = PydanticAgent(tools=[USER_ASK, PROPOSE_PLAN, subtask, *working(entry)])
    return partial(_run, _Loop(agent, _traced(), models, entry.steps, entry, has_search=bool(search)))


def adapt(agent: PydanticAgent, models: Models | None = None, *, steps: int = STEPS) -> Agent:
    """Make a pydantic-ai agent one that the runner can drive; without `models` its own model answers.

    A tool is executed, and the next model call made, only after all earlier chunks were taken. A consumer that stops
    before the end has to close the generator, in the task that took from it: pydantic-ai's cancel scopes and the
    current span belong to that task.
    """
    return partial(_run, _Loop(agent, _traced(), models, steps))


def _traced() -> Instrumentation:
    # Content stays out of the spans: what people write is theirs, and traces are read by others.
    return Instrumentation(settings=InstrumentationSettings(include_content=False, version=5))


@dataclass(frozen=True, slots=True)
class _Loop:
    agent: PydanticAgent
    traced: Instrumentation
    models: Models | None
    steps: int
    entry: AgentEntry | None = None
    has_search: bool = False


async def _run(loop: _Loop, request: AgentRequest) -> AsyncGenerator[Chunk, None]:
    so_far = begun(request.partial, is_resumed=request.resumed, in_step=request.in_step)
    encoder = Encoder(so_far.run_usage(), so_far)
    if (end := so_far.end(loop.steps)) is not None:
        yield {"type": "finish", "finishReason": end}
        return
    async with aclosing(_steps(loop, request, so_far, encoder)) as steps:
        while True:
            # The `yield` stands outside: a consumer that closes the agent is not to be handed more.
            try:
                chunk = await anext(steps)
            except StopAsyncIteration:
                break
            except Exception as error:  # noqa: BLE001  what is more than an early end is raised again
                for chunk in _broken_off(encoder, error):
                    yield chunk
                break
            yield chunk
    yield {"type": "finish", "finishReason": encoder.finish_reason}


def _broken_off(encoder: Encoder, error: Exception) -> Iterator[Chunk]:
    """Close what is open.

    Raises:
        Exception: it did more than to say why the model stopped.

    """
    encoder.finish_reason = "error"
    try:
        encoder.finish_reason = early_end(error)
    finally:
        yield from encoder.abandon()


async def _steps(loop: _Loop, request: AgentRequest, so_far: Begun, encoder: Encoder) -> AsyncGenerator[Chunk, None]:
    config = request.config
    messages = window(request.history, config.window_size)
    manner = manner_of(request)
    begins_with = WEB_SEARCH if manner.mode == "web-search" and so_far.message is None else None
    async with loop.agent.iter(
        prompt(messages) if so_far.message is None else None,
        model=None if loop.models is None else loop.models.of_run(config),
        deps=request,
        output_type=OUTPUT,
        message_history=_history(messages, so_far),
        deferred_tool_results=so_far.deferred(),
        conversation_id=request.thread,
        run_id=request.run_id,
        instructions=instructions(loop.entry, manner.mode, config.instructions, has_search=loop.has_search),
        model_settings={"temperature": config.temperature},
        usage_limits=UsageLimits(request_limit=loop.steps),
        usage=encoder.usage,
        capabilities=[
            loop.traced,
            Offering(manner.refusal, begins_with),
            Asking(so_far.verdicts(), only_reading=manner.only_reading),
            Showing(),
        ],
    ) as run:
        async for node in run:
            if not isinstance(node, ModelRequestNode | CallToolsNode):
                continue
            for chunk in encoder.enter(node):
                yield chunk
            # The model is called, and tools are executed, in here and nowhere else.
            async with node.stream(run.ctx) as events:
                async for event in events:
                    for chunk in encoder.event(event):
                        yield chunk
            for chunk in encoder.leave(node):
                yield chunk


def _history(messages: Sequence[UIMessage], so_far: Begun) -> list[ModelMessage]:
    if so_far.message is None:
        return earlier_messages(messages)
    return begun_messages(messages, so_far.message)
