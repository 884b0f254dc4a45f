"""The agents that this runner drives: the default one, or one's own by its import path."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from decopilot.agent import Agent
from decopilot.contracts.configuration import DEFAULT_AGENT, AgentEntry, Configuration
from decopilot_runner.own_agents import own_agent
from decopilot_runner.settings import RunnerSettings
from decopilot_runner.shelf import Shelf

if TYPE_CHECKING:
    from decopilot_runner.default_agent.mcp import McpServers

Agents = Mapping[str, Agent]
"""Agents by their ids."""


async def load_agents(
    settings: RunnerSettings,
    configuration: Configuration,
    shelf: Shelf | None = None,
    *,
    closing: AsyncExitStack | None = None,
) -> Agents:
    """Load every agent. What they hold open is closed by `closing`; large outputs of their tools go to `shelf`.

    Modules that people brought are imported on the thread that their code runs on: what they make may be bound to it.

    Raises:
        ImportPathError: there is no agent, or no tool, at an import path.
        ConfigurationError: a model's provider is unknown, or its package or key is missing, or an MCP server's.

    """
    found: dict[str, Agent] = {}
    build: Callable[[AgentEntry], Agent] | None = None
    for agent_id in {DEFAULT_AGENT, *configuration.agents}:
        entry = configuration.agent_entry(agent_id)
        if entry is None:
            continue
        if entry.agent is not None:
            found[agent_id] = own_agent(entry.agent, entry, shelf)
            continue
        if build is None:
            # What it imports takes seconds, in which nobody could ask for our health.
            build = await asyncio.to_thread(_builder, settings, configuration, shelf, closing)
        found[agent_id] = build(entry)
    return found


def _builder(
    settings: RunnerSettings, configuration: Configuration, shelf: Shelf | None, closing: AsyncExitStack | None
) -> Callable[[AgentEntry], Agent]:
    # Heavy, and of no use to a runner with agents of its own only.
    from decopilot_runner.default_agent import build  # noqa: PLC0415
    from decopilot_runner.default_agent.models import Models  # noqa: PLC0415
    from decopilot_runner.default_agent.outputs import Outputs  # noqa: PLC0415

    models = Models(configuration, delay_ms=settings.demo_delay_ms)
    if closing is not None:
        closing.push_async_callback(models.close)
    models.prepare()
    outputs, servers = Outputs(shelf), _servers(configuration)
    return lambda entry: build(entry, models, demo_dir=settings.demo_dir, outputs=outputs, servers=servers)


def _servers(configuration: Configuration) -> "McpServers | None":
    if not configuration.mcp:
        return None
    from decopilot_runner.default_agent.mcp import McpServers  # noqa: PLC0415

    return McpServers(configuration.mcp, configuration.private_hosts)
