"""What we ship that others wrote: asked after known vulnerabilities (`audit`), and listed as CycloneDX (`sbom FOLDER`).

Python is what `requirements.lock` pins, by hash; JavaScript is the browser library's lock and the modules that the page
carries. No network is needed for the list. Where a source of vulnerabilities can't be asked, or knows none of the
packages, that is said, and is no success: `NOT AUDITED`, exit code 3 with `--strict`. A vulnerability is exit code 1.
"""

import json
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "deploy" / "requirements.lock"
LIBRARY = ROOT / "libs" / "thread-client"
VENDORED = ROOT / "services" / "gateway" / "decopilot_gateway" / "web" / "vendor" / "README.md"
PYTHON_SOURCES = ("osv", "pypi")
TIMEOUT_S = 300
_ROW = re.compile(r"\| \[(?P<name>[^]]+)\]\([^)]+\) \| (?P<version>[\d.]+) \|")
VULNERABLE, NOT_AUDITED = 1, 3


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of asking a source: how many packages it knew, what is wrong with them, or why it could not tell."""

    what: str
    known: int = 0
    vulnerabilities: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    failure: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether everything was looked up."""
        return self.failure is None and self.known > 0 and not self.unknown

    def __str__(self) -> str:
        if self.failure is not None or not self.known:
            return f"NOT AUDITED: {self.what}: {self.failure or 'the source knows none of the packages'}"
        lines = [f"VULNERABLE: {self.what}: {one}" for one in self.vulnerabilities]
        if self.unknown:
            lines.append(f"NOT AUDITED: {self.what}: {len(self.unknown)} unknown: {', '.join(self.unknown)}")
        return "\n".join([*lines, f"{self.what}: {self.known} packages, {len(self.vulnerabilities)} vulnerabilities"])


def vendored() -> dict[str, str]:
    """Name the npm packages that the page carries copies of, with their versions, by the table beside them."""
    return {row["name"]: row["version"] for row in _ROW.finditer(VENDORED.read_text(encoding="utf-8"))}


def audit() -> Iterator[Finding]:
    """Ask about everything."""
    found = Finding("Python", failure="no source was asked")
    for source in PYTHON_SOURCES:
        options = ("--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json", f"-s={source}")
        said = _run(sys.executable, "-m", "pip_audit", "-r", str(LOCK), *options)
        found = python_finding(f"Python ({source})", said.stdout, said.stderr)
        if found.is_whole or found.vulnerabilities:
            break
    yield found
    yield _npm("JavaScript, the library", LIBRARY)
    with tempfile.TemporaryDirectory() as folder:
        packages = {f"node_modules/{name}": {"version": version} for name, version in vendored().items()}
        root = {"name": "vendored", "version": "0", "dependencies": vendored()}
        (Path(folder) / "package.json").write_text(json.dumps(root))
        (Path(folder) / "package-lock.json").write_text(
            json.dumps({"name": "vendored", "version": "0", "lockfileVersion": 3, "packages": {"": root} | packages})
        )
        yield _npm("JavaScript, the page", Path(folder))


def python_finding(what: str, out: str, err: str) -> Finding:
    """Read what pip-audit said: it calls a package that its source does not know skipped, and that a success."""
    try:
        dependencies = json.loads(out)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Finding(what, failure=_last_line(err))
    asked = [one for one in dependencies if "skip_reason" not in one]
    return Finding(
        what,
        len(asked),
        tuple(f"{one['name']} {one['version']}: {flaw['id']}" for one in asked for flaw in one["vulns"]),
        tuple(one["name"] for one in dependencies if "skip_reason" in one),
    )


def npm_finding(what: str, out: str, err: str) -> Finding:
    """Read what `npm audit` said."""
    try:
        said = json.loads(out)
        counted = said["metadata"]["dependencies"]["total"]
        flaws = said["vulnerabilities"]
    except (ValueError, KeyError, TypeError):
        return Finding(what, failure=_last_line(err))
    # It counts nothing where there is nothing but what we wrote.
    return Finding(what, max(1, counted), tuple(f"{name}: {flaws[name]['severity']}" for name in flaws))


def sbom(folder: Path) -> None:
    """Write `python.cdx.json` and `javascript.cdx.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ("--of=JSON", "--output-reproducible", "--no-validate", f"--pyproject={ROOT / 'pyproject.toml'}")
    listed = _run(sys.executable, "-m", "cyclonedx_py", "requirements", *options, str(LOCK))
    if listed.returncode:
        sys.exit(listed.stderr)
    (folder / "python.cdx.json").write_text(listed.stdout)
    components = [_component(name, version) for name, version in vendored().items()]
    locked: dict[str, Any] = json.loads((LIBRARY / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    for place, package in locked.items():
        # What its tests and its types are made with is not shipped.
        if place and not package.get("dev") and not package.get("devOptional") and not package.get("peer"):
            components.append(_component(place.rpartition("node_modules/")[2], package["version"]))
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(components))}",
        "version": 1,
        "metadata": {"component": {"type": "library", "name": "decopilot-client", "bom-ref": "decopilot-client"}},
        "components": components,
    }
    (folder / "javascript.cdx.json").write_text(json.dumps(document, indent=2))


def _component(name: str, version: str) -> dict[str, str]:
    purl = f"pkg:npm/{name.replace('@', '%40')}@{version}"
    return {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}


def _npm(what: str, folder: Path) -> Finding:
    # Of the environment's own Node, where it has one.
    beside = Path(sys.executable).parent / "npm"
    npm = str(beside) if beside.exists() else "npm"
    said = _run(npm, "audit", "--package-lock-only", "--json", cwd=folder)
    return npm_finding(what, said.stdout, said.stderr)


def _run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _last_line(text: str) -> str:
    lines = [line.strip()[:300] for line in text.splitlines() if line.strip() and "complete log" not in line]
    return lines[-1] if lines else "it said nothing"


def main(arguments: list[str]) -> int:
    """Do what the arguments say."""
    match arguments:
        case ["sbom", folder]:
            sbom(Path(folder))
            return 0
        case ["audit", *options] if set(options) <= {"--strict"}:
            findings = list(audit())
            print(*findings, sep="\n")
            if any(finding.vulnerabilities for finding in findings):
                return VULNERABLE
            return NOT_AUDITED if options and not all(finding.is_whole for finding in findings) else 0
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
