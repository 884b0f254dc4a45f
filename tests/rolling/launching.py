"""Launching a rollout in the newest version, which alone can read all of it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rolling.versions import REPOSITORY, Version


def launch(folder: Path, versions: Sequence[Version], **plan: object) -> dict[str, Any]:
    """Roll out the versions one after the other; return the report."""
    newest = versions[-1].environment["PYTHONPATH"]
    told = {
        "folder": str(folder),
        "versions": [
            {"name": one.name, "tree": None if one.tree is None else str(one.tree), "python": one.python}
            for one in versions
        ],
    }
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((newest, str(REPOSITORY / "tests")))}
    command = [sys.executable, "-m", "rolling.rollout"]
    ran = subprocess.run(
        command, env=environment, input=json.dumps(told | plan), text=True, capture_output=True, check=False
    )
    assert ran.returncode == 0, f"{folder}: {ran.stderr[-4000:]}"
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report
