"""Structured logs on standard error: one JSON object a line, with its trace, its span and what is worked on."""

import logging
import re
import sys
import time

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, WrappedLogger

from decopilot.domain.tracing import ATTEMPT, ORG, RUN, THREAD
from decopilot.kit import telemetry
from decopilot.kit.redaction import redact_field
from decopilot.kit.settings import Settings

_FIELDS = {"org": ORG, "thread": THREAD, "run_id": RUN, "attempt": ATTEMPT}
_EXPORTING = (
    "opentelemetry.exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.metrics._internal.export",
)
_EXPORTING_PAUSE_S = 60.0
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TERMINAL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def configure(settings: Settings, service: str) -> None:
    """Send structlog's and the standard library's records to standard error in one form."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        structlog.processors.format_exc_info,
        _redact,
    ]
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if settings.log_format == "console":
        shared.append(_escape)
        renderer = structlog.dev.ConsoleRenderer()
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    handler.addFilter(_Patience())
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    for name in ("mcp", "fastmcp"):
        # They quote what a server sent that is no message.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # They quote headers that are no such, which anybody can send, a line for each entry.
    logging.getLogger("opentelemetry.trace").setLevel(logging.ERROR)
    logging.getLogger("opentelemetry.baggage").setLevel(logging.ERROR)
    logging.getLogger("aiohttp.server").addFilter(_without_what_was_sent)
    logging.getLogger("asyncio").addFilter(_is_news)
    structlog.contextvars.bind_contextvars(service=service)


class _Patience(logging.Filter):
    """Lets OpenTelemetry say once a minute that nobody takes what it exports, and of each kind, not at every try."""

    def __init__(self) -> None:
        super().__init__()
        self._said_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(_EXPORTING):
            return True
        now_s = time.monotonic()
        if now_s - self._said_s.get(record.name, -_EXPORTING_PAUSE_S) < _EXPORTING_PAUSE_S:
            return False
        self._said_s[record.name] = now_s
        return True


def _without_what_was_sent(record: logging.LogRecord) -> bool:
    # aiohttp quotes the malformed request in the error, Authorization and token and all.
    record.exc_info = None
    return True


def _is_news(record: logging.LogRecord) -> bool:
    # What asyncio says of every TLS connection whose reader is a StreamReader, as those of nats-py are.
    return not record.getMessage().startswith("returning true from eof_received()")


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: redact_field(name, value) for name, value in event.items()}


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Have nothing that is logged drive the terminal, or begin a line of its own; JSON escapes it by itself."""
    for name, value in event.items():
        if isinstance(value, str):
            # Of an exception the lines are ours.
            form = _TERMINAL if name == "exception" else _CONTROL
            event[name] = form.sub(lambda found: repr(found[0])[1:-1], value)
    return event


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    told = telemetry.what_about()
    for field, attribute in _FIELDS.items():
        if attribute in told:
            event.setdefault(field, told[attribute])
    return event
