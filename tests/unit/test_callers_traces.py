"""What a caller says of its trace is gone on with, and believed no further than it may be."""

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import SpanContext

from decopilot_gateway.tracing import Tracing

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


def told(*headers: tuple[str, str], trusting: bool = False) -> SpanContext:
    within = Tracing(is_trusting=trusting, baggage_keys=()).caller(CIMultiDictProxy(CIMultiDict(headers)))
    return trace.get_current_span(within).get_span_context()


def kept(header: str, *keys: str) -> dict[str, object]:
    headers = CIMultiDictProxy(CIMultiDict({"baggage": header}))
    return dict(baggage.get_all(Tracing(is_trusting=False, baggage_keys=keys).caller(headers)))


@pytest.mark.parametrize("parent", [SAMPLED, UNSAMPLED])
@pytest.mark.parametrize(("root", "is_sampled"), [(ALWAYS_ON, True), (ALWAYS_OFF, False)])
def test_anybodys_trace_is_sampled_as_often_as_one_that_begins_here(
    monkeypatch: pytest.MonkeyPatch, parent: str, root: Sampler, *, is_sampled: bool
) -> None:
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", TracerProvider(sampler=ParentBased(root)))
    context = told(("traceparent", parent))
    assert (TRACE, SPAN) == (trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id))
    assert is_sampled == context.trace_flags.sampled


@pytest.mark.parametrize(("parent", "is_sampled"), [(SAMPLED, True), (UNSAMPLED, False)])
def test_a_trusted_caller_decides_for_itself(monkeypatch: pytest.MonkeyPatch, parent: str, *, is_sampled: bool) -> None:
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", TracerProvider(sampler=ParentBased(ALWAYS_OFF)))
    assert is_sampled == told(("traceparent", parent), trusting=True).trace_flags.sampled


def test_the_state_of_a_trace_is_kept_up_to_what_the_standard_asks_for() -> None:
    parent = ("traceparent", SAMPLED)
    state = told(parent, ("tracestate", "a=1"), ("tracestate", "b=2")).trace_state
    assert {"a": "1", "b": "2"} == dict(state)
    assert {} == dict(told(parent, ("tracestate", "a=" + "x" * 511)).trace_state)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", "")],
        [("traceparent", "00-" + "0" * 32 + f"-{SPAN}-01")],
        [("traceparent", SAMPLED * 2)],
        [("traceparent", SAMPLED), ("traceparent", UNSAMPLED)],
        [("tracestate", "a=1")],
    ],
)
def test_what_is_no_trace_is_none(headers: list[tuple[str, str]]) -> None:
    assert not told(*headers).is_valid


def test_of_baggage_only_what_is_named_is_kept() -> None:
    assert {} == kept("plan=trial,secret=s3cret")
    assert {"plan": "trial"} == kept("plan=trial,secret=s3cret", "plan", "region")


def test_baggage_that_is_too_large_is_dropped() -> None:
    assert {"plan": "trial"} == kept("plan=trial,note=" + "x" * 600, "plan", "note")
    assert {} == kept("note=" + "x" * 9_000, "note")
