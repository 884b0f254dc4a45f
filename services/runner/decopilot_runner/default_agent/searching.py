"""Reading lines of a large text by a pattern that a model made: whatever it is, it ends, and gives little."""

import time
from collections.abc import Iterator

import regex

PATTERN_LENGTH = 1_000
SEARCH_S = 5.0
"""So long may all of one search take."""
FOUND_TOKENS = 8_000
"""So much is given of the lines that match."""
LINE_LENGTH = 1_000
_CHARACTERS = FOUND_TOKENS * 4


class PatternError(Exception):
    """The pattern can't be searched for."""

    def __init__(self, pattern: str, why: str) -> None:
        self.pattern, self.why = pattern, why
        super().__init__(f"The pattern can't be searched for: {why}.")


def search(text: str, pattern: str, skip: int = 0) -> str:
    """Give the lines that match, with their numbers: those that fit, behind `skip` others.

    Blocks, for `SEARCH_S` at most, and lets other threads work meanwhile.

    Raises:
        PatternError: it is no regular expression, or takes too long.

    """
    if len(pattern) > PATTERN_LENGTH:
        raise PatternError(pattern, f"it has more than {PATTERN_LENGTH} characters")
    try:
        wanted = regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        raise PatternError(pattern, str(error)) from error
    shown: list[str] = []
    room, found, total = _CHARACTERS, 0, 0
    until = time.monotonic() + SEARCH_S
    for number, line in enumerate(_lines(text), 1):
        total = number
        try:
            match = wanted.search(line, timeout=max(until - time.monotonic(), 0.001), concurrent=True)
        except TimeoutError as error:
            raise PatternError(pattern, f"that takes more than {SEARCH_S:g} s") from error
        if match is None:
            continue
        found += 1
        if found <= skip or room <= 0:
            continue
        told = f"{number}: {_around(line, match.start())}"
        room -= len(told) + 1
        if room > 0 or not shown:
            shown.append(told)
    return "\n".join([_summary(found, total, skip, len(shown)), *shown])


def _lines(text: str) -> Iterator[str]:
    # Not by `splitlines`: 40 MB of empty lines would be gigabytes of them.
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    if start < len(text):
        yield text[start:]


def _around(line: str, at: int) -> str:
    if len(line) <= LINE_LENGTH:
        return line
    start = max(0, min(at - LINE_LENGTH // 4, len(line) - LINE_LENGTH))
    end = start + LINE_LENGTH
    ahead = f"[characters {start + 1} to {min(end, len(line))} of {len(line)}] "
    return ahead + line[start:end]


def _summary(found: int, total: int, skip: int, shown: int) -> str:
    summary = f"{found} of {total} lines match."
    if shown < found:
        last = skip + shown
        summary += f" Shown: {skip + 1} to {last}." if shown else " None of them is behind those skipped."
        if last < found and shown:
            summary += f" Read on with skip={last}, or with a narrower pattern."
    return summary
