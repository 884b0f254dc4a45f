"""Traces: exported over OTLP when an endpoint is configured, off otherwise; context travels in NATS headers.

What spans are about is said once and is on all of them, those of libraries included, and on the log's lines.
"""

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog
from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from decopilot.domain.tracing import AGENT, ATTEMPT, LINK, LOST, MODEL, ORG, RUN, RUNNER, THREAD, Signs, attempt_span_id
from decopilot.kit.settings import Settings

__all__ = [
    "AGENT",
    "ATTEMPT",
    "LOST",
    "MODEL",
    "ORG",
    "RUN",
    "RUNNER",
    "THREAD",
    "about",
    "exporting",
    "inject",
    "is_traced",
    "link",
    "link_beside",
    "lost_attempt",
    "span",
    "what_about",
    "would_sample",
]

LEAVE_S = 3.0
"""A service that is told to leave waits no longer for whoever takes its spans."""
EXPORT_EVERY_MS = 1_000.0
"""What a process that is killed has not exported yet is lost: not the SDK's five seconds."""

_tracer = trace.get_tracer("decopilot")
_ABOUT = contexts.create_key("decopilot-about")
_SPAN_ID = contexts.create_key("decopilot-span-id")
_IDS = RandomIdGenerator()

log = structlog.get_logger()


@contextmanager
def exporting(settings: Settings, service: str) -> Iterator[None]:
    """Export spans while the context is open, if `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_…`) is set."""
    if not _is_wanted(os.environ):
        yield
        return
    resource = Resource.create({"service.name": f"decopilot-{service}", "service.instance.id": settings.instance})
    provider = TracerProvider(resource=resource, id_generator=_Ids(), shutdown_on_exit=False)
    pace = None if os.environ.get("OTEL_BSP_SCHEDULE_DELAY") else EXPORT_EVERY_MS
    provider.add_span_processor(_About())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=pace))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        # Whoever takes them may not answer, and the SDK waits half a minute for that.
        leaving = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        leaving.start()
        leaving.join(LEAVE_S)


def _is_wanted(environment: Mapping[str, str]) -> bool:
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if environment.get("OTEL_TRACES_EXPORTER") == "none" or not any(environment.get(name) for name in endpoints):
        return False
    names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((environment[name] for name in names if environment.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        # To say nothing would be to send it where nobody reads it.
        log.warning("traces_off", protocol=protocol, spoken="http/protobuf")
        return False
    return True


@contextmanager
def span(
    name: str,
    attributes: Mapping[str, AttributeValue],
    *,
    headers: Mapping[str, str] | None = None,
    within: Context | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    links: Sequence[Link] = (),
    span_id: int | None = None,
) -> Iterator[Span]:
    """Open a span, below the one that `headers` carry or `within` holds if one is given, else below the current one.

    The attributes are those of every span below it, too. Of an error it tells the type alone: what an error says may
    be what people wrote, or a secret.
    """
    with about(attributes, headers=headers, within=within):
        opened = _start(name, kind=kind, links=links, span_id=span_id)
        with trace.use_span(opened, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield opened
            except BaseException as error:
                opened.add_event("exception", {"exception.type": type(error).__qualname__})
                if not isinstance(error, asyncio.CancelledError):
                    opened.set_status(Status(StatusCode.ERROR, type(error).__qualname__))
                raise


@contextmanager
def about(
    attributes: Mapping[str, AttributeValue],
    *,
    headers: Mapping[str, str] | None = None,
    within: Context | None = None,
) -> Iterator[None]:
    """Have every span and every line of the log in here tell these; where they stand is said as to `span`."""
    context = propagate.extract(headers, Context()) if headers is not None else within
    told = {**what_about(), **attributes}
    token = contexts.attach(contexts.set_value(_ABOUT, told, context))
    try:
        yield
    finally:
        contexts.detach(token)


def what_about() -> dict[str, AttributeValue]:
    """Tell what is being worked on."""
    told = contexts.get_value(_ABOUT)
    return told if isinstance(told, dict) else {}


def lost_attempt(signs: Signs, *, headers: Mapping[str, str] | None = None) -> None:
    """Write the span of an attempt whose runner died, with the id that it had: what it did stands below it."""
    run, number = signs.started.run_id, signs.started.attempt
    began, heard = (int(time.timestamp() * 1e9) for time in (signs.began, signs.heard))
    attributes: dict[str, AttributeValue] = {ORG: signs.org, THREAD: signs.thread, RUN: run, ATTEMPT: number}
    attributes |= {RUNNER: signs.started.runner_id, LOST: True}
    with about(attributes, headers=headers):
        span_id = attempt_span_id(run, number)
        lost = _start("attempt", kind=SpanKind.CONSUMER, links=(), span_id=span_id, start_time=began)
        lost.set_status(Status(StatusCode.ERROR, "its runner died"))
        lost.end(max(began, heard))


def is_traced() -> bool:
    """Tell whether what is at hand is exported."""
    is_on = isinstance(trace.get_tracer_provider(), TracerProvider)
    return is_on and trace.get_current_span().get_span_context().trace_flags.sampled


def would_sample() -> bool | None:
    """Tell whether a trace that begins here would be sampled, this time; None where nothing is exported."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        return None
    # Not by an id that the asker chose.
    decision = provider.sampler.should_sample(Context(), _IDS.generate_trace_id(), "").decision
    return decision is Decision.RECORD_AND_SAMPLE


def link(traceparent: str | None, why: str) -> list[Link]:
    """Make the link to the span of a `traceparent`; none where it is none."""
    if traceparent is None:
        return []
    there = trace.get_current_span(propagate.extract({"traceparent": traceparent}, Context())).get_span_context()
    return [Link(there, {LINK: why})] if there.is_valid else []


def link_beside(span_id: int, why: str) -> list[Link]:
    """Make the link to the span of this id in the trace at hand; none where there is none."""
    here = trace.get_current_span().get_span_context()
    if not here.is_valid:
        return []
    return [Link(SpanContext(here.trace_id, span_id, is_remote=True, trace_flags=here.trace_flags), {LINK: why})]


def inject(headers: dict[str, str]) -> dict[str, str]:
    """Write the current span's context into headers and return them."""
    propagate.inject(headers)
    return headers


def _start(
    name: str,
    *,
    kind: SpanKind,
    links: Sequence[Link],
    span_id: int | None,
    start_time: int | None = None,
) -> Span:
    attributes = what_about()
    token = contexts.attach(contexts.set_value(_SPAN_ID, span_id))
    try:
        return _tracer.start_span(name, kind=kind, links=links, attributes=attributes, start_time=start_time)
    finally:
        contexts.detach(token)


class _Ids(RandomIdGenerator):
    """Makes ids, unless the span that is being started has one."""

    def generate_span_id(self) -> int:
        given = contexts.get_value(_SPAN_ID)
        return given if isinstance(given, int) else super().generate_span_id()


class _About(SpanProcessor):
    """Has each span tell what is being worked on, those that a library opens, too."""

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        told = contexts.get_value(_ABOUT, parent_context)
        if isinstance(told, dict):
            span.set_attributes({name: value for name, value in told.items() if name not in (span.attributes or {})})
