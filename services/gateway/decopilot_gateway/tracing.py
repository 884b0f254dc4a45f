"""Tracing: a span a request, named by its route; streams are left out, for they last as long as their readers."""

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from opentelemetry.trace import SpanKind

from decopilot.kit import telemetry


@web.middleware
async def tracing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Open a span around a write; the browser's own trace goes on in it."""
    if request.method in {hdrs.METH_GET, hdrs.METH_HEAD}:
        return await handler(request)
    resource = request.match_info.route.resource
    name = f"{request.method} {'unknown path' if resource is None else resource.canonical}"
    attributes = {
        "http.request.method": request.method,
        telemetry.ORG: request.match_info.get("org", ""),
        telemetry.THREAD: request.match_info.get("thread", ""),
    }
    with telemetry.span(name, attributes, headers=dict(request.headers), kind=SpanKind.SERVER) as span:
        response = await handler(request)
        span.set_attribute("http.response.status_code", response.status)
        return response
