"""An OTLP receiver: takes spans over HTTP as a collector would."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from support.stack import free_port


@dataclass(frozen=True, slots=True)
class ReceivedLink:
    """A span that another one is linked to, and why."""

    trace_id: str
    span_id: str
    why: str


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as it came in; its attributes as texts."""

    service: str
    instance: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    trace_state: str
    began_ns: int
    ended_ns: int
    is_error: bool
    attributes: dict[str, str]
    links: tuple[ReceivedLink, ...]


@dataclass(slots=True)
class Receiver:
    """What was received so far."""

    endpoint: str
    spans: list[ReceivedSpan] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        """Take one export."""
        body = await request.read()
        self.bodies.append(body)
        self.spans += read_spans(body)
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )


def read_spans(body: bytes) -> list[ReceivedSpan]:
    """Read the spans of one export."""
    spans: list[ReceivedSpan] = []
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        about = {a.key: a.value.string_value for a in resource.resource.attributes}
        spans += [_received(span, about) for scope in resource.scope_spans for span in scope.spans]
    return spans


def _received(span: Span, about: dict[str, str]) -> ReceivedSpan:
    return ReceivedSpan(
        service=about["service.name"],
        instance=about["service.instance.id"],
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        trace_state=span.trace_state,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        is_error=span.status.code == Status.STATUS_CODE_ERROR,
        attributes={a.key: _text(a.value) for a in span.attributes},
        links=tuple(
            ReceivedLink(
                link.trace_id.hex(),
                link.span_id.hex(),
                next((a.value.string_value for a in link.attributes if a.key == "decopilot.link"), ""),
            )
            for link in span.links
        ),
    )


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    return "" if kind is None else str(getattr(value, kind))


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Receive while the context is open."""
    port = free_port()
    receiver = Receiver(f"http://127.0.0.1:{port}")
    app = web.Application()
    app.add_routes([web.post("/v1/traces", receiver.take)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield receiver
    finally:
        await runner.cleanup()
