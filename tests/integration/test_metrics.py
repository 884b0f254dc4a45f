"""What running services show to Prometheus."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.samples import Sample

from decopilot.contracts import subjects
from decopilot.log.store import Store
from decopilot_reactor.lagging import CONSUMERS, LagMeter
from decopilot_reactor.metrics import lags
from support.metrics import ATTRIBUTES, OPENMETRICS, ROWS, scrape
from support.promtool import promtool
from support.services import until
from support.stack import Stack, running_stack
from support.viewer import Api, Viewer

DEADLINE_S = 60
NEVER_HERE = {"decopilot.paint.duration"}
"""What no browser has reported."""


class Seen(NamedTuple):
    """A series: its name, and its labels but for the bucket."""

    name: str
    labels: tuple[tuple[str, str], ...]


def series_of(url: str, accept: str = "") -> dict[Seen, float]:
    _, families = scrape(url, accept)
    return {_seen(sample): sample.value for family in families for sample in family.samples}


def _seen(sample: Sample) -> Seen:
    return Seen(sample.name, tuple(sorted((key, value) for key, value in sample.labels.items() if key != "le")))


async def until_shown(url: str, is_shown: Callable[[dict[Seen, float]], bool]) -> dict[Seen, float]:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            series = await asyncio.to_thread(series_of, url)
            if is_shown(series):
                return series
            await asyncio.sleep(0.1)


async def a_turn(stack: Stack, gateway: str) -> None:
    api, viewer = Api(stack.url, token := stack.token()), Viewer(stack.url, token, "t1")
    attached = Seen("decopilot_viewers", (("kind", "attach"),))
    async with asyncio.timeout(DEADLINE_S), viewer.attached() as chunks:
        await until_shown(gateway, lambda series: 1 == series.get(attached))
        assert 202 == (await api.post("t1", "Hello", message_id="m1"))[0]
        async for chunk in chunks:
            if chunk["type"] == "finish":
                break
    assert 202 == (await api.post("t1", "Hello", message_id="m1"))[0]
    assert 409 == (await api.post("t1", "Another", message_id="m1"))[0]
    assert 404 == (await api.get("decopilot/threads/nowhere"))[0]
    await until_shown(gateway, lambda series: 0 == series[attached])


async def test_each_service_shows_what_the_table_says_and_nothing_else(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack:
        urls = {row["service"]: row["metrics_url"] for row in stack.ps() if row["metrics_url"]}
        assert {"gateway", "command", "runner", "reactor"} == set(urls)
        await a_turn(stack, urls["gateway"])
        ended = Seen("decopilot_runs_ended_total", (("reason", "stop"), ("status", "completed")))
        await until_shown(urls["runner"], lambda series: 1 == series.get(ended))
        await until_shown(
            urls["reactor"], lambda series: series.get(Seen("decopilot_reaction_duration_seconds_count", ()), 0) >= 3
        )
        shown = {service: series_of(url) for service, url in urls.items()}
        for service, url in urls.items():
            assert series_of(url, OPENMETRICS).keys() >= shown[service].keys()
            # It has views of names that are not ours.
            lines = [line for line in scrape(url)[0].splitlines(keepends=True) if "decopilot_" in line]
            promtool("check", "metrics", stdin="".join(lines))
    ours = {(service, seen) for service, series in shown.items() for seen in series if "decopilot_" in seen.name}
    for service, seen in ours:
        assert ATTRIBUTES[seen.name] == {key for key, _ in seen.labels}
        (row,) = [row for row in ROWS if seen.name.startswith(row.shown)]
        assert service in row.who
    assert {row.name for row in ROWS} - NEVER_HERE == {
        row.name for row in ROWS if any(seen.name.startswith(row.shown) for _, seen in ours)
    } - NEVER_HERE

    def of(service: str, name: str, **labels: str) -> float:
        return shown[service][Seen(name, tuple(sorted(labels.items())))]

    assert 1 == of("gateway", "decopilot_accept_duration_seconds_count", outcome="accepted")
    assert 1 == of("gateway", "decopilot_accept_duration_seconds_count", outcome="repeated")
    assert 1 == of("gateway", "decopilot_accept_duration_seconds_count", outcome="refused")
    assert 1 == of("gateway", "decopilot_refusals_total", code="message_conflict")
    assert 1 == of("gateway", "decopilot_refusals_total", code="thread_not_found")
    assert 1 <= of("gateway", "decopilot_chunk_delivery_duration_seconds_count")
    assert 2 == of("command", "decopilot_command_duration_seconds_count", command="send_message", outcome="granted")
    assert 1 == of("runner", "decopilot_run_queue_duration_seconds_count")
    assert 1 == of("runner", "decopilot_run_first_chunk_duration_seconds_count")
    assert 1 == of("runner", "decopilot_run_attempts_total")
    assert 0 == of("runner", "decopilot_runs_active")
    for first in (
        of("runner", "decopilot_runs_lost_total"),
        of("runner", "decopilot_run_resumes_total"),
        of("runner", "decopilot_runs_ended_total", status="failed", reason="crashed"),
        of("reactor", "decopilot_purges_total"),
        of("gateway", "decopilot_viewer_fallbacks_total"),
        of("gateway", "decopilot_viewer_resets_total", reason="hole"),
        of("gateway", "decopilot_refusals_total", code="storage_full"),
    ):
        assert 0 == first
    assert all(0 <= of("reactor", "decopilot_consumer_lag", consumer=name) for _, name in CONSUMERS)


async def test_lag_is_what_is_yet_to_be_delivered_and_what_is_not_acknowledged(store: Store) -> None:
    for number in range(3):
        await store.publish(subjects.EVENTS_STREAM, f"decopilot.event.o.t{number}.run_requested", b"{}")
    meter = LagMeter(store.js)

    async def lag() -> int:
        await meter.look()
        return lags[subjects.RUNNER_CONSUMER]

    async def has_counted() -> bool:
        return await lag() == 3

    # The broker counts a moment later than it stores.
    await until(has_counted)
    pulled = await store.js.pull_subscribe_bind(subjects.RUNNER_CONSUMER, subjects.EVENTS_STREAM)
    first, *_ = await pulled.fetch(2)
    await first.ack_sync()
    assert 2 == await lag()


async def test_a_lag_that_the_broker_does_not_tell_is_not_shown(store: Store) -> None:
    meter = LagMeter(store.js)
    await meter.look()
    assert {consumer for _, consumer in CONSUMERS} == lags.keys()
    await store.js.delete_consumer(subjects.EVENTS_STREAM, subjects.RUNNER_CONSUMER)
    await meter.look()
    assert {consumer for _, consumer in CONSUMERS} - {subjects.RUNNER_CONSUMER} == lags.keys()


SENDING = """
from decopilot.kit import metrics
from decopilot.kit.settings import Settings
from decopilot.log.metrics import RUNS_LOST

with metrics.exporting(Settings(instance="one"), "test"):
    RUNS_LOST.add(1)
"""


@pytest.mark.parametrize(
    ("told", "received"),
    [
        ({}, {"decopilot.runs.lost"}),
        ({"OTEL_METRICS_EXPORTER": "none"}, set()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, set()),
    ],
)
async def test_metrics_are_sent_over_otlp_to_who_is_configured_unless_that_takes_none(
    told: dict[str, str], received: set[str]
) -> None:
    names = set[str]()

    async def take(request: web.Request) -> web.Response:
        for resource in ExportMetricsServiceRequest.FromString(await request.read()).resource_metrics:
            names.update(metric.name for scope in resource.scope_metrics for metric in scope.metrics)
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.add_routes([web.post("/v1/metrics", take)])
    async with TestServer(app) as server:
        environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": str(server.make_url("/")).rstrip("/")} | told
        sending = await asyncio.create_subprocess_exec(sys.executable, "-c", SENDING, env=environment)
        assert 0 == await sending.wait()
    assert received == names
