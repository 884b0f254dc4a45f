"""The agents that this runner drives: the default one, or one's own by its import path."""

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from decopilot.agent import Agent
from decopilot.contracts.configuration import DEFAULT_AGENT, TIERS, AgentEntry, Configuration
from decopilot.kit.program import ConfigurationError
from decopilot_runner.settings import RunnerSettings
from decopilot_runner.shelf import Shelf

if TYPE_CHECKING:
    from decopilot_runner.default_agent.mcp import McpServers

Agents = Mapping[str, Agent]
"""Agents by their ids."""


class AgentImportError(ConfigurationError):
    """What an import path of the configuration names can't be had."""

    def __init__(self, path: str, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"agent {path}: {why}")


class ModelError(ConfigurationError):
    """A model of the configuration can't be had."""

    def __init__(self, model: str, why: str) -> None:
        self.model, self.why = model, why
        super().__init__(f"model {model}: {why}")


def load_agents(settings: RunnerSettings, configuration: Configuration, shelf: Shelf | None = None) -> Agents:
    """Load every agent; large outputs of their tools go to `shelf`.

    Raises:
        ConfigurationError: what a tool or an MCP server needs can't be had.
        AgentImportError: there is no callable at an import path.
        ModelError: a model is unknown, or its provider's package or key is missing.

    """
    found: dict[str, Agent] = {}
    build: Callable[[AgentEntry], Agent] | None = None
    for agent_id in {DEFAULT_AGENT, *configuration.agents}:
        entry = configuration.agent_entry(agent_id)
        if entry is None:
            continue
        if entry.agent is not None:
            found[agent_id] = _imported(entry.agent)
            continue
        build = build or _builder(settings, configuration, shelf)
        found[agent_id] = build(entry)
    return found


def _imported(path: str) -> Agent:
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise AgentImportError(path, str(error)) from error
    if not callable(found):
        raise AgentImportError(path, "that is not callable")
    return cast("Agent", found)


def _builder(
    settings: RunnerSettings, configuration: Configuration, shelf: Shelf | None
) -> Callable[[AgentEntry], Agent]:
    # Heavy, and of no use to a runner with agents of its own only.
    from pydantic_ai.exceptions import UserError  # noqa: PLC0415

    from decopilot_runner.default_agent import build  # noqa: PLC0415
    from decopilot_runner.default_agent.models import Models  # noqa: PLC0415
    from decopilot_runner.default_agent.outputs import Outputs  # noqa: PLC0415

    models = Models(configuration, delay_ms=settings.demo_delay_ms)
    for tier in TIERS:
        entry = configuration.tier_entry(tier)
        if entry is None:
            continue
        try:
            models.named(entry.model)
        except ImportError as error:
            provider = entry.model.partition(":")[0]
            why = f"its provider's package is missing; install it with: pip install 'decopilot[{provider}]'"
            raise ModelError(entry.model, why) from error
        except UserError as error:
            # Its first sentence names the variable that is missing; the rest is for those who write Python.
            raise ModelError(entry.model, str(error).partition(". ")[0]) from error
    outputs, servers = Outputs(shelf), _servers(configuration)
    return lambda entry: build(entry, models, demo_dir=settings.demo_dir, outputs=outputs, servers=servers)


def _servers(configuration: Configuration) -> "McpServers | None":
    if not configuration.mcp:
        return None
    from decopilot_runner.default_agent.mcp import McpServers  # noqa: PLC0415

    return McpServers(configuration.mcp)
