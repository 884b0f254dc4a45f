"""Where a key stands in a TOML file, for those who are told what is wrong with it: `tomllib` does not say."""

import re
from collections.abc import Sequence

_KEY = r"""(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*\[{{1,2}}\s*({_DOTTED})\s*\]")
_PAIR = re.compile(rf"\s*({_DOTTED})\s*=")


def line_of(text: str, path: Sequence[str]) -> int | None:
    """Find the line, counted from 1, of a key or of the nearest table around it; None where nothing of it is there."""
    table: list[str] = []
    found, depth = None, 0
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            here = table = _keys(header[1])
        elif pair := _PAIR.match(line):
            here = table + _keys(pair[1])
        else:
            continue
        if len(here) > depth and here == list(path[: len(here)]):
            found, depth = number, len(here)
    return found


def _keys(dotted: str) -> list[str]:
    return [key.strip("\"'") for key in re.findall(_KEY, dotted)]
