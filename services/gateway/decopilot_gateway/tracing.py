"""Tracing: a span a request, named by its route; streams are left out, for they last as long as their readers."""

from collections.abc import Collection
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDictProxy
from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from decopilot.contracts.ids import is_id
from decopilot.kit import telemetry

TRACESTATE_LENGTH = 512
"""What W3C Trace Context wants passed on at least; there is no need for more."""
BAGGAGE_BYTES = 512
"""Names and values of what is kept, together: it goes into the log with every event of the run's request."""


class Tracing:
    """Goes on with callers' traces.

    Anybody may say that theirs is to be sampled: that is believed only with `is_trusting`; otherwise it is sampled as
    often as one that begins here. Of their baggage the entries named in `baggage_keys` are kept, if they are small.
    """

    def __init__(self, *, is_trusting: bool, baggage_keys: Collection[str]) -> None:
        self._is_trusting = is_trusting
        self._baggage_keys = tuple(baggage_keys)

    def middleware(self) -> Middleware:
        """Open a span around a write."""

        @web.middleware
        async def tracing(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.method in {hdrs.METH_GET, hdrs.METH_HEAD}:
                return await handler(request)
            method = request.method if request.method in hdrs.METH_ALL else "OTHER"
            resource = request.match_info.route.resource
            path = "unknown path" if resource is None else resource.canonical
            attributes = {"http.request.method": method} if resource is None else _named(request, method, path)
            within = self.caller(request.headers)
            with telemetry.span(f"{method} {path}", attributes, within=within, kind=SpanKind.SERVER) as span:
                response = await handler(request)
                span.set_attribute("http.response.status_code", response.status)
                if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    span.set_status(Status(StatusCode.ERROR))
                return response

        return tracing

    def caller(self, headers: CIMultiDictProxy[str]) -> Context:
        """Read in what trace a request was made, as far as that is believed."""
        return self._with_baggage(headers, self._with_trace(headers))

    def _with_trace(self, headers: CIMultiDictProxy[str]) -> Context:
        parents, state = headers.getall("traceparent", []), ",".join(headers.getall("tracestate", []))
        if len(parents) != 1:
            return Context()
        carrier = {"traceparent": parents[0]}
        if len(state) <= TRACESTATE_LENGTH:
            carrier["tracestate"] = state
        told = TraceContextTextMapPropagator().extract(carrier, Context())
        theirs = trace.get_current_span(told).get_span_context()
        if self._is_trusting or not theirs.is_valid:
            return told
        is_sampled = telemetry.would_sample()
        flags = theirs.trace_flags if is_sampled is None else TraceFlags(TraceFlags.SAMPLED if is_sampled else 0)
        ours = SpanContext(theirs.trace_id, theirs.span_id, True, flags, theirs.trace_state)  # noqa: FBT003  as it is
        return trace.set_span_in_context(NonRecordingSpan(ours), Context())

    def _with_baggage(self, headers: CIMultiDictProxy[str], context: Context) -> Context:
        if not self._baggage_keys:
            return context
        carrier = {"baggage": ",".join(headers.getall("baggage", []))}
        told = baggage.get_all(W3CBaggagePropagator().extract(carrier, Context()))
        room = BAGGAGE_BYTES
        for key in self._baggage_keys:
            room -= len(f"{key}{told.get(key, '')}".encode()) if key in told else 0
            if key in told and room >= 0:
                context = baggage.set_baggage(key, told[key], context)
        return context


def _named(request: web.Request, method: str, path: str) -> dict[str, str]:
    attributes = {"http.request.method": method, "http.route": path}
    for attribute, name in ((telemetry.ORG, "org"), (telemetry.THREAD, "thread")):
        # Before anything was checked: whatever it is, it must not be long.
        if is_id(value := request.match_info.get(name, "")):
            attributes[attribute] = value
    return attributes
