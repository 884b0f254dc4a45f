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

    Blocks, for about `SEARCH_S` at most, and lets other threads work meanwhile.

    Raises:
        PatternError: it is no regular expression, or takes too long.

    """
    if len(pattern) > PATTERN_LENGTH:
        raise PatternError(pattern, f"it has more than {PATTERN_LENGTH} characters")
    try:
        wanted = regex.compile(pattern, regex.MULTILINE)
    except (regex.error, RecursionError, OverflowError) as error:
        raise PatternError(pattern, str(error)) from error
    shown: list[str] = []
    room, found, number, at = _CHARACTERS, 0, 1, 0
    for start in _matches(text, wanted, pattern):
        begin = text.rfind("\n", 0, start) + 1
        number += text.count("\n", at, begin)
        at = begin
        found += 1
        if found <= skip:
            continue
        line = _around(text, begin, start)
        room -= len(line) + 1
        if room < 0 and shown:
            break
        shown.append(f"{number}: {line}")
    else:
        return "\n".join([_all_told(text, found, skip, len(shown)), *shown])
    last = skip + len(shown)
    told = f"Shown: matches {skip + 1} to {last}. There are more: read on with skip={last}, or a narrower pattern."
    return "\n".join([told, *shown])


def _matches(text: str, wanted: regex.Pattern[str], pattern: str) -> Iterator[int]:
    """Give where the first match of each line begins."""
    until, at = time.monotonic() + SEARCH_S, 0
    # Not line by line: so much calling takes seconds for a large text.
    while at < len(text):
        try:
            match = wanted.search(text, at, timeout=max(until - time.monotonic(), 0.001), concurrent=True)
        except TimeoutError as error:
            raise PatternError(pattern, f"that takes more than {SEARCH_S:g} s") from error
        if match is None or match.start() >= len(text):
            return
        yield match.start()
        end = text.find("\n", match.start())
        if end < 0:
            return
        at = end + 1


def _around(text: str, begin: int, at: int) -> str:
    """Give the line that begins there; of a long one, what is around a place in it."""
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    length = end - begin
    if length <= LINE_LENGTH:
        return text[begin:end].rstrip("\r")
    start = max(begin, min(at - LINE_LENGTH // 4, end - LINE_LENGTH))
    first = start - begin + 1
    return f"[characters {first} to {first + LINE_LENGTH - 1} of {length}] {text[start : start + LINE_LENGTH]}"


def _all_told(text: str, found: int, skip: int, shown: int) -> str:
    lines = text.count("\n") + (bool(text) and not text.endswith("\n"))
    told = f"{found} of {lines} lines match."
    if skip and shown:
        told += f" Shown: matches {skip + 1} to {found}."
    return told if shown or not found else f"{told} None of them is behind those skipped."
