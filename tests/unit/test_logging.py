"""Logs: one JSON object a line, whatever is logged, ours or a library's."""

import json
import subprocess
import sys
from typing import Any

SCRIPT = """
import logging, structlog
from decopilot.kit.logging import configure
from decopilot.kit.settings import Settings
configure(Settings(log_level="info"), "test")
log = structlog.get_logger()
{lines}
"""


def test_a_line_break_in_a_field_does_not_end_the_line() -> None:
    [entry] = _logged(r"""log.info("said", path='/x\n{"event": "forged"}\r\n', body="\x00\u2028")""")
    assert {"event", "path", "body", "level", "timestamp", "service"} == entry.keys()
    assert '/x\n{"event": "forged"}\r\n' == entry["path"]
    assert ("said", "info", "test") == (entry["event"], entry["level"], entry["service"])


def test_a_library_s_record_has_the_same_form_and_only_warnings_are_told() -> None:
    lines = """logging.getLogger("x").info("quiet")\nlogging.getLogger("x").warning("loud %s", "and\\nlong")"""
    [entry] = _logged(lines)
    assert ("loud and\nlong", "warning") == (entry["event"], entry["level"])


def test_an_exception_is_told_as_a_field_without_the_values_of_variables() -> None:
    lines = 'secret = "s3cret"\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception("request_failed")'
    [entry] = _logged(lines)
    assert "ZeroDivisionError" in entry["exception"]
    assert "s3cret" not in json.dumps(entry)


def test_what_aiohttp_quotes_of_a_malformed_request_is_left_out() -> None:
    lines = """try:
    raise ValueError("Authorization: Bearer s3cret")
except ValueError:
    logging.getLogger("aiohttp.server").exception("Error handling request from %s", "127.0.0.1")"""
    [entry] = _logged(lines)
    assert ("Error handling request from 127.0.0.1", "error") == (entry["event"], entry["level"])
    assert "s3cret" not in json.dumps(entry)


def test_what_asyncio_says_of_every_tls_connection_is_left_out() -> None:
    lines = """asyncio_log = logging.getLogger("asyncio")
asyncio_log.warning("returning true from eof_received() has no effect when using ssl")
asyncio_log.warning("something else")"""
    [entry] = _logged(lines)
    assert "something else" == entry["event"]


def test_what_opentelemetry_quotes_of_headers_that_anybody_sends_is_left_out() -> None:
    lines = r"""from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
sent = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "tracestate": "forged=\u00e9", "baggage": "forged"}
TraceContextTextMapPropagator().extract(sent)
W3CBaggagePropagator().extract(sent)"""
    assert [] == _logged(lines)


def test_an_endpoint_that_is_away_is_told_once_a_minute_of_each_kind() -> None:
    lines = """for _ in range(3):
    for kind in ("trace", "metric"):
        logging.getLogger(f"opentelemetry.exporter.otlp.proto.http.{kind}_exporter").error("nobody takes it")
    logging.getLogger("x").error("another")"""
    said = [entry["event"] for entry in _logged(lines)]
    assert {"nobody takes it": 2, "another": 3} == {text: said.count(text) for text in set(said)}


def _logged(lines: str) -> list[dict[str, Any]]:
    ran = subprocess.run([sys.executable, "-c", SCRIPT.format(lines=lines)], capture_output=True, check=True)
    assert b"" == ran.stdout
    return [json.loads(line) for line in ran.stderr.splitlines()]
