"""What the SDK measures is shown to Prometheus under its names, exemplars included."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from decopilot.kit.metrics import Exposition


def samples_of(registry: CollectorRegistry) -> list[Sample]:
    text = generate_openmetrics(registry).decode()  # type: ignore[no-untyped-call]  # as Prometheus gets it
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # and reads it
    return [sample for family in families for sample in family.samples]


def shown_by(registry: CollectorRegistry) -> dict[str, float]:
    samples = samples_of(registry)
    return {
        f"{sample.name}{{{','.join(f'{key}={value}' for key, value in sample.labels.items())}}}": sample.value
        for sample in samples
    }


def test_counters_gauges_and_histograms_have_their_names_units_and_labels() -> None:
    exposition = Exposition(InMemoryMetricReader(), Resource({"service.name": "decopilot-test"}))
    meter = MeterProvider([exposition.reader]).get_meter("test")
    meter.create_counter("decopilot.some.things", unit="{thing}").add(2, {"status": "a"})
    meter.create_up_down_counter("decopilot.open").add(3)
    meter.create_gauge("decopilot.lag").set(7, {"consumer": "c"})
    meter.create_histogram("decopilot.wait", unit="s", explicit_bucket_boundaries_advisory=(0.5, 2.0)).record(1.5)
    registry = CollectorRegistry()
    registry.register(exposition)
    assert {
        "target_info{service_name=decopilot-test}": 1.0,
        "decopilot_some_things_total{status=a}": 2.0,
        "decopilot_open{}": 3.0,
        "decopilot_lag{consumer=c}": 7.0,
        "decopilot_wait_seconds_bucket{le=0.5}": 0.0,
        "decopilot_wait_seconds_bucket{le=2.0}": 1.0,
        "decopilot_wait_seconds_bucket{le=+Inf}": 1.0,
        "decopilot_wait_seconds_count{}": 1.0,
        "decopilot_wait_seconds_sum{}": 1.5,
    } == shown_by(registry)


def test_a_bucket_leads_to_the_trace_of_what_was_measured_in_a_span() -> None:
    exposition = Exposition(InMemoryMetricReader(), Resource({}))
    wait = (
        MeterProvider([exposition.reader])
        .get_meter("test")
        .create_histogram("decopilot.wait", unit="s", explicit_bucket_boundaries_advisory=(0.5, 2.0))
    )
    wait.record(0.1)
    with TracerProvider().get_tracer("test").start_as_current_span("run") as span:
        wait.record(1.5)
    registry = CollectorRegistry()
    registry.register(exposition)
    found = {
        sample.labels["le"]: sample.exemplar
        for sample in samples_of(registry)
        if sample.name == "decopilot_wait_seconds_bucket"
    }
    context = span.get_span_context()
    assert found["0.5"] is None
    assert found["2.0"] is not None
    assert {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"} == found["2.0"].labels
    assert 1.5 == found["2.0"].value
    assert b"trace_id" not in generate_latest(registry)
