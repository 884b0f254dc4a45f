"""The agent that answers when nobody brought one: pydantic-ai's loop, told in our own chunks.

Importing this package imports pydantic-ai (about a second), so the runner does it only when this agent is asked for.
"""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_ai import Tool
from pydantic_ai.capabilities import AbstractCapability

from decopilot.agent import Agent, AgentRequest
from decopilot.contracts.configuration import AgentEntry
from decopilot.domain.choosing import is_allowed
from decopilot_runner.default_agent.agent_search import agent_search_tool
from decopilot_runner.default_agent.answering import Answering, PydanticAgent
from decopilot_runner.default_agent.demo_tools import demo_tools
from decopilot_runner.default_agent.executing import Executing, Executor
from decopilot_runner.default_agent.models import Models
from decopilot_runner.default_agent.modes import SUBTASK
from decopilot_runner.default_agent.outputs import Outputs
from decopilot_runner.default_agent.search_endpoint import SearchEndpoint
from decopilot_runner.default_agent.subtasks import Subtasks
from decopilot_runner.default_agent.toolbox import load_tools
from decopilot_runner.default_agent.tools import PROPOSE_PLAN, USER_ASK
from decopilot_runner.default_agent.tracing import traced
from decopilot_runner.default_agent.web_search import WebSearch
from decopilot_runner.settings import DEMO_DIR

if TYPE_CHECKING:
    # Takes another second; of use only where there is such a server.
    from decopilot_runner.default_agent.mcp import McpServers

STEPS = 30
"""So many model calls an answer has at most, whoever made them: attempts and continuations add up."""


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
        ImportPathError: one of its tools can't be had.
        MissingVariableError: a key of the search endpoint is not in the environment.

    """
    outputs = outputs or Outputs()
    executor = Executor(outputs, entry.tool_timeout_s)
    search = _web_search(models, outputs).tools()
    common = [*search, agent_search_tool(models.configuration), outputs.tool()]
    if models.has_demo:
        common += demo_tools(demo_dir)

    @cache
    def working(entry: AgentEntry) -> list[Tool[Any]]:
        """Make the tools that an agent has in subtasks, too."""
        taken = {tool.name for tool in [USER_ASK, PROPOSE_PLAN, *common]} | {SUBTASK}
        return [*common, *load_tools(entry.tools, taken)]

    def alike(request: AgentRequest) -> Sequence[AbstractCapability[Any]]:
        return [traced(), Executing(executor, request)]

    subtask = Subtasks(entry, models.configuration, working, alike).tool()
    tools = [USER_ASK, PROPOSE_PLAN, subtask, *working(entry)]
    mcp = None
    if servers is not None and entry.mcp:
        mcp = partial(servers.opened, entry.mcp, {tool.name for tool in tools})
    agent = PydanticAgent(tools=tools)
    return Answering(agent, models, entry.steps, executor, mcp, entry, has_search=bool(search))


def adapt(
    agent: PydanticAgent, models: Models | None = None, *, steps: int = STEPS, executor: Executor | None = None
) -> Agent:
    """Make a pydantic-ai agent one that the runner can drive; without `models` its own model answers.

    A tool is executed, and the next model call made, only after all earlier chunks were taken. A consumer that stops
    before the end has to close the generator.
    """
    return Answering(agent, models, steps, executor or Executor(Outputs(), AgentEntry().tool_timeout_s))


def _web_search(models: Models, outputs: Outputs) -> WebSearch:
    configuration = models.configuration
    researcher = configuration.tier_entry("web_research")

    def may_use(role: str | None) -> bool:
        return researcher is not None and is_allowed(configuration, researcher.model, role)

    endpoint = None
    if configuration.search is not None:
        endpoint = SearchEndpoint(configuration.search, configuration.private_hosts)
    return WebSearch(endpoint, models.of_tier("web_research"), may_use, outputs.keep_text)
