"""Versions side by side: the one before, this one, and one that is made up for the one after."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rolling.changes import CHANGES

PREVIOUS = "67d80c8f5199a0e6a93a4d0cc7657ab1bcdfb87e"
"""The last commit before the services learned to be upgraded one by one."""
REPOSITORY = Path(__file__).parents[2]
ROOMS = ("libs", "services/command", "services/runner", "services/reactor", "services/gateway")


@dataclass(frozen=True, slots=True)
class Version:
    """A version: the interpreter of its environment, and the tree that goes before what is installed there."""

    name: str
    tree: Path | None
    python: str = sys.executable

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes a process one of this version."""
        rooms = () if self.tree is None else (str(self.tree / room) for room in ROOMS)
        return {"PYTHONPATH": os.pathsep.join(rooms)}


def has_previous() -> bool:
    """Tell whether the history reaches back to the previous version."""
    asked = subprocess.run(["git", "cat-file", "-e", PREVIOUS], cwd=REPOSITORY, capture_output=True, check=False)
    return asked.returncode == 0


def previous(folder: Path, *, own_environment: bool = False) -> Version:
    """Unpack the previous version; with its `own_environment`, install it there with its own dependencies."""
    tree = folder / "previous"
    tree.mkdir()
    with subprocess.Popen(["git", "archive", PREVIOUS], cwd=REPOSITORY, stdout=subprocess.PIPE) as archiving:
        assert archiving.stdout is not None
        with tarfile.open(fileobj=archiving.stdout, mode="r|") as archive:
            archive.extractall(tree, filter="data")
    assert archiving.returncode == 0
    if not own_environment:
        return Version("previous", tree)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = str(folder / "venv" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", f"{tree}[all]"], check=True)
    return Version("previous", None, python)


def present() -> Version:
    """Tell of this version."""
    return Version("present", REPOSITORY)


def following(folder: Path) -> Version:
    """Make up the version after this one: a copy of it, changed as an upgrade may change it."""
    tree = folder / "following"
    for room in ROOMS:
        shutil.copytree(REPOSITORY / room, tree / room, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    for file, changes in CHANGES.items():
        path = tree / "libs" / "decopilot" / file
        text = path.read_text()
        for before, after in changes:
            assert before in text, f"{file} has no {before!r} any more"
            text = text.replace(before, after, 1)
        path.write_text(text)
    return Version("following", tree)
