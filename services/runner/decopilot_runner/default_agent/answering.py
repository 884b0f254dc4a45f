"""Answering a request: pydantic-ai's loop over model and tools, told in our own chunks."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pydantic_ai
from pydantic_ai import CallToolsNode, ModelRequestNode
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models import Model
from pydantic_ai.output import OutputSpec
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.usage import UsageLimits

from decopilot.agent import AgentRequest
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.configuration import AgentEntry
from decopilot.contracts.messages import UIMessage
from decopilot_runner.default_agent.asides import Asides
from decopilot_runner.default_agent.asking import Asking
from decopilot_runner.default_agent.continuing import Begun, begun
from decopilot_runner.default_agent.encoder import Encoder
from decopilot_runner.default_agent.executing import Executing, Executor
from decopilot_runner.default_agent.failures import early_end
from decopilot_runner.default_agent.files import Attached, read_attached
from decopilot_runner.default_agent.history import begun_messages, earlier_messages, prompt, window
from decopilot_runner.default_agent.models import Models, run_settings
from decopilot_runner.default_agent.modes import WEB_SEARCH, manner_of
from decopilot_runner.default_agent.offering import Offering
from decopilot_runner.default_agent.prompting import instructions
from decopilot_runner.default_agent.provider_metadata import readable_by
from decopilot_runner.default_agent.retrying import Retrying
from decopilot_runner.default_agent.showing import Showing
from decopilot_runner.default_agent.tracing import traced

if TYPE_CHECKING:
    # Takes another second; of use only where there is such a server.
    from decopilot_runner.default_agent.mcp import McpTools

OUTPUT: OutputSpec[str | DeferredToolRequests] = [str, DeferredToolRequests]

PydanticAgent = pydantic_ai.Agent[Any, str]
"""Its tools have the `AgentRequest` as their `deps`."""
OpensMcp = Callable[[], AbstractAsyncContextManager["McpTools"]]
"""Opens the MCP servers of an agent for a run."""


@dataclass(frozen=True, slots=True)
class Answering:
    """An agent that the runner can drive, and what it works with; without `models` its own model answers."""

    agent: PydanticAgent
    models: Models | None
    steps: int
    executor: Executor
    mcp: OpensMcp | None = None
    entry: AgentEntry | None = None
    has_search: bool = False

    async def __call__(self, request: AgentRequest) -> AsyncGenerator[Chunk, None]:
        """Answer: yield what is still missing of the answer."""
        so_far = begun(request.partial, is_resumed=request.resumed, in_step=request.in_step)
        encoder = Encoder(so_far.run_usage(), so_far)
        if (end := so_far.end(self.steps)) is not None:
            yield {"type": "finish", "finishReason": end}
            return
        asides = Asides()
        stream = asides.between(self._steps(request, so_far, encoder, Retrying(asides.tell)))
        async with aclosing(stream) as steps:
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

    async def _steps(
        self, request: AgentRequest, so_far: Begun, encoder: Encoder, retrying: Retrying
    ) -> AsyncGenerator[Chunk, None]:
        config = request.config
        model = None if self.models is None else self.models.of_run(config)
        messages = window(request.history, config.window_size)
        sees = self.models is None or self.models.sees(config)
        attached = await read_attached(messages, request.read_file, sees=sees)
        history = _history(messages, so_far, attached, model)
        manner = manner_of(request)
        begins_with = WEB_SEARCH if manner.mode == "web-search" and so_far.message is None else None
        async with (
            nullcontext() if self.mcp is None else self.mcp() as mcp,
            self.agent.iter(
                prompt(messages, attached) if so_far.message is None else None,
                model=model,
                deps=request,
                output_type=OUTPUT,
                message_history=history,
                deferred_tool_results=so_far.deferred(),
                conversation_id=request.thread,
                run_id=request.run_id,
                instructions=instructions(self.entry, manner.mode, config.instructions, has_search=self.has_search),
                model_settings=run_settings(model, config, history if so_far.message is not None else ()),
                usage_limits=UsageLimits(request_limit=self.steps),
                usage=encoder.usage,
                toolsets=None if mcp is None else [mcp],
                capabilities=[
                    traced(),
                    Offering(manner.refusal, begins_with),
                    Asking(so_far.verdicts(), only_reading=manner.only_reading),
                    Showing(),
                    Executing(self.executor, request),
                    retrying,
                ],
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


def _history(
    messages: Sequence[UIMessage], so_far: Begun, attached: Attached, model: Model | None
) -> list[ModelMessage]:
    if so_far.message is None:
        return earlier_messages(messages, attached)
    history = begun_messages(messages, so_far.message, attached)
    return history if model is None else readable_by(model, history)
