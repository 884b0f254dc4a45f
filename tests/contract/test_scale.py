"""The model of scale gives back what it was made from, and its page shows what it counts."""

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "deploy"))

import scale_model  # noqa: E402  a program, and no package
import scale_page  # noqa: E402  what writes it down

TOLD: dict[str, Any] = scale_model.told()
COSTS = scale_model.costs(TOLD)
BUILT = scale_model.PLANS[-1]


def load(**other: float) -> scale_model.Load:
    return scale_model.Load(**TOLD["load"] | other)


def test_the_page_and_its_picture_are_what_the_model_says() -> None:
    page = scale_page.PAGE.read_text()
    written = (page, scale_page.PICTURE.read_text())
    assert written == (scale_page.page(page), scale_page.picture()), "run `make docs`"


@pytest.mark.parametrize("name", TOLD["costs"])
def test_a_cost_is_what_its_source_says(name: str) -> None:
    cost = TOLD["costs"][name]
    assert cost["low"] <= cost["value"] <= cost["high"]
    if cost["source"] == "assumed":
        return
    source = (ROOT / cost["source"]).read_text()
    assert cost.get("says", "") in source, f"{cost['source']} has changed: put what it says into scale_costs.toml"


def test_at_the_measured_size_the_model_says_what_was_measured() -> None:
    # A thousand runs of 200 chunks, 50 of them at once for 10 s each, as tests/bench/sizing.py has them.
    measured = {name: cost["value"] for name, cost in TOLD["costs"].items()}
    needed = scale_model.need(COSTS, load(runs=50, viewers=0, run_s=10), scale_model.SHIPPED, TOLD["plan"])
    took_s = 1_000 / (50 / 10)
    broker = needed.nats_cores / COSTS.replicas
    assert [measured[f"{name}_run"] for name in ("gateway", "command", "runner", "reactor", "nats")] == pytest.approx(
        [
            cores * took_s
            for cores in (
                needed.gateway_cores,
                needed.command_cores,
                needed.runner_cores,
                needed.reactor_cores,
                broker,
            )
        ]
    )


@pytest.mark.parametrize(("cost", "sharing"), [("viewer_shared", 20), ("viewer_alone", 1)])
def test_what_viewers_take_is_what_it_was_where_it_was_measured(cost: str, sharing: int) -> None:
    # A thousand viewers of 200 chunks, which come at 20 a second.
    assert TOLD["costs"][cost]["value"] == pytest.approx(scale_model.gateway_cores(COSTS, 20, 1_000, sharing) * 10)


def test_what_viewers_of_one_thread_took_elsewhere_is_told_within_half() -> None:
    for viewers, rate, cores in scale_page.BENCH:
        assert cores == pytest.approx(scale_model.gateway_cores(COSTS, rate, viewers, viewers), rel=0.5)


def test_what_is_said_of_single_cores_on_the_page_on_sizing_follows() -> None:
    rates = {
        "viewers": 1 / scale_model.gateway_cores(COSTS, 20, 1, 20),
        "messages": 1 / COSTS.command_run_s,
        "ends of runs": 1 / COSTS.reactor_run_s,
        "runs of NATS": 1 / (200 * COSTS.nats_frame_s),
        "cores of a runner": 32 * 20 * COSTS.runner_chunk_s,
    }
    said = {"viewers": 1_200, "messages": 75, "ends of runs": 16, "runs of NATS": 5, "cores of a runner": 0.7}
    assert said == pytest.approx(rates, rel=0.05)


def test_twice_as_many_runs_and_viewers_take_twice_as_much_and_no_server_more_of_them() -> None:
    once, twice = (
        scale_model.need(COSTS, load(runs=runs, viewers=runs * 10), BUILT, TOLD["plan"]) for runs in (100_000, 200_000)
    )
    grown = [
        (one.gateway_cores, one.runner_cores, one.nats_cores, one.deliveries, one.nats_messages)
        for one in (once, twice)
    ]
    assert [2 * before for before in grown[0]] == pytest.approx(grown[1])
    assert (once.routes, once.connections) == pytest.approx((twice.routes, twice.connections), rel=0.05)


def test_each_wall_is_met_where_the_model_meets_it() -> None:
    walls = {wall.name: wall.runs for wall in scale_model.walls(COSTS, load(), TOLD["plan"])}
    runs = walls["one chunk stream's leader, a frame a chunk"]
    needed = [
        scale_model.need(COSTS, load(runs=int(runs) + more, viewers=0), scale_model.SHIPPED, TOLD["plan"])
        for more in (0, 1)
    ]
    assert [1, 2] == [one.chunk_leaders for one in needed]
