"""The agent that answers when nobody brought one: pydantic-ai's loop, told in our own chunks.

Importing this package imports pydantic-ai (about a second), so the runner does it only when this agent is asked for.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pydantic_ai
from pydantic_ai import CallToolsNode, ModelRequestNode
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models import Model
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.output import OutputSpec
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.usage import UsageLimits

from decopilot.agent import Agent, AgentRequest
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.configuration import AgentEntry
from decopilot.contracts.messages import UIMessage
from decopilot_runner.default_agent.asides import Asides
from decopilot_runner.default_agent.asking import Asking
from decopilot_runner.default_agent.continuing import Begun, begun
from decopilot_runner.default_agent.demo_tools import demo_tools
from decopilot_runner.default_agent.encoder import Encoder
from decopilot_runner.default_agent.executing import Executing, Executor
from decopilot_runner.default_agent.failures import early_end
from decopilot_runner.default_agent.files import Attached, read_attached
from decopilot_runner.default_agent.history import begun_messages, earlier_messages, prompt, window
from decopilot_runner.default_agent.models import Models, run_settings
from decopilot_runner.default_agent.outputs import Outputs
from decopilot_runner.default_agent.provider_metadata import readable_by
from decopilot_runner.default_agent.retrying import Retrying
from decopilot_runner.default_agent.toolbox import load_tools
from decopilot_runner.default_agent.tools import USER_ASK
from decopilot_runner.settings import DEMO_DIR

if TYPE_CHECKING:
    # Takes another second; of use only where there is such a server.
    from decopilot_runner.default_agent.mcp import McpServers, McpTools

STEPS = 30
"""So many model calls an answer has at most, whoever made them: attempts and continuations add up."""
BASE_PROMPT = "You are a helpful assistant. Answer in Markdown, in the language of the user."

OUTPUT: OutputSpec[str | DeferredToolRequests] = [str, DeferredToolRequests]

PydanticAgent = pydantic_ai.Agent[None, str]
OpensMcp = Callable[[], AbstractAsyncContextManager["McpTools"]]
"""Opens the MCP servers of an agent for a run."""


def build(
    entry: AgentEntry,
    models: Models,
    *,
    demo_dir: Path = DEMO_DIR,
    outputs: Outputs | None = None,
    servers: "McpServers | None" = None,
) -> Agent:
    """Build an agent of the configuration; each run has the model of its tier.

    `demo_dir` is where the tools of the `demo` model leave their traces. Large outputs of tools go to `outputs`; the
    MCP servers that the agent names are among `servers`.

    Raises:
        ToolImportError: one of its tools can't be had.

    """
    outputs = outputs or Outputs()
    tools = [USER_ASK, outputs.tool()]
    if models.has_demo:
        tools += demo_tools(demo_dir)
    tools += load_tools(entry.tools, {tool.name for tool in tools})
    agent = PydanticAgent(tools=tools, instructions=[BASE_PROMPT, entry.instructions])
    executor = Executor(outputs, entry.tool_timeout_s)
    mcp = None
    if servers is not None and entry.mcp:
        mcp = partial(servers.opened, entry.mcp, {tool.name for tool in tools})
    return adapt(agent, models, steps=entry.steps, executor=executor, mcp=mcp)


def adapt(
    agent: PydanticAgent,
    models: Models | None = None,
    *,
    steps: int = STEPS,
    executor: Executor | None = None,
    mcp: OpensMcp | None = None,
) -> Agent:
    """Make a pydantic-ai agent one that the runner can drive; without `models` its own model answers.

    A tool is executed, and the next model call made, only after all earlier chunks were taken. A consumer that stops
    before the end has to close the generator.
    """
    # Content stays out of the spans: what people write is theirs, and traces are read by others.
    traced = Instrumentation(settings=InstrumentationSettings(include_content=False, version=5))
    executor = executor or Executor(Outputs(), AgentEntry().tool_timeout_s)
    return partial(_run, _Loop(agent, traced, models, steps, executor, mcp))


@dataclass(frozen=True, slots=True)
class _Loop:
    agent: PydanticAgent
    traced: Instrumentation
    models: Models | None
    steps: int
    executor: Executor
    mcp: OpensMcp | None


async def _run(loop: _Loop, request: AgentRequest) -> AsyncGenerator[Chunk, None]:
    so_far = begun(request.partial, is_resumed=request.resumed, in_step=request.in_step)
    encoder = Encoder(so_far.run_usage(), so_far)
    if (end := so_far.end(loop.steps)) is not None:
        yield {"type": "finish", "finishReason": end}
        return
    asides = Asides()
    stream = _steps(loop, request, so_far, encoder, Retrying(asides.tell))
    async with aclosing(asides.between(stream)) as steps:
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


async def _steps(
    loop: _Loop, request: AgentRequest, so_far: Begun, encoder: Encoder, retrying: Retrying
) -> AsyncGenerator[Chunk, None]:
    config = request.config
    model = None if loop.models is None else loop.models.of_run(config)
    messages = window(request.history, config.window_size)
    sees = loop.models is None or loop.models.sees(config)
    attached = await read_attached(messages, request.read_file, sees=sees)
    history = _history(messages, so_far, attached, model)
    asking = Asking(so_far.verdicts(), only_reading=config.tool_approval_level == "readonly")
    async with (
        nullcontext() if loop.mcp is None else loop.mcp() as mcp,
        loop.agent.iter(
            prompt(messages, attached) if so_far.message is None else None,
            model=model,
            output_type=OUTPUT,
            message_history=history,
            deferred_tool_results=so_far.deferred(),
            conversation_id=request.thread,
            run_id=request.run_id,
            instructions=[text for text in config.instructions if text.strip()],
            model_settings=run_settings(model, config, history if so_far.message is not None else ()),
            usage_limits=UsageLimits(request_limit=loop.steps),
            usage=encoder.usage,
            toolsets=None if mcp is None else [mcp],
            capabilities=[loop.traced, asking, Executing(loop.executor, request), retrying],
        ) as run,
    ):
        for chunk in [] if mcp is None else mcp.notices():
            yield chunk
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


def _history(
    messages: Sequence[UIMessage], so_far: Begun, attached: Attached, model: Model | None
) -> list[ModelMessage]:
    if so_far.message is None:
        return earlier_messages(messages, attached)
    history = begun_messages(messages, so_far.message, attached)
    return history if model is None else readable_by(model, history)
