"""Outputs: files that a command writes once its work is done."""

import os
from pathlib import Path

from decopilot.cli.errors import CliError


def check_output(path: Path) -> None:
    """Find out before the work what would go wrong behind it; raises `CliError`."""
    folder = path.absolute().parent
    if not folder.is_dir():
        message = f"There is no folder {folder} to write {path.name} to."
        raise CliError(message)
    if path.is_dir():
        message = f"{path} is a folder: name a file in it."
        raise CliError(message)
    if not os.access(path if path.exists() else folder, os.W_OK):
        message = f"{path} can't be written: permission denied."
        raise CliError(message)
