"""Check a configuration as a runner would use it, piece by piece: `python -m decopilot_runner.checking_configuration`.

What it finds goes to stdout as JSON: `{"problems": [text], "warnings": [text]}`. The command line asks for it, which
imports neither agents nor models itself.
"""

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from decopilot.contracts.configuration import DEFAULT_AGENT, TIERS, AgentEntry, Configuration
from decopilot.domain.choosing import ALL
from decopilot.kit.configuration import place_of, read_configuration
from decopilot.kit.program import ConfigurationError
from decopilot_runner.agents import load_agents
from decopilot_runner.importing import imported
from decopilot_runner.own_agents import TOOL, own_agent
from decopilot_runner.settings import RunnerSettings


@dataclass(slots=True)
class Findings:
    """What stands in the way (`problems`), and what may be meant so (`warnings`), each with its place."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def trying(self, *path: str) -> Iterator[None]:
        """Note what is wrong with this key."""
        try:
            yield
        except ConfigurationError as error:
            self.problem(path, str(error))
        except ImportError as error:
            self.problem(path, f"{error}; is the package there that it needs?")

    def problem(self, path: Sequence[str], text: str) -> None:
        """Note what would keep a service from doing as it is told."""
        self.problems.append(_said(path, text))

    def warning(self, path: Sequence[str], text: str) -> None:
        """Note what is strange."""
        self.warnings.append(_said(path, text))


def check(configuration: Configuration) -> Findings:
    """Try each piece of a configuration."""
    findings = Findings()
    is_default_used = False
    for agent_id in dict.fromkeys([DEFAULT_AGENT, *configuration.agents]):
        entry = configuration.agent_entry(agent_id)
        if entry is None:
            continue
        _check_agent(findings, configuration, agent_id, entry)
        is_default_used |= entry.agent is None
    if is_default_used:
        _check_models(findings, configuration)
        _check_servers(findings, configuration)
    _check_variables(findings, configuration)
    _check_roles(findings, configuration)
    return findings


def _check_agent(findings: Findings, configuration: Configuration, agent_id: str, entry: AgentEntry) -> None:
    table = ("agents", agent_id)
    if entry.agent is not None:
        is_named = agent_id in configuration.agents and configuration.agents[agent_id].agent is not None
        with findings.trying(*(*table, "agent") if is_named else ("agent",)):
            own_agent(entry.agent, entry.model_copy(update={"tools": ()}))
        if entry.mcp:
            findings.warning((*table, "mcp"), "an agent of one's own gets no MCP servers")
    for path in entry.tools:
        with findings.trying(*table, "tools"):
            imported(TOOL, path)
            if entry.agent is None:
                _load(Configuration(agents={agent_id: AgentEntry(tools=(path,))}))


def _check_models(findings: Findings, configuration: Configuration) -> None:
    tried: set[str] = set()
    for tier in TIERS:
        entry = configuration.tier_entry(tier)
        # What several tiers have in common is told once.
        if entry is not None and (tier in configuration.tiers or entry.model not in tried):
            path = ("tiers", tier) if tier in configuration.tiers else ("model",)
            tried.add(entry.model)
            with findings.trying(*path):
                _load(Configuration(tiers={tier: entry}, providers=configuration.providers))


def _check_servers(findings: Findings, configuration: Configuration) -> None:
    for name, server in configuration.mcp.items():
        if server.command is not None and shutil.which(server.command) is None:
            findings.problem(("mcp", name, "command"), f"there is no program {server.command}")


def _check_variables(findings: Findings, configuration: Configuration) -> None:
    for path, variable in _variables(configuration):
        if not os.environ.get(variable):
            findings.warning(path, f"the environment variable {variable} is not set here")


def _variables(configuration: Configuration) -> Iterator[tuple[Sequence[str], str]]:
    for name, provider in configuration.providers.items():
        if provider.api_key_env is not None:
            yield ("providers", name, "api_key_env"), provider.api_key_env
    for name, server in configuration.mcp.items():
        for key, variables in (("env", server.env), ("headers_env", server.headers_env)):
            for inner, variable in variables.items():
                yield ("mcp", name, key, inner), variable
    if (search := configuration.search) is not None:
        if search.api_key_env is not None:
            yield ("search", "api_key_env"), search.api_key_env
        for header, variable in search.headers_env.items():
            yield ("search", "headers_env", header), variable


def _check_roles(findings: Findings, configuration: Configuration) -> None:
    entries = [entry for tier in TIERS if (entry := configuration.tier_entry(tier)) is not None]
    models = {entry.model for entry in entries}
    known = models | {f"{model.partition(':')[0]}:{ALL}" for model in models} | {ALL}
    for role, names in configuration.roles.items():
        for name in names:
            if name not in known:
                findings.warning(("roles", role), f"{name} is the model of no tier")


def _load(piece: Configuration) -> None:
    asyncio.run(load_agents(RunnerSettings(), piece))


def _said(path: Sequence[str], text: str) -> str:
    return f"{place_of(path)}: {'.'.join(path)}: {text}"


def main() -> None:
    """Check the configuration of the environment, and print what was found."""
    # What other people's modules print when they are imported is not what was asked for.
    with contextlib.redirect_stdout(sys.stderr):
        findings = check(read_configuration())
    told: dict[str, Any] = {"problems": findings.problems, "warnings": findings.warnings}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
