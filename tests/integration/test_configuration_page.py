"""The example in docs/configuration.md loads, and its table tells of every key."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from pydantic import BaseModel

from decopilot.contracts.configuration import (
    AgentEntry,
    Automation,
    Configuration,
    McpServer,
    ModelEntry,
    Provider,
    Search,
)
from decopilot.kit.configuration import read_configuration
from support.stack import DECOPILOT

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
EXAMPLE = PAGE.split("```toml\n")[1].split("```")[0]
TABLES: dict[str, type[BaseModel]] = {
    "tiers.T": ModelEntry,
    "providers.P": Provider,
    "agents.A": AgentEntry,
    "mcp.M": McpServer,
    "search": Search,
    "automations.N": Automation,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "decopilot.toml").write_text(EXAMPLE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("DECOPILOT_")]:
        monkeypatch.delenv(name)
    return tmp_path


def told() -> set[str]:
    """The keys of the table, each written out."""
    keys = set()
    for row in re.findall(r"^\| (`[^|]+) \|", PAGE, re.MULTILINE):
        table = ""
        for key in re.findall(r"`([^`]+)`", row):
            table = table if key.startswith(".") else key.rpartition(".")[0]
            keys.add(table + key if key.startswith(".") else key)
    return keys


def test_the_example_uses_every_table() -> None:
    configuration = read_configuration()
    assert set(Configuration.model_fields) - {"agent", "titles"} == configuration.model_fields_set
    assert {"default", "support"} == set(configuration.agents)


def test_the_table_tells_of_every_key_and_of_no_other() -> None:
    known = {"model", "agent", "titles", "private_hosts", "tiers.T", "roles.R"}
    for table, model in TABLES.items():
        known |= {f"{table}.{field.alias or name}" for name, field in model.model_fields.items()}
    assert known == told()


def test_the_check_finds_in_the_example_what_is_not_on_this_machine_and_nothing_else(folder: Path) -> None:
    package = folder / "my_pkg"
    package.mkdir()
    (package / "bots.py").write_text("async def support(request):\n    yield {'type': 'start-step'}\n")
    (package / "tools.py").write_text("def order_status(number: int) -> str:\n    '''Tell.'''\n    return 'sent'\n")
    keys = {"OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "x", "WORK_KEY": "x", "SEARCH_KEY": "x"}
    ran = subprocess.run(
        [*DECOPILOT, "config", "check"], env=os.environ | keys, capture_output=True, text=True, timeout=60, check=False
    )
    # Whether pydantic-ai makes a model of that provider without another variable is not ours to say.
    found = [line for line in ran.stderr.splitlines() if "ollama" not in line]
    tickets = "mcp.tickets.headers_env.Authorization"
    assert [
        f"decopilot.toml:{at('command =')}: mcp.files.command: there is no program mcp-server-files",
        f"Warning: decopilot.toml:{at('env =')}: mcp.files.env.FILES_TOKEN: {unset('FILES_TOKEN')}",
        f"Warning: decopilot.toml:{at('headers_env =')}: {tickets}: {unset('TICKETS_AUTHORIZATION')}",
    ] == found


def at(start: str) -> int:
    """The line of the example that begins so."""
    return next(number for number, line in enumerate(EXAMPLE.splitlines(), 1) if line.startswith(start))


def unset(variable: str) -> str:
    return f"the environment variable {variable} is not set here"
