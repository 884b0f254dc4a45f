"""How large a text is for a model, and what is shown of one that is too large."""

import re

TOKENS, BYTES = 32_000, 1 << 20
"""An output with more of either is too large."""
HEAD_LINES, TAIL_LINES = 20, 5
HEAD_TOKENS, TAIL_TOKENS = 300, 100
CHARACTERS_PER_TOKEN, WIDE_PER_TOKEN = 4, 1.5

_WIDE = re.compile("[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]+")
"""Chinese, Japanese, Korean."""


def tokens(text: str) -> int:
    """Estimate its tokens."""
    wide = 0 if text.isascii() else sum(len(found) for found in _WIDE.findall(text))
    return round((len(text) - wide) / CHARACTERS_PER_TOKEN + wide / WIDE_PER_TOKEN)


def is_too_large(text: str) -> bool:
    """Tell whether it is more than a model is to read, or a message to hold, of one output."""
    if len(text) > BYTES:
        return True
    return len(text.encode()) > BYTES or tokens(text) > TOKENS


def preview(text: str) -> str:
    """Take its first and its last lines, of about 400 tokens."""
    start = _after_lines(text, HEAD_LINES)
    stop = max(start, _before_lines(text, TAIL_LINES))
    head, tail = clip(text[:start], HEAD_TOKENS), clip(text[stop:].strip("\n"), TAIL_TOKENS, from_end=True)
    if not tail:
        # A single line, most likely: its end says something too.
        tail = clip(text[len(head) :], TAIL_TOKENS, from_end=True)
    return f"{head}\n[…]\n{tail}"


def clip(text: str, limit: int, *, from_end: bool = False) -> str:
    """Take so many tokens of it, at most."""
    most = limit * CHARACTERS_PER_TOKEN
    part = text[-most:] if from_end else text[:most]
    while tokens(part) > limit:
        part = part[len(part) // 8 :] if from_end else part[: len(part) - len(part) // 8]
    return part


def _after_lines(text: str, count: int) -> int:
    at = 0
    for _ in range(count):
        at = text.find("\n", at) + 1
        if at == 0:
            return len(text)
    return at - 1


def _before_lines(text: str, count: int) -> int:
    at = len(text.rstrip("\n")) if text.endswith("\n") else len(text)
    for _ in range(count):
        at = text.rfind("\n", 0, at)
        if at < 0:
            return 0
    return at + 1
