"""Queries: what stands behind the `?` of a URL, read and checked the same way everywhere."""

from aiohttp import web

from decopilot_gateway.problems import ProblemError

_DIGITS = 18
"""They fit 64 bits."""


def text_in_query(request: web.Request, name: str) -> str | None:
    """Read a parameter; None where it is not there.

    Raises:
        ProblemError: it is said twice.

    """
    said = request.query.getall(name, [])
    if len(said) > 1:
        raise ProblemError("invalid_query", f"{name} is said twice.")
    return said[0] if said else None


def number_in_query(request: web.Request, name: str, default: int, most: int) -> int:
    """Read a parameter that is a number from 1 to `most`.

    Raises:
        ProblemError: it is none, or said twice.

    """
    text = text_in_query(request, name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
        raise ProblemError("invalid_query", f"{name} is a number from 1 to {most}.")
    return int(text)


def sequence_in_query(request: web.Request, name: str) -> int | None:
    """Read a parameter that is a sequence of the log; None where it is not there.

    Raises:
        ProblemError: it is none, or said twice.

    """
    text = text_in_query(request, name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise ProblemError("invalid_query", f"{name} is the sequence of a frame.")
    return int(text)
