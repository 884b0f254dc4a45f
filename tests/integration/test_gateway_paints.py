"""Reports of how fast chunks were painted: who may send them, what becomes of them, and what is no report."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from decopilot.kit import telemetry
from decopilot.log.store import Store
from decopilot_gateway import painting
from decopilot_gateway.painting import CHUNKS_MAX, REPORT_BYTES, REPORTS_PER_MINUTE
from decopilot_gateway.sampling import TIME
from support.gateways import ORG, Gateway, Run, make_token, running_gateway, whole_run

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
REPORT: dict[str, Any] = {
    "threadId": "t1",
    "runId": "run_1",
    "errorMs": 3,
    "paints": [{"ms": 20, "chunks": 3}, {"ms": 700, "chunks": 1}],
}


@pytest.fixture
async def gateway(store: Store, broker_url: str) -> AsyncIterator[Gateway]:
    assert store.nc.is_connected
    async with running_gateway(broker_url, paint_sample=1) as running:
        yield running


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("test"))
    return exporter


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    found = InMemoryMetricReader()
    meter = MeterProvider([found]).get_meter("test")
    monkeypatch.setattr(painting, "PAINT", meter.create_histogram("decopilot.paint.duration", unit="s"))
    return found


def measured(reader: InMemoryMetricReader) -> tuple[int, float]:
    """Read how many chunks were counted, and how long they took together, in seconds."""
    data = reader.get_metrics_data()
    if data is None:
        return 0, 0.0
    (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert isinstance(point, HistogramDataPoint)
    return point.count, round(point.sum, 6)


async def send(
    gateway: Gateway,
    report: object = REPORT,
    *,
    org: str = ORG,
    **claims: Any,  # noqa: ANN401  claims
) -> tuple[int, str | None]:
    """Report; returns the status, and the code of a refusal."""
    sent = {"data": report} if isinstance(report, bytes) else {"json": report}
    headers = {"Authorization": f"Bearer {make_token(**claims)}", "Content-Type": "application/json"}
    url = f"{gateway.url}/{org}/decopilot/paint"
    async with aiohttp.ClientSession() as session, session.post(url, **sent, headers=headers) as response:
        if response.status == 204:
            assert float(response.headers[TIME]) > 0
            return 204, None
        return response.status, (await response.json(content_type="application/problem+json"))["code"]


async def traced_run(store: Store, thread: str = "t1") -> None:
    async with Run(store, thread) as run:
        run.requested = run.requested.model_copy(update={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        await run.record_request()
        await run.start()
        await run.finish()
        await run.record_end()


async def test_a_report_is_counted_chunk_by_chunk_and_stands_in_the_trace_of_its_run(
    gateway: Gateway, store: Store, spans: InMemorySpanExporter, reader: InMemoryMetricReader
) -> None:
    await traced_run(store)
    assert (204, None) == await send(gateway)
    assert (4, 0.76) == measured(reader)
    assert (204, None) == await send(gateway, sub="vera", orgs={ORG: "viewer"})
    assert (8, 1.52) == measured(reader)
    span, other = (one for one in spans.get_finished_spans() if one.name == "paint")
    assert span.parent is not None
    assert (TRACE, PARENT) == (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}")
    assert span.context.trace_id == other.context.trace_id
    expected: dict[str, object] = {"org.id": ORG, "thread.id": "t1", "run.id": "run_1"}
    expected |= {"paint.chunks": 4, "paint.p50_ms": 20, "paint.max_ms": 700, "paint.error_ms": 3}
    assert {f"decopilot.{name}": value for name, value in expected.items()} == {
        name: value for name, value in (span.attributes or {}).items() if name.startswith("decopilot.")
    }


async def test_a_report_of_a_run_without_a_trace_is_counted_all_the_same(
    gateway: Gateway, store: Store, reader: InMemoryMetricReader
) -> None:
    await whole_run(store, "t1", "some words")
    assert (204, None) == await send(gateway)
    assert (4, 0.76) == measured(reader)


async def test_whoever_may_not_read_a_thread_reports_nothing_of_it(
    gateway: Gateway, store: Store, reader: InMemoryMetricReader
) -> None:
    await whole_run(store, "t1", "some words")
    elsewhere: dict[str, Any] = {"sub": "eve", "orgs": {"elsewhere": "owner"}}
    assert (403, "forbidden") == await send(gateway, **elsewhere)
    assert (404, "thread_not_found") == await send(gateway, org="elsewhere", **elsewhere)
    assert (404, "thread_not_found") == await send(gateway, REPORT | {"threadId": "t2"})
    assert (404, "run_not_found") == await send(gateway, REPORT | {"runId": "run_2"})
    assert (401, "unauthenticated") == await send(gateway, secret="another secret of thirty-two chars")
    assert (0, 0.0) == measured(reader)


async def test_what_is_no_report_is_refused_and_counts_for_nothing(
    gateway: Gateway, store: Store, reader: InMemoryMetricReader
) -> None:
    await whole_run(store, "t1", "some words")
    no_paints: list[Any] = [[], None, {}, [[20, 3]], [{"ms": 20}], [{"chunks": 1}]]
    hostile: list[object] = [
        {},
        [],
        *({name: value for name, value in REPORT.items() if name != left} for left in REPORT),
        *(REPORT | {"paints": paints} for paints in no_paints),
        *(REPORT | {"paints": [{"ms": ms, "chunks": 1}]} for ms in (-1, 60_001, "20", 1.5, True, None, 10**30)),
        *(REPORT | {"paints": [{"ms": 20, "chunks": many}]} for many in (0, -1, CHUNKS_MAX + 1, "1", 10**30)),
        REPORT | {"paints": [{"ms": ms, "chunks": 3} for ms in range(400)]},
        REPORT | {"paints": [{"ms": 20, "chunks": 1}] * 401},
        *(REPORT | {"errorMs": error} for error in (-1, 60_001, "1", None)),
        *(REPORT | {"threadId": name} for name in ("", "a.b", "*", ">", "a" * 65, "../t1", 1, None)),
        *(REPORT | {"runId": name} for name in ("", "run 1", "*", ["run_1"])),
    ]
    for report in hostile:
        assert (400, "invalid_body") == await send(gateway, report), report
    for text in (b"", b"{", b'{"paints": NaN}', b"\xff"):
        assert (400, "invalid_json") == await send(gateway, text), text
    long = REPORT | {"more": "x" * REPORT_BYTES}
    assert (413, "body_too_large") == await send(gateway, long)
    assert (0, 0.0) == measured(reader)


async def test_one_report_more_than_a_minute_allows_is_refused_and_others_report_on(
    gateway: Gateway, store: Store
) -> None:
    await whole_run(store, "t1", "some words")
    refused = None
    # The minute may be over meanwhile.
    for _ in range(2 * REPORTS_PER_MINUTE + 1):
        status, refused = await send(gateway, b"")
        if status == 429:
            break
    assert "too_many_reports" == refused
    assert (204, None) == await send(gateway, sub="vera", orgs={ORG: "viewer"})


async def test_where_nothing_is_measured_no_chunk_is_dated_and_a_late_report_counts_for_nothing(
    broker_url: str, store: Store, reader: InMemoryMetricReader
) -> None:
    await whole_run(store, "t1", "some words")
    headers = {"Authorization": f"Bearer {make_token()}", "Content-Type": "application/json"}
    async with running_gateway(broker_url) as gateway, aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{gateway.url}/{ORG}/decopilot/paint", json=REPORT) as response:
            assert 204 == response.status
            assert TIME not in response.headers
        async with session.get(f"{gateway.url}/{ORG}/decopilot/attach/t1?cursor=0-0") as response:
            assert TIME not in response.headers
            told = await response.content.readuntil(b'"finish"')
            assert b"stored" not in told
    assert (0, 0.0) == measured(reader)


async def test_a_stream_tells_when_each_chunk_was_stored_by_the_clock_of_the_broker(
    gateway: Gateway, store: Store
) -> None:
    headers = {"Authorization": f"Bearer {make_token()}"}
    async with aiohttp.ClientSession(headers=headers) as session, Run(store, "t1") as run:
        await run.record_request()
        async with session.get(f"{gateway.url}/{ORG}/decopilot/attach/t1?cursor=0-0") as response:
            assert float(response.headers[TIME]) > 0
            await run.start("ab")
            await run.finish()
            told = await response.content.readuntil(b'"finish"')
    events = [event for event in told.split(b"\n\n") if b"data: " in event]
    dates = [float(event.partition(b": stored ")[2].split(b"\n")[0]) for event in events]
    assert len(dates) >= 5
    assert sorted(dates) == dates
    assert 0 <= dates[0] - float(response.headers[TIME]) < 60_000
