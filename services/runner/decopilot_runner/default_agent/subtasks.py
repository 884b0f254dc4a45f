"""Subtasks: an agent of its own inside a tool call, which has a prompt and nothing else, and asks nobody."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

import pydantic_ai
from pydantic import Field
from pydantic_ai import CallToolsNode, ModelRequestNode, RunContext, Tool
from pydantic_ai.capabilities import AbstractCapability, HandleDeferredToolCalls
from pydantic_ai.exceptions import (
    ModelAPIError,
    OutputTokenLimitExceeded,
    ToolFailed,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
)
from pydantic_ai.messages import FunctionToolCallEvent, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from pydantic_ai.models import Model
from pydantic_ai.run import AgentRun
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, ToolDefinition, ToolDenied
from pydantic_ai.usage import RunUsage, UsageLimits

from decopilot.agent import AgentRequest
from decopilot.agent import show as show_output
from decopilot.contracts.configuration import AgentEntry, Configuration
from decopilot_runner.default_agent.asking import declares, obedient
from decopilot_runner.default_agent.failures import agent_error
from decopilot_runner.default_agent.models import run_settings
from decopilot_runner.default_agent.modes import manner_of
from decopilot_runner.default_agent.offering import Offering
from decopilot_runner.default_agent.prompting import instructions
from decopilot_runner.default_agent.showing import Showing

PROMPT_LENGTH = 50_000
TIMEOUT_S = 3_600.0
SHOWN_LENGTH = 4_000
"""So much of what a subtask says is shown while it runs, its end."""

TASK = (
    "You work on a subtask for another agent. Nobody can be asked. Your last message is the result: make it complete."
)
NOT_ALONE = "This tool needs the user's approval or answer, and nobody can be asked in a subtask."
NOT_READING = "This tool may change something, which this subtask may not do."
NO_AGENT = "There is no agent {agent_id} that does subtasks. `agent_search` tells which there are."
NO_RESULT = "The subtask came to its end without a result."
AT_ITS_LIMIT = "[The subtask was ended: {why}.]"

Tools = Callable[[AgentEntry], Sequence[Tool[Any]]]
"""Makes the tools that an agent has wherever it works."""


@dataclass
class Subtasks:
    """Runs subtasks of the agent `entry`, or of any other that it names, with the model of the run that calls."""

    entry: AgentEntry
    configuration: Configuration
    tools: Tools
    capabilities: Callable[[AgentRequest], Sequence[AbstractCapability[Any]]] = lambda _: ()

    def tool(self) -> Tool[Any]:
        """Make the tool."""
        return Tool(self.subtask, metadata=obedient(), timeout=TIMEOUT_S)

    async def subtask(  # noqa: D417  the model reads it
        self,
        ctx: RunContext[Any],
        prompt: Annotated[str, Field(min_length=1, max_length=PROMPT_LENGTH)],
        agent_id: Annotated[str, Field(max_length=128)] | None = None,
    ) -> str:
        """Have a task done by an agent of its own, which knows nothing of this conversation; get its result.

        Args:
            prompt: The task, with everything that is to be known for it.
            agent_id: The agent that is to do it, as `agent_search` tells it; without one, an agent like you.

        """
        entry = self.entry if agent_id is None else self.configuration.agent_entry(agent_id)
        if entry is None or entry.agent is not None:
            raise ToolFailed(NO_AGENT.format(agent_id=agent_id))
        work = _Work()
        try:
            await self._run(ctx, entry, prompt, work)
        except UsageLimitExceeded:
            work.limit = f"it took {entry.subtask_steps} steps"
        except OutputTokenLimitExceeded:
            work.limit = "its answer became too long"
        except (ModelAPIError, UnexpectedModelBehavior) as error:
            raise ToolFailed(agent_error(error).text) from error
        return work.result()

    async def _run(self, ctx: RunContext[Any], entry: AgentEntry, prompt: str, work: "_Work") -> None:
        request: AgentRequest = ctx.deps
        only_reading = manner_of(request).only_reading
        agent = pydantic_ai.Agent[Any, str](tools=self.tools(entry))
        async with agent.iter(
            prompt,
            deps=request,
            model=cast("Model", ctx.model),
            # Ids of calls are the same in every attempt at this one.
            run_id=f"{request.run_id}-{ctx.tool_call_id}",
            conversation_id=request.thread,
            instructions=[*instructions(entry, "default", has_search=False), TASK],
            model_settings=run_settings(cast("Model", ctx.model), request.config),
            usage_limits=UsageLimits(request_limit=entry.subtask_steps),
            capabilities=[
                *self.capabilities(request),
                Offering(lambda tool: _refusal(tool, only_reading=only_reading)),
                HandleDeferredToolCalls(_deny),
                # What its own tools show is seen by nobody.
                Showing(),
            ],
        ) as run:
            counted = RunUsage()
            try:
                async for node in run:
                    if isinstance(node, ModelRequestNode | CallToolsNode):
                        await _tell(run, node, work)
                        counted = _count(ctx.usage, run.usage, counted)
            finally:
                _count(ctx.usage, run.usage, counted)


@dataclass(slots=True)
class _Work:
    """What a subtask said: `steps` are the texts of its model calls."""

    steps: list[str] = field(default_factory=list)
    shown: str = ""
    limit: str | None = None

    def begin_step(self) -> None:
        self.steps.append("")

    async def say(self, text: str) -> None:
        self.steps[-1] += text
        await self.tell(text)

    async def tell(self, text: str) -> None:
        """Tell viewers more, which is none of the result."""
        shown = self.shown + text
        self.shown = shown if len(shown) <= SHOWN_LENGTH else "…" + shown[1 - SHOWN_LENGTH :]
        await show_output(self.shown)

    def result(self) -> str:
        text = next((text for text in reversed(self.steps) if text.strip()), "")
        if self.limit is not None:
            return f"{text}\n\n{AT_ITS_LIMIT.format(why=self.limit)}".lstrip()
        if not text:
            raise ToolFailed(NO_RESULT)
        return text


async def _tell(
    run: AgentRun[Any, Any], node: ModelRequestNode[Any, Any] | CallToolsNode[Any, Any], work: _Work
) -> None:
    if isinstance(node, ModelRequestNode):
        work.begin_step()
    async with node.stream(run.ctx) as events:
        async for event in events:
            if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart) and event.part.content:
                await work.say(event.part.content)
            elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                await work.say(event.delta.content_delta)
            elif isinstance(event, FunctionToolCallEvent):
                await work.tell(f"\n→ {event.part.tool_name}\n")


def _refusal(tool: ToolDefinition, *, only_reading: bool) -> str | None:
    if tool.kind == "unapproved":
        return NOT_ALONE
    if only_reading and not declares(tool, "readOnlyHint", only_reading=True):
        return NOT_READING
    return None


def _deny(_: RunContext[Any], requests: DeferredToolRequests) -> DeferredToolResults:
    """Answer tools that ask for an approval or an answer themselves."""
    return DeferredToolResults(
        approvals={call.tool_call_id: ToolDenied(NOT_ALONE) for call in requests.approvals},
        calls={call.tool_call_id: ToolFailed(NOT_ALONE) for call in requests.calls},
    )


def _count(total: RunUsage, used: RunUsage, counted: RunUsage) -> RunUsage:
    """Add what was used since to the total, whose requests are steps of the answer, and so none of these."""
    more = used - counted
    more.requests = 0
    total.incr(more)
    return RunUsage() + used
