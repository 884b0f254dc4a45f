"""Figures of the benchmark: percentiles, ratios, what the system tells of a process, and what may be asked for."""

import os
import sys
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.cli.bench.latency import CURVE, latency, percentile
from decopilot.cli.bench.pinning import Cores
from decopilot.cli.bench.procfs import CpuMeter, pss_bytes
from decopilot.cli.bench.results import Beside, Block, Row
from decopilot.cli.bench.scenarios.fanout import Cell, parse_cell
from decopilot.cli.errors import CliError

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


@given(st.lists(st.integers(0, 10**9), min_size=1), st.floats(0.01, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[int], percent: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, percent)
    within = sum(value <= found for value in values)
    below = sum(value < found for value in values)
    assert within >= len(values) * percent / 100
    assert below < len(values) * percent / 100 or found == ordered[0]


def test_latencies_are_milliseconds_and_their_curve_grows() -> None:
    found = latency(array("q", [number * 1_000_000 for number in range(100, 0, -1)]))
    assert found is not None
    assert (100, 50.0, 95.0, 99.0, 100.0) == (found.count, found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms)
    assert len(CURVE) == len(found.curve)
    assert sorted(found.curve) == list(found.curve)
    assert latency(array("q")) is None


def test_a_row_is_so_many_times_its_first_raw_limit() -> None:
    beside = (Beside(what="bare SSE", value=2.0), Beside(what="bare NATS", value=1.0))
    assert 3.0 == Row(measure="p50", unit="ms", value=6.0, beside=beside).ratio
    assert Row(measure="p50", unit="ms", value=None, beside=beside).ratio is None
    assert Row(measure="p50", unit="ms", value=6.0).ratio is None


def test_one_viewer_that_saw_something_else_is_told() -> None:
    block = Block(scenario="fanout", title="", rows=(), viewers=2, exact=1, troubles=("one",))
    assert not block.is_exact
    assert block.model_copy(update={"exact": 2, "troubles": ()}).is_exact


def test_a_cell_reads_viewers_times_rate() -> None:
    assert Cell(1000, 50) == parse_cell("1000x50")


@pytest.mark.parametrize("text", ["", "x", "10", "10x", "x50", "0x50", "10x0", "10x50x2", "-1x5"])
def test_what_is_no_cell_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="VIEWERSxRATE"):
        parse_cell(text)


@LINUX
def test_the_system_tells_memory_and_cpu_of_a_process() -> None:
    with CpuMeter(os.getpid()) as cpu:
        before = sum(os.times()[:2])
        while sum(os.times()[:2]) < before + 0.05:
            pass
    assert cpu.percent is not None
    assert cpu.percent > 0
    assert (pss_bytes(os.getpid()) or 0) > 1 << 20
    assert pss_bytes(2**22 + 1) is None


@LINUX
def test_the_server_has_a_core_that_nobody_else_has() -> None:
    before = os.sched_getaffinity(0)
    cores = Cores.found()
    with cores.kept_by_us():
        if cores.server is None:
            assert len(before) == 1
        else:
            assert before - {cores.server} == os.sched_getaffinity(0)
            assert before - cores.others == {cores.server}
    assert before == os.sched_getaffinity(0)
