"""Fetching the peers, once, into a cache outside of the repository; each as its lock file pins it."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers.peer import PeerError
from support.node import NodeError, installed

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "decopilot-bench-peers"


async def node_folder() -> Path:
    """Install what is Node's; return the folder with our scripts and their packages.

    Raises:
        PeerError: npm could not.

    """
    folder = CACHE / "node"
    await asyncio.to_thread(_copied, HERE / "node", folder)
    try:
        await asyncio.to_thread(installed, folder)
    except NodeError as error:
        raise PeerError(str(error)) from error
    return folder


async def langgraph_folder() -> Path:
    """Install LangGraph's development server into an environment of its own; return the folder with our graph.

    Raises:
        PeerError: pip could not.

    """
    folder = CACHE / "graph"
    await asyncio.to_thread(_copied, HERE / "graph", folder)
    shutil.copy(HERE / "saying.py", folder)
    await asyncio.to_thread(_environment, folder)
    return folder


def _copied(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.is_file():
            shutil.copy(file, folder)


def _environment(folder: Path) -> None:
    stamp = folder / "venv" / ".decopilot-lock"
    wanted = hashlib.sha256((folder / "requirements.txt").read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    python = folder / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--requirement", "requirements.txt"]
    for command in ([sys.executable, "-m", "venv", "--clear", "venv"], pip):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            message = f"{' '.join(command)} failed:\n{done.stderr[-2000:]}"
            raise PeerError(message)
    stamp.write_text(wanted)
