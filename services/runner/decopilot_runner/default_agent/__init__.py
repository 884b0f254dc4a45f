"""The agent that answers when nobody brought one: pydantic-ai's loop, told in our own chunks.

Importing this package imports pydantic-ai (about a second), so the runner does it only when this agent is asked for.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

import pydantic_ai
from pydantic_ai import CallToolsNode, ModelRequestNode
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.usage import RunUsage, UsageLimits

from decopilot.agent import Agent, AgentRequest
from decopilot.contracts.chunks import Chunk
from decopilot_runner.default_agent.demo import DemoModel
from decopilot_runner.default_agent.demo_script import NAME, get_weather
from decopilot_runner.default_agent.encoder import Encoder
from decopilot_runner.default_agent.failures import early_end
from decopilot_runner.default_agent.history import earlier_messages, prompt, window

STEPS = 30
BASE_PROMPT = "You are a helpful assistant. Answer in Markdown, in the language of the user."

PydanticAgent = pydantic_ai.Agent[None, str]


def build(model: str, *, delay_ms: int = 20) -> Agent:
    """Build the agent over a model: `demo`, or any name pydantic-ai knows (`openai:gpt-…`).

    `delay_ms` is the time between two deltas of the `demo` model.

    Raises:
        pydantic_ai.exceptions.UserError: the name is unknown, or the provider's key is not in the environment.
        ImportError: the provider's package is not installed.

    """
    if model == NAME:
        return adapt(PydanticAgent(DemoModel(delay_ms), tools=[get_weather], instructions=BASE_PROMPT))
    return adapt(PydanticAgent(model, instructions=BASE_PROMPT))


def adapt(agent: PydanticAgent) -> Agent:
    """Make a pydantic-ai agent one that the runner can drive.

    A tool is executed, and the next model call made, only after all earlier chunks were taken. A consumer that stops
    before the end has to close the generator, in the task that took from it: pydantic-ai's cancel scopes and the
    current span belong to that task.
    """
    # Content stays out of the spans: what people write is theirs, and traces are read by others.
    traced = Instrumentation(settings=InstrumentationSettings(include_content=False, version=5))
    return partial(_run, agent, traced)


async def _run(agent: PydanticAgent, traced: Instrumentation, request: AgentRequest) -> AsyncGenerator[Chunk, None]:
    encoder = Encoder(RunUsage())
    async with aclosing(_steps(agent, traced, request, encoder)) as steps:
        while True:
            # The `yield` stands outside: a consumer that closes the agent is not to be handed more.
            try:
                chunk = await anext(steps)
            except StopAsyncIteration:
                break
            except Exception as error:  # noqa: BLE001  what is more than an early end is raised again
                for chunk in encoder.abandon():
                    yield chunk
                encoder.finish_reason = early_end(error)
                break
            yield chunk
    yield {"type": "finish", "finishReason": encoder.finish_reason}


async def _steps(
    agent: PydanticAgent, traced: Instrumentation, request: AgentRequest, encoder: Encoder
) -> AsyncGenerator[Chunk, None]:
    config = request.config
    messages = window(request.history, config.window_size)
    async with agent.iter(
        prompt(messages),
        message_history=earlier_messages(messages),
        conversation_id=request.thread,
        instructions=[text for text in config.instructions if text.strip()],
        model_settings={"temperature": config.temperature},
        usage_limits=UsageLimits(request_limit=STEPS),
        usage=encoder.usage,
        capabilities=[traced],
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
