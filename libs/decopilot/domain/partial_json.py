"""What a client reads in JSON that is still being written: the tool input of a model in mid-sentence."""

import re
from typing import Any

from pydantic_core import from_json

# Ends of JSON that pydantic drops and the AI SDK reads: a literal begun, a number that waits for digits.
_UNFINISHED = re.compile(
    r"(?:\A|[\[,:])\s*(?:(?P<literal>t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?)|(?P<number>-?\d+(?:\.\d+)?)(?:\.|[eE][+-]?))\Z"
)
_LITERALS = {"t": "true", "f": "false", "n": "null"}


def parse_partial(text: str) -> Any:  # noqa: ANN401  JSON is of any type
    """Parse JSON of which only the beginning is there, as `parsePartialJson` of `ai` 7 does.

    An unfinished string or literal counts as what it is so far; an unfinished key, and a number
    without a digit, are left out. Text that can't become JSON is refused, where the AI SDK mends some.

    Raises:
        ValueError: there is no value yet, or the text is no JSON.

    """
    return from_json(_mended(text), allow_partial="trailing-strings", allow_inf_nan=False)


def _mended(text: str) -> str:
    end = _UNFINISHED.search(text)
    if end is None:
        return text
    literal = end["literal"]
    start = end.start("number" if literal is None else "literal")
    head = text[:start]
    if _ends_in_string(head):
        return text
    return head + (end["number"] if literal is None else _LITERALS[literal[0]])


def _ends_in_string(head: str) -> bool:
    """Tell whether `head` breaks off inside a string that is a value; inside a key nothing depends on it."""
    if not head.strip():
        return False
    try:
        kept: object = from_json(head, allow_partial="trailing-strings")
        dropped: object = from_json(head, allow_partial=True)
    except ValueError:
        # Alone at the top, an unfinished string is dropped whole, which leaves nothing.
        return True
    return kept != dropped
