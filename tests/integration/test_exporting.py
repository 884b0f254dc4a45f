"""Exporting spans costs nobody anything, whatever becomes of those who take them."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from support.stack import free_port

SPANS, SECONDS = 3_000, 2
FEW_LINES = 8
SCRIPT = f"""
import asyncio, time, structlog
from decopilot.kit import logging, telemetry
from decopilot.kit.settings import Settings
settings = Settings()
logging.configure(settings, "test")
with telemetry.exporting(settings, "test"):
    for number in range({SPANS}):
        with telemetry.span("work", {{telemetry.RUN: f"run_{{number}}"}}):
            pass
        time.sleep({SECONDS / SPANS})
    began = time.monotonic()
structlog.get_logger().info("left", after_s=time.monotonic() - began)
"""


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where connections are taken and nothing is ever answered."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield int(listener.getsockname()[1])


def exported(port: int, **environment: str) -> list[dict[str, Any]]:
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "20"}
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, **told, **environment}, capture_output=True, check=True
    )
    return [json.loads(line) for line in ran.stderr.splitlines()]


def test_a_collector_that_is_away_is_named_now_and_then_and_not_waited_for() -> None:
    *said, left = exported(free_port())
    assert "left" == left["event"]
    assert 1 <= len(said) <= FEW_LINES, said


def test_a_collector_that_never_answers_is_not_waited_for(silent: int) -> None:
    *said, left = exported(silent, OTEL_BSP_MAX_QUEUE_SIZE="100", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="50")
    # The SDK itself waits for half a minute.
    assert ("left", True) == (left["event"], left["after_s"] < 20)
    assert len(said) <= FEW_LINES, said


def test_a_protocol_that_is_not_spoken_is_named_and_nothing_is_sent() -> None:
    said, left = exported(free_port(), OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert ("traces_off", "grpc", "left") == (said["event"], said["protocol"], left["event"])
