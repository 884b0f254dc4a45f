"""Reading `decopilot.toml`: mistakes are told with the line, or the variable, where they are to be mended."""

import re
from importlib import resources
from pathlib import Path

import pytest

from decopilot.contracts.configuration import TIERS, Configuration
from decopilot.kit.configuration import ConfigurationFileError, read_configuration
from decopilot.kit.toml_lines import line_of

STARTER = resources.files("decopilot.cli").joinpath("decopilot.toml").read_text(encoding="utf-8")
TEXT = """\
model = "demo"
[tiers]
fast = "openai:a"
smart.model = "openai:b"
[agents."support"]
tier = "fast"
[[more]]
x = 1
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DECOPILOT_CONFIG", raising=False)
    return tmp_path


def problems(text: str) -> list[str]:
    Path("decopilot.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationFileError) as refused:
        read_configuration()
    assert "; ".join(refused.value.problems) == str(refused.value)
    return refused.value.problems


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (["model"], 1),
        (["tiers"], 2),
        (["tiers", "fast"], 3),
        (["tiers", "fast", "vision"], 3),
        (["tiers", "smart", "model"], 4),
        (["tiers", "image"], 2),
        (["agents", "support", "tier"], 6),
        (["agents", "support", "tools", "0"], 5),
        (["more", "x"], 8),
        (["roles"], None),
        ([], None),
    ],
)
def test_a_key_is_found_by_its_line_or_that_of_the_table_around_it(path: list[str], line: int | None) -> None:
    assert line == line_of(TEXT, path)


def test_every_mistake_is_told_with_its_line() -> None:
    assert [
        "decopilot.toml:2: tiers.fast.model: wanted is `demo`, or `provider:model`",
        "decopilot.toml:5: agents.a.tier: Input should be 'fast', 'smart', 'thinking', 'image' or 'web_research'",
        "decopilot.toml:4: agents.a.stepz: there is no such key",
    ] == problems('[tiers]\nfast = "gpt"\n[agents.a]\nstepz = 3\ntier = "slow"\n')


def test_what_refers_to_nothing_is_told_with_its_line() -> None:
    (problem,) = problems('[agents.a]\nsteps = 3\nmcp = ["files"]\n')
    assert problem == "decopilot.toml:3: agents.a.mcp: there is no [mcp.files]"


def test_what_is_no_toml_is_told_with_its_line() -> None:
    (problem,) = problems('model = "demo"\nagent\n')
    assert problem.startswith("decopilot.toml:2: is no TOML: ")


def test_a_mistake_in_the_environment_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECOPILOT_TIERS__FAST", "gpt")
    (problem,) = problems('[tiers]\nfast = "openai:a"\n')
    assert problem.startswith("DECOPILOT_TIERS__FAST: tiers.fast.model: ")
    monkeypatch.delenv("DECOPILOT_TIERS__FAST")
    monkeypatch.setenv("DECOPILOT_ROLES", "member")
    (problem,) = problems("")
    assert problem.startswith('environment: error parsing value for field "roles"')


def test_a_file_that_is_named_and_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECOPILOT_CONFIG", "other.toml")
    with pytest.raises(ConfigurationFileError, match=re.escape("other.toml: there is no such file")):
        read_configuration()


def test_the_environment_wins_and_a_tier_may_be_given_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("decopilot.toml").write_text('[tiers]\nfast = "openai:a"\nsmart = "openai:b"\n')
    monkeypatch.setenv("DECOPILOT_TIERS__SMART", "anthropic:c")
    configuration = read_configuration()
    found = [entry.model for tier in TIERS[:2] if (entry := configuration.tier_entry(tier))]
    assert ["openai:a", "anthropic:c"] == found


def test_the_file_to_begin_with_changes_nothing_and_all_that_it_offers_is_valid() -> None:
    Path("decopilot.toml").write_text(STARTER)
    assert Configuration() == read_configuration()
    Path("decopilot.toml").write_text(re.sub(r"^#(?=\S)", "", STARTER, flags=re.MULTILINE))
    offered = read_configuration()
    named = {"model", "agent", "tiers", "providers", "agents", "mcp", "search", "roles", "automations"}
    assert named == offered.model_fields_set
