"""Bodies: JSON as clients send it, read and checked the same way everywhere."""

import asyncio
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from decopilot.contracts.chunks import parse_outside
from decopilot_gateway.problems import ProblemError

BODY_LIMIT_S = 60.0
"""So long a body may take to come: half a megabit a second for the largest."""
VALUES = 100_000
"""What a body may hold: each is an object of ours, and while millions of them are made nobody else is served."""
_SHOWN_ERRORS = 3
_BEGINS = (b",", b"[", b"{")

BodyT = TypeVar("BodyT", bound=BaseModel)


async def read_body(request: web.Request, form: type[BodyT]) -> BodyT:
    """Read the request's body.

    Raises:
        ProblemError: it is not JSON, or breaks the form.

    """
    if request.content_type != "application/json":
        raise ProblemError("unsupported_media_type", "Send Content-Type: application/json.")
    return _parse(await _raw(request), form)


async def read_body_if_any(request: web.Request, form: type[BodyT]) -> BodyT | None:
    """Read the request's body; None where there is none.

    Raises:
        ProblemError: it is not JSON, or breaks the form.

    """
    return await read_body(request, form) if await _raw(request) else None


async def _raw(request: web.Request) -> bytes:
    limit = request.client_max_size
    if (request.content_length or 0) > limit:
        raise ProblemError("body_too_large", f"A body has at most {limit} bytes.")
    try:
        async with asyncio.timeout(BODY_LIMIT_S) as patience:
            return await request.read()
    except TimeoutError as error:
        if not patience.expired():
            raise
        raise ProblemError("body_too_slow", f"It has to come within {BODY_LIMIT_S:.0f} s.") from error
    except web.RequestPayloadError as error:
        raise ProblemError("invalid_body", "The body is not encoded as its Content-Encoding says.") from error


def _parse(raw: bytes, form: type[BodyT]) -> BodyT:
    if _holds_too_many_values(raw):
        raise ProblemError("body_too_large", f"A body holds at most {VALUES} values.")
    try:
        parsed = parse_outside(raw)
    except ValueError as error:
        raise ProblemError("invalid_json", str(error)[:200]) from error
    try:
        return form.model_validate(parsed)
    except ValidationError as error:
        raise ProblemError("invalid_body", explain(error)) from error


def _holds_too_many_values(raw: bytes) -> bool:
    """Tell whether JSON holds too many, without making one of them; of what is no JSON it may tell anything."""
    if sum(map(raw.count, _BEGINS)) < VALUES:
        return False
    # What stands in strings are no values: every second piece between quotes that are not escaped.
    pieces = raw.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"', 4 * VALUES)
    outside = b"".join(pieces[::2])
    return len(pieces) > 4 * VALUES or sum(map(outside.count, _BEGINS)) >= VALUES


def explain(error: ValidationError, within: str = "") -> str:
    """Tell what is wrong, and where, without repeating what was sent."""
    shown = error.errors(include_url=False, include_context=False, include_input=False)[:_SHOWN_ERRORS]
    return "; ".join(f"{within}{'.'.join(map(str, entry['loc'])) or 'body'}: {_said(entry['msg'])}" for entry in shown)


def _said(text: str) -> str:
    # Pydantic puts this before what a validator of ours says.
    return text.removeprefix("Value error, ")
