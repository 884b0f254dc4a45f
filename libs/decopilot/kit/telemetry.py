"""Traces: exported over OTLP when an endpoint is configured, off otherwise; context travels in NATS headers."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind
from opentelemetry.util.types import AttributeValue

from decopilot.kit.settings import Settings

ORG, THREAD, RUN, ATTEMPT = "decopilot.org.id", "decopilot.thread.id", "decopilot.run.id", "decopilot.attempt"
AGENT, MODEL = "decopilot.agent.id", "decopilot.model.id"

_tracer = trace.get_tracer("decopilot")


@contextmanager
def exporting(settings: Settings, service: str) -> Iterator[None]:
    """Export spans while the context is open, if `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_…`) is set."""
    if not {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} & os.environ.keys():
        yield
        return
    resource = Resource.create({"service.name": f"decopilot-{service}", "service.instance.id": settings.instance})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


@contextmanager
def span(
    name: str,
    attributes: Mapping[str, AttributeValue],
    *,
    headers: Mapping[str, str] | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> Iterator[Span]:
    """Open a span, below the one that `headers` carry if they are given, else below the current one."""
    context = None if headers is None else propagate.extract(headers)
    with _tracer.start_as_current_span(name, context=context, kind=kind, attributes=dict(attributes)) as opened:
        yield opened


def inject(headers: dict[str, str]) -> dict[str, str]:
    """Write the current span's context into headers and return them."""
    propagate.inject(headers)
    return headers
