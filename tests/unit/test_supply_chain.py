"""The supply chain: what is shipped is pinned and listed, and what nobody could be asked about is never called good."""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))
import supply_chain  # noqa: E402  a program, and no package

PINNED = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+?)(?: ;[^\n]*?)? \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+",
    re.MULTILINE,
)


def wanted(extra: str, project: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    for text in project[extra]:
        requirement = Requirement(text)
        if requirement.name == "decopilot":
            found |= {inner for one in requirement.extras for inner in wanted(one, project)}
        else:
            found.add(text)
    return found


def test_all_that_the_services_need_is_pinned_by_version_and_hash() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = (ROOT / "deploy" / "requirements.lock").read_text()
    pinned = {found["name"]: found["version"] for found in PINNED.finditer(lock)}
    assert list(pinned) == re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE)
    for text in {*project["dependencies"], *wanted("all", project["optional-dependencies"])}:
        requirement = Requirement(text)
        version = pinned[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(version), f"make lock: {requirement} is pinned to {version}"


def test_the_lists_are_valid_cyclonedx_and_name_what_is_shipped(tmp_path: Path) -> None:
    supply_chain.sbom(tmp_path)
    named: set[str] = set()
    for name in ("python", "javascript"):
        text = (tmp_path / f"{name}.cdx.json").read_text()
        assert None is JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
        named |= {component["name"].lower() for component in json.loads(text)["components"]}
    assert {"aiohttp", "nats-py", "pyjwt", "marked", "dompurify", "@highlightjs/cdn-assets"} <= named


def test_every_module_that_the_page_carries_is_in_the_table() -> None:
    table = supply_chain.VENDORED.read_text()
    modules = [path.name for path in supply_chain.VENDORED.parent.glob("*.js")]
    assert modules
    assert [] == [name for name in modules if f"`{name}`" not in table]
    assert 3 == len(supply_chain.vendored())


@pytest.mark.parametrize(
    ("out", "err", "line", "is_whole"),
    [
        ("", "Traceback\nConnectionError: no such host\n", "NOT AUDITED: Python: ConnectionError: no such host", False),
        ("not JSON", "", "NOT AUDITED: Python: it said nothing", False),
        ('{"dependencies": []}', "", "NOT AUDITED: Python: the source knows none of the packages", False),
        (
            '{"dependencies": [{"name": "a", "skip_reason": "not found"}]}',
            "No known vulnerabilities found",
            "NOT AUDITED: Python: the source knows none of the packages",
            False,
        ),
        (
            '{"dependencies": [{"name": "a", "skip_reason": "x"}, {"name": "b", "version": "1", "vulns": []}]}',
            "",
            "NOT AUDITED: Python: 1 unknown: a\nPython: 1 packages, 0 vulnerabilities",
            False,
        ),
        (
            '{"dependencies": [{"name": "b", "version": "1", "vulns": [{"id": "CVE-1"}]}]}',
            "",
            "VULNERABLE: Python: b 1: CVE-1\nPython: 1 packages, 1 vulnerabilities",
            True,
        ),
        (
            '{"dependencies": [{"name": "b", "version": "1", "vulns": []}]}',
            "",
            "Python: 1 packages, 0 vulnerabilities",
            True,
        ),
    ],
)
def test_only_what_was_asked_about_and_answered_counts_as_audited(
    out: str, err: str, line: str, is_whole: object
) -> None:
    found = supply_chain.python_finding("Python", out, err)
    assert (line, is_whole) == (str(found), found.is_whole)


def test_so_it_is_with_npm() -> None:
    refused = supply_chain.npm_finding("npm", '{"message": "405 Method Not Allowed"}', "npm error audit endpoint\n")
    assert "NOT AUDITED: npm: npm error audit endpoint" == str(refused)
    said = {"metadata": {"dependencies": {"total": 3}}, "vulnerabilities": {"marked": {"severity": "high"}}}
    found = supply_chain.npm_finding("npm", json.dumps(said), "")
    assert ("marked: high",) == found.vulnerabilities


def test_an_unreachable_source_fails_a_strict_audit_and_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supply_chain, "audit", lambda: iter([supply_chain.Finding("Python", failure="no such host")]))
    assert 0 == supply_chain.main(["audit"])
    assert "NOT AUDITED: Python: no such host\n" == capsys.readouterr().out
    assert 3 == supply_chain.main(["audit", "--strict"])
    flawed = supply_chain.Finding("Python", 1, ("b 1: CVE-1",))
    monkeypatch.setattr(supply_chain, "audit", lambda: iter([flawed]))
    assert 1 == supply_chain.main(["audit"])
