"""Redaction: what looks like a secret, or is one of this process's, is taken out of texts that others will read."""

import os
import re
from collections.abc import Mapping
from functools import cache

MASK = "***"
_LENGTH = 8
"""A shorter value of a variable is no secret, and would be found in every second word."""
_DEPTH = 8
_SECRET_NAME = re.compile(r"(key|token|secret|password|passwd|authorization|credentials?|cookie)$", re.IGNORECASE)
_NAMED = (
    r"((?:(?:api|access|private|secret)[-_]?key|authorization|passw(?:or)?d|pwd|secret|token|signature|credentials?"
    r"|[?&](?:key|sig))\\?['\"]?\s{0,4}(?:[:=]|%3D)\s{0,4}"
)
"""A name like a secret's, and what stands between it and its value: JSON within JSON has its quotes escaped."""


def _behind(found: re.Match[str]) -> str:
    # Of a template that names a group `re` would look up the parts at each call, whether or not anything is found.
    return f"{found[1]}{MASK}"


# Each repetition has a bound, and none is begun again within what it went over: these texts may be an attacker's.
_PATTERNS = tuple(
    (re.compile(pattern, re.IGNORECASE), put)
    for pattern, put in (
        # A JWT, or what begins as one; a key of a known form: these are words.
        (r"eyJ[\w-]{8,4096}+(?:\.[\w-]{0,4096}+){0,4}", MASK),
        (r"\b(?:sk|rk|pk|gsk|hf|xai|ghp|gho|github_pat|glpat|xox[abpr])[-_][\w-]{12,512}", MASK),
        (r"\b(?:AIza[\w-]{20,64}|AKIA[A-Z0-9]{12,32}|S[UANOC][A-Z2-7]{56})\b", MASK),
        # User and password in an address; a private key; a bearer.
        (r"(?<=://)[^\s/'\"]{1,512}@", f"{MASK}@"),
        (r"(-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----)[\w+/=\s\\]{1,16384}+", _behind),
        (r"\b((?:bearer|basic)\s{1,8})[\w.~+/=-]{6,4096}", _behind),
        # `Cookie: …` to the end of its line; `key="…"` to its quote; `key=…` and `key: …` to where a value ends.
        (r"(cookie\\?['\"]?\s{0,4}:\s{0,4}\\?['\"]?)(?=[\w.-]{1,128}=)[^\r\n'\"]{4,16384}", _behind),
        (_NAMED + r"\\?(['\"]))(?!\*)(?!(?:bearer|basic)\s)[^'\"\\]{4,4096}+", _behind),
        (_NAMED + r"\\?['\"]?)(?!(?:bearer|basic)\s)(?!\*)[^\s'\",;&)}\]\\]{4,4096}", _behind),
    )
)
_WORD, _IN_WORDS = re.compile(r"[\w.-]*"), _PATTERNS[:3]
"""What is no more than a word, such as an id, holds a secret only if it is one."""


def redact(text: str) -> str:
    """Return the text with secrets masked: by their form, and those that the environment holds wherever they stand."""
    own = _own_secrets()
    if own is not None:
        text = own.sub(MASK, text)
    for pattern, put in _IN_WORDS if _WORD.fullmatch(text) else _PATTERNS:
        text = pattern.sub(put, text)
    return text


def redact_field(name: str, value: object, depth: int = 0) -> object:
    """Return a field's value with secrets masked, those within it too; of a field named like one, all of it."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if value and _SECRET_NAME.search(name):
        return MASK
    if isinstance(value, str):
        return redact(value)
    if depth <= _DEPTH and isinstance(value, Mapping):
        return {redact(str(key)): redact_field(str(key), inner, depth + 1) for key, inner in value.items()}
    if depth <= _DEPTH and isinstance(value, list | tuple):
        return [redact_field(name, inner, depth + 1) for inner in value]
    # As who writes it down would put it.
    return redact(repr(value))


@cache
def _own_secrets() -> re.Pattern[str] | None:
    """Find the values of this process's variables that are named like secrets; they do not change while it runs."""
    values = {value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value) >= _LENGTH}
    return re.compile("|".join(map(re.escape, sorted(values, key=len, reverse=True)))) if values else None
