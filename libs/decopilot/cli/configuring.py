"""`decopilot config`: what is wrong with a configuration, what it says, and one to begin with."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from decopilot.cli.errors import CliError
from decopilot.contracts.configuration import DEFAULT_AGENT, TIERS, AgentEntry, Configuration
from decopilot.kit.configuration import FILE, ConfigurationFileError, configuration_file, read_configuration

STARTER = "decopilot.toml"
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Checked:
    """A configuration that can be read; `problems` keep services from doing as it says."""

    configuration: Configuration
    problems: Sequence[str] = ()
    warnings: Sequence[str] = ()


def use(file: Path | None) -> None:
    """Let this process, and those that it starts, read this file; None leaves it at what the environment says."""
    if file is not None:
        os.environ["DECOPILOT_CONFIG"] = str(file.absolute())


def check() -> int:
    """Print what is wrong with the configuration, else what it says; returns the exit code."""
    try:
        checked = _checked()
    except ConfigurationFileError as error:
        return _tell(error.problems, ())
    code = _tell(checked.problems, checked.warnings)
    if code == 0:
        _show(checked.configuration)
    return code


def ensure_usable() -> None:
    """Check the configuration, if there is one; warnings are printed.

    Raises:
        CliError: there are problems, one a line.

    """
    try:
        is_plain = read_configuration() == Configuration()
        # Costs a second or two, which is nothing to spend where everything is as it comes.
        checked = Checked(Configuration()) if is_plain else _checked()
        problems = checked.problems
    except ConfigurationFileError as error:
        problems = error.problems
        checked = Checked(Configuration())
    for warning in checked.warnings:
        typer.secho(f"Warning: {warning}", err=True, fg=typer.colors.YELLOW)
    if problems:
        raise CliError("\n".join([*problems, "Nothing was started. `decopilot config check` tells this, too."]))


def init(file: Path) -> str:
    """Write a file to begin with; returns what to tell the user.

    Raises:
        CliError: the file is there already, or can't be written.

    """
    text = resources.files("decopilot.cli").joinpath(STARTER).read_text(encoding="utf-8")
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError as error:
        message = f"{file} is there already, and stays as it is. Name another with --config."
        raise CliError(message) from error
    except OSError as error:
        message = f"Can't write {file}: {error.strerror}."
        raise CliError(message) from error
    return f"Wrote {file}. Everything in it is commented out, and means what happens without it."


def _checked() -> Checked:
    """Check as a runner would use it: in a process that may import agents and models.

    Raises:
        ConfigurationFileError: the configuration can't even be read.
        CliError: the check itself came to no end.

    """
    configuration = read_configuration()
    argv = [sys.executable, "-m", "decopilot_runner.checking_configuration"]
    try:
        ran = subprocess.run(argv, stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=False)  # noqa: S603  ourselves
    except subprocess.TimeoutExpired as error:
        message = f"The check did not end within {TIMEOUT_S:g} s: does a module that the configuration names wait?"
        raise CliError(message) from error
    if ran.returncode != 0:
        message = f"The check ended with exit code {ran.returncode}; the lines above may say why."
        raise CliError(message)
    return Checked(configuration, **json.loads(ran.stdout))


def _tell(problems: Sequence[str], warnings: Sequence[str]) -> int:
    for problem in problems:
        typer.secho(problem, err=True, fg=typer.colors.RED)
    for warning in warnings:
        typer.secho(f"Warning: {warning}", err=True, fg=typer.colors.YELLOW)
    return 1 if problems else 0


def _show(configuration: Configuration) -> None:
    console = Console()
    agents = _table("AGENT", "TITLE", "TIER", "APPROVAL", "IS")
    for agent_id in dict.fromkeys([DEFAULT_AGENT, *configuration.agents]):
        if (entry := configuration.agent_entry(agent_id)) is not None:
            agents.add_row(agent_id, entry.title or "-", entry.tier, entry.approval, _kind(entry))
    tiers = _table("TIER", "MODEL", "VISION")
    for tier in TIERS:
        if (model := configuration.tier_entry(tier)) is not None:
            tiers.add_row(tier, model.model, "yes" if model.vision else "no")
    providers = _table("PROVIDER", "AT", "KEY IN")
    for name, provider in configuration.providers.items():
        providers.add_row(name, provider.base_url or "-", provider.api_key_env or "-")
    automations = _table("AUTOMATION", "ORG", "AGENT", "SCHEDULE")
    for name, automation in configuration.automations.items():
        when = f"{automation.schedule} {automation.timezone}" if automation.schedule else "when fired"
        automations.add_row(name, automation.org, automation.agent, when if automation.is_active else "off")
    for table in (agents, tiers, providers, automations):
        if table.row_count:
            console.print(table)
    file = configuration_file()
    what = f"There is no {FILE}: everything is as it comes" if file is None else f"{file} is fine"
    console.print(f"{what}.", highlight=False, soft_wrap=True)


def _kind(entry: AgentEntry) -> str:
    if entry.agent is not None:
        return entry.agent
    more = [f"{len(names)} {what}" for what, names in (("tools", entry.tools), ("MCP servers", entry.mcp)) if names]
    return ", ".join(["the default one", *more])


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
