"""An OTLP receiver: takes spans over HTTP as a collector would."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from support.stack import free_port


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as it came in."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str]


@dataclass(slots=True)
class Receiver:
    """What was received so far."""

    endpoint: str
    spans: list[ReceivedSpan] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        """Take one export."""
        exported = ExportTraceServiceRequest.FromString(await request.read())
        for resource in exported.resource_spans:
            service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
            for scope in resource.scope_spans:
                self.spans += [
                    ReceivedSpan(
                        service=service,
                        name=span.name,
                        trace_id=span.trace_id.hex(),
                        span_id=span.span_id.hex(),
                        parent_id=span.parent_span_id.hex(),
                        attributes={a.key: a.value.string_value for a in span.attributes},
                    )
                    for span in scope.spans
                ]
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )


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
