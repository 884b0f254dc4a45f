"""Granting: attach tokens, made on request, and renewed within the streams that they began."""

import math
from datetime import UTC, datetime

from aiohttp import web
from yarl import URL

from decopilot.contracts.chunks import ATTACH_TOKEN, encode_chunk, transient
from decopilot.contracts.ids import ThreadId
from decopilot_gateway import sse
from decopilot_gateway.auth import Caller, Doorman, thread_in_path
from decopilot_gateway.auth.attach_tokens import AttachToken, AttachTokens
from decopilot_gateway.auth.doorman import TOKEN
from decopilot_gateway.streaming import Lease

_RENEWED_AHEAD = 1 / 3
"""Of a token's time so much is left when the next one comes."""


class IssueAttachToken:
    """Handles `POST …/threads/{thread}/attach-token`."""

    def __init__(self, doorman: Doorman, public_url: str, prefix: str) -> None:
        self._doorman = doorman
        self._root = f"{public_url}{prefix}"

    async def handle(self, request: web.Request) -> web.Response:
        """Make a token; whether the thread may be read is looked at when it is attached to."""
        caller, thread = self._doorman.caller(request), thread_in_path(request)
        made = self._doorman.attach_tokens.make(caller, thread)
        url = URL(f"{self._root}/{caller.org}/decopilot/attach/{thread}").with_query({TOKEN: made.token})
        return web.json_response(_said(made) | {"url": str(url)}, status=201)


def lease_of(caller: Caller, thread: ThreadId, given: AttachToken | None, tokens: AttachTokens) -> Lease:
    """Make the lease of a stream: it ends with the caller's token; who came by an attach token is given more."""
    if given is None:
        return Lease(caller.expires_at)

    def due(token: AttachToken) -> float:
        is_last = token.expires_at >= caller.expires_at
        return math.inf if is_last else token.expires_at - tokens.lasts_s * _RENEWED_AHEAD

    def renew() -> tuple[bytes, float]:
        made = tokens.make(caller, thread)
        # Without an id: it has no place among the thread's chunks.
        return sse.event(encode_chunk(transient(ATTACH_TOKEN, _said(made)))), due(made)

    return Lease(caller.expires_at, due(given), renew)


def _said(made: AttachToken) -> dict[str, str]:
    return {"token": made.token, "expiresAt": datetime.fromtimestamp(made.expires_at, UTC).isoformat()}
