"""Reading lines of a large text by a pattern that a model made: whatever it is, it ends, and gives little."""

import time
from collections.abc import Iterator
from typing import Any

import re2

PATTERN_LENGTH = 1_000
SEARCH_S = 5.0
"""So long may all of one search take; only a window that has begun by then is looked through."""
WINDOW_BYTES, OVERLAP_BYTES = 8_192, 1_000
"""So much is looked through at a time. Of a longer line, what is found across two windows is no longer than this."""
MEMORY_BYTES = 1 << 20
"""So large may a pattern grow; with it grows the time that each byte takes."""
FOUND_TOKENS = 8_000
"""So much is given of the lines that match."""
LINE_BYTES = 1_000
_CHARACTERS = FOUND_TOKENS * 4


class PatternError(Exception):
    """The pattern can't be searched for."""

    def __init__(self, pattern: str, why: str) -> None:
        self.pattern, self.why = pattern, why
        super().__init__(f"The pattern can't be searched for: {why}.")


def search(text: bytes, pattern: str, skip: int = 0) -> str:
    """Give the lines that match, with their numbers: those that fit, behind `skip` others.

    Blocks, for about `SEARCH_S` at most, and lets other threads work meanwhile.

    Raises:
        PatternError: it is no regular expression as RE2 has them, or takes too long.

    """
    wanted = _compiled(pattern)
    shown: list[str] = []
    room, found, number, at = _CHARACTERS, 0, 1, 0
    for start in _matches(text, wanted, pattern):
        begin = text.rfind(b"\n", 0, start) + 1
        number += text.count(b"\n", at, begin)
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


def _compiled(pattern: str) -> Any:  # noqa: ANN401  re2 ships no types
    if len(pattern) > PATTERN_LENGTH:
        raise PatternError(pattern, f"it has more than {PATTERN_LENGTH} characters")
    options = re2.Options()
    options.log_errors, options.max_mem = False, MEMORY_BYTES
    try:
        return re2.compile(f"(?m){pattern.encode(errors='replace').decode()}", options)
    except re2.error as error:
        raise PatternError(pattern, error.args[0].decode(errors="replace")) from error
    finally:
        # It would keep the last 128, each with what it found out.
        re2.purge()


def _matches(text: bytes, wanted: Any, pattern: str) -> Iterator[int]:  # noqa: ANN401  as above
    """Give where the first match of each line begins."""
    until, at = time.monotonic() + SEARCH_S, 0
    while at < len(text):
        if time.monotonic() > until:
            raise PatternError(pattern, f"that takes more than {SEARCH_S:g} s")
        # Not line by line: so much calling takes seconds for a large text.
        end = min(at + WINDOW_BYTES, len(text))
        whole = text.rfind(b"\n", at, end) + 1 if end < len(text) else end
        match = wanted.search(text, at, whole or end)
        if match is None:
            at = whole or end - OVERLAP_BYTES
            continue
        if match.start() == len(text):
            return
        yield match.start()
        at = text.find(b"\n", match.start()) + 1 or len(text)


def _around(text: bytes, begin: int, at: int) -> str:
    """Give the line that begins there; of a long one, what is around a place in it."""
    end = text.find(b"\n", at)
    end = len(text) if end < 0 else end
    length = end - begin
    if length <= LINE_BYTES:
        return text[begin:end].rstrip(b"\r").decode(errors="replace")
    start = max(begin, min(at - LINE_BYTES // 4, end - LINE_BYTES))
    first = start - begin + 1
    # Characters that are cut at its ends are left out.
    part = text[start : start + LINE_BYTES].decode(errors="ignore")
    return f"[bytes {first} to {first + LINE_BYTES - 1} of {length}] {part}"


def _all_told(text: bytes, found: int, skip: int, shown: int) -> str:
    lines = text.count(b"\n") + (bool(text) and not text.endswith(b"\n"))
    told = f"{found} of {lines} lines match."
    if skip and shown:
        told += f" Shown: matches {skip + 1} to {found}."
    return told if shown or not found else f"{told} None of them is behind those skipped."
