"""Bodies: JSON as clients send it, read and checked the same way everywhere."""

import asyncio
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from decopilot.contracts.chunks import parse_outside
from decopilot_gateway.problems import ProblemError

BODY_LIMIT_S = 60.0
"""So long a body may take to come: half a megabit a second for the largest."""
HELD_BYTES = 256 << 20
"""What the bodies that are coming may hold together."""
LEAST_BYTES = 128 << 10
"""What each of them counts at least, for what its connection holds of it."""
VALUES = 100_000
"""What a body may hold: each is an object of ours, and while millions of them are made nobody else is served."""
_SHOWN_ERRORS = 3
_BEGINS = (b",", b"[", b"{")

BodyT = TypeVar("BodyT", bound=BaseModel)


class Bodies:
    """The bodies that are coming. Where they hold too much, the one that has been coming longest makes room.

    So whoever only begins bodies takes neither the memory nor the connections that others need.
    """

    def __init__(self) -> None:
        self._coming: dict[asyncio.Timeout, int] = {}
        self._held = 0

    async def read(self, request: web.Request, limit: int) -> bytes:
        """Read the request's body, of at most so many bytes.

        Raises:
            ProblemError: it is too large, too slow, or not encoded as it says.

        """
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_LIMIT_S) as patience:
                self._hold(patience, LEAST_BYTES)
                async for piece in request.content.iter_any():
                    body += piece
                    if len(body) > limit:
                        raise _too_large(limit)
                    self._hold(patience, len(body))
        except TimeoutError as error:
            if not patience.expired():
                raise
            detail = f"It has to come within {BODY_LIMIT_S:.0f} s, and sooner where there is no room for more."
            raise ProblemError("body_too_slow", detail) from error
        except web.RequestPayloadError as error:
            raise ProblemError("invalid_body", "The body is not encoded as its Content-Encoding says.") from error
        finally:
            self._forget(patience)
        return bytes(body)

    def _hold(self, patience: asyncio.Timeout, size: int) -> None:
        if patience.expired():
            return
        self._held += max(size, LEAST_BYTES) - self._coming.get(patience, 0)
        self._coming[patience] = max(size, LEAST_BYTES)
        while self._held > HELD_BYTES and len(self._coming) > 1:
            oldest = next(iter(self._coming))
            self._forget(oldest)
            if not oldest.expired():
                oldest.reschedule(0)

    def _forget(self, patience: asyncio.Timeout) -> None:
        self._held -= self._coming.pop(patience, 0)


BODIES = web.AppKey("bodies", Bodies)
"""Where the application has its bodies."""


async def read_body(request: web.Request, form: type[BodyT], *, limit_bytes: int | None = None) -> BodyT:
    """Read the request's body, of at most `limit_bytes` where there is less to say than anywhere.

    Raises:
        ProblemError: it is not JSON, or breaks the form.

    """
    _check_type(request)
    return _parse(await _raw(request, limit_bytes), form)


async def read_body_if_any(request: web.Request, form: type[BodyT]) -> BodyT | None:
    """Read the request's body; None where there is none.

    Raises:
        ProblemError: it is not JSON, or breaks the form.

    """
    raw = await _raw(request)
    if not raw:
        return None
    _check_type(request)
    return _parse(raw, form)


async def _raw(request: web.Request, limit_bytes: int | None = None) -> bytes:
    limit = min(request.client_max_size, limit_bytes or request.client_max_size)
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    return await request.app[BODIES].read(request, limit)


def _check_type(request: web.Request) -> None:
    if request.content_type != "application/json":
        raise ProblemError("unsupported_media_type", "Send Content-Type: application/json.")


def _too_large(limit: int) -> ProblemError:
    return ProblemError("body_too_large", f"A body has at most {limit} bytes.")


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
