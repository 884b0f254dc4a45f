"""The table of limits says what the code does."""

import importlib
import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from decopilot.contracts.chunks import DEPTH_MAX, parse_outside
from decopilot.contracts.problems import PROBLEMS
from decopilot_command.settings import CommandSettings
from decopilot_gateway.settings import GatewaySettings
from decopilot_reactor.settings import ReactorSettings
from decopilot_runner.settings import RunnerSettings

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "limits.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in DOCUMENT.splitlines()
    if line.startswith("|") and "---" not in line and not line.startswith("| what |")
]
SETTINGS: tuple[type[BaseSettings], ...] = (CommandSettings, GatewaySettings, ReactorSettings, RunnerSettings)
PREFIX = "DECOPILOT_"
IS_A_LIMIT = re.compile(r".*(_limit_bytes|_limit_s|_per_user|_per_org|_bytes)|streams|attempts|runs_at_once")
NO_LIMITS = {"memory_bytes"}
"""Sizes of something else: what a gateway remembers."""
UNITS = {"": 1, "s": 1, "Ki": 1 << 10, "MiB": 1 << 20, "%": 0.01}


def name_of(row: list[str]) -> str:
    return row[1].strip("`")


def defaults(name: str) -> set[object]:
    """What the code says: of a setting, in every service that has it."""
    if name.startswith(PREFIX):
        field = name.removeprefix(PREFIX).lower()
        return {model.model_fields[field].default for model in SETTINGS if field in model.model_fields}
    module, _, constant = name.rpartition(".")
    return {getattr(importlib.import_module(module), constant)}


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_each_limit_is_what_the_code_says(row: list[str]) -> None:
    number, _, unit = row[2].partition(" ")
    assert {float(number.replace(",", "")) * UNITS[unit]} == defaults(name_of(row))


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_each_limit_is_refused_with_a_code_that_there_is(row: list[str]) -> None:
    for status, code in re.findall(r"(\d{3}) `(\w+)`", row[3]):
        assert int(status) == PROBLEMS[code].status


@pytest.mark.parametrize("model", SETTINGS)
def test_each_setting_that_is_a_limit_is_in_the_table_and_explained(model: type[BaseSettings]) -> None:
    limits = {name for name in model.model_fields if IS_A_LIMIT.fullmatch(name)} - NO_LIMITS
    assert {PREFIX + name.upper() for name in limits} <= set(map(name_of, ROWS))


def test_json_is_as_deep_as_the_table_says() -> None:
    assert parse_outside(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_outside(b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1))
