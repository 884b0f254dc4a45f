"""The files in which the tools of `crew` leave their traces."""

from pathlib import Path

ACTS = "acts"
HANGING = "hanging"
"""While it is there, what is named `b` hangs once it has begun."""


def acts(folder: Path) -> list[str]:
    """Tell what was begun, in its order."""
    file = folder / ACTS
    return file.read_text().split() if file.exists() else []
