"""Crossing origins: off, unless the operator names those whose pages may call the API, with a bearer token each."""

from collections.abc import Collection

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

_ORIGIN = "Access-Control-Allow-Origin"
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Last-Event-ID, Range, If-None-Match, traceparent",
    "Access-Control-Max-Age": "600",
}
_EXPOSED = (
    "Content-Disposition, Content-Range, Decopilot-Time, ETag, Location, Retry-After, X-Vercel-AI-UI-Message-Stream"
)
"""What a page may read beyond the body and its type."""


class Crossing:
    """Lets the pages of some origins call; nothing is said to all others, and cookies count for none of them."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)

    def middleware(self) -> Middleware:
        """Answer what a browser asks before it lets a page send such a request."""

        @web.middleware
        async def answer_preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
            is_preflight = request.method == hdrs.METH_OPTIONS and "Access-Control-Request-Method" in request.headers
            if is_preflight and self._lets(request):
                return web.Response(status=204, headers=_PREFLIGHT)
            return await handler(request)

        return answer_preflight

    async def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """Say on an answer which page may read it."""
        if not self._origins:
            return
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if self._lets(request):
            # Never with Access-Control-Allow-Credentials: whoever is elsewhere has a token of its own to show.
            response.headers[_ORIGIN] = request.headers[hdrs.ORIGIN]
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED

    def _lets(self, request: web.Request) -> bool:
        return request.headers.get(hdrs.ORIGIN) in self._origins
