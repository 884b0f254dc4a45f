"""What a tool returned, as JSON that every reader takes: the log, browsers, and models that see it again later."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_ai.messages import ToolReturn, is_multi_modal_content
from pydantic_core import to_jsonable_python

SAFE_INTEGER = 2**53
"""From here on JavaScript takes two integers for the same one."""
DEPTH = 120
"""The parsers of what is stored stop at 200, and it is stored deeper than it came."""
_TOO_DEEP = f"it is nested more than {DEPTH} levels deep"


class NoJsonError(Exception):
    """It has no JSON form."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"it has no JSON form: {why}")


def is_media(value: object) -> bool:
    """Tell whether it is, or has, an image or the like that pydantic-ai shows to models as such."""
    if isinstance(value, list | tuple):
        return any(is_multi_modal_content(item) for item in value)
    return isinstance(value, ToolReturn) or is_multi_modal_content(value)


def as_json(value: object, depth: int = 0) -> Any:  # noqa: ANN401  any JSON
    """Make it JSON: large integers as text, NaN and infinity as null, sets as lists, bytes as Base64.

    Raises:
        NoJsonError: it is nested too deeply, in itself for example, or fails where it is looked at.

    """
    if depth > DEPTH:
        raise NoJsonError(_TOO_DEEP)
    if value is None or isinstance(value, bool):
        return value
    kind = type(value)
    # Subclasses, such as enums, are pydantic's to tell.
    if kind in _PLAIN:
        return _PLAIN[kind](value)
    try:
        if isinstance(value, Mapping):
            return {_text(str(key)): as_json(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [as_json(item, depth + 1) for item in value]
        return as_json(to_jsonable_python(value, bytes_mode="base64", by_alias=True, serialize_unknown=True), depth + 1)
    except NoJsonError:
        raise
    except Exception as error:
        raise NoJsonError(type(error).__name__) from error


def _text(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()


def _integer(number: int) -> int | str:
    if -SAFE_INTEGER < number < SAFE_INTEGER:
        return number
    try:
        return str(number)
    except ValueError:
        # Python refuses to write more than some thousand digits.
        return hex(number)


def _number(number: float) -> float | None:
    return number if math.isfinite(number) else None


_PLAIN: Mapping[type, Callable[[Any], Any]] = {str: _text, int: _integer, float: _number}
