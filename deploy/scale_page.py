"""Writes what `scale_model` counts into docs/scale.md, between its marks, and draws docs/images/scale.svg."""

import math
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from scale_model import (
    DAY_S,
    GIB,
    MEASURED_SHARING,
    PLANS,
    ROOT,
    Costs,
    Load,
    Need,
    costs,
    gateway_cores,
    need,
    threads_of,
    told,
    walls,
)

PAGE, PICTURE = ROOT / "docs" / "scale.md", ROOT / "docs" / "images" / "scale.svg"
BEGIN, END = "<!-- by deploy/scale_page.py -->", "<!-- to here -->"
ROWS: tuple[tuple[str, Callable[[Need], float]], ...] = (
    ("frames stored a second", lambda need: need.frames),
    ("leaders of chunk streams", lambda need: need.chunk_leaders),
    ("leaders of event streams", lambda need: need.event_leaders),
    ("frames handed to gateways a second", lambda need: need.deliveries),
    ("subscriptions of gateways", lambda need: need.subscriptions),
    ("NATS: messages a second", lambda need: need.nats_messages),
    ("NATS: of them heartbeats", lambda need: 2 * need.heartbeats),
    ("NATS: cores", lambda need: need.nats_cores),
    ("NATS: servers of 16 cores", lambda need: need.servers),
    ("NATS: clients' connections a server", lambda need: need.connections),
    ("NATS: servers that each has routes to", lambda need: need.routes),
    ("gateway: cores", lambda need: need.gateway_cores),
    ("gateway: pods", lambda need: need.gateways),
    ("runner: cores", lambda need: need.runner_cores),
    ("runner: pods of 32 runs, three quarters full", lambda need: need.runners),
    ("command: cores", lambda need: need.command_cores),
    ("reactor: cores", lambda need: need.reactor_cores),
)
BENCH = ((10, 50, 0.039), (200, 50, 0.226), (200, 200, 0.802), (1_000, 50, 0.929))
"""docs/benchmarks-gateway.json: viewers of a thread, chunks a second, cores of a gateway."""


def number(value: float) -> str:
    """Write a number with two digits that count: what is known is not more exact."""
    if value == 0:
        return "0"
    digits = 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(digits, 0)}f}".removesuffix(".0")


def sections() -> list[str]:
    """Write every table."""
    found = told()
    load, sizes = Load(**found["load"]), found["plan"]
    cost = {end: costs(found, end) for end in ("low", "value", "high")}
    return [
        *_of_costs(found, cost["value"]),
        *_of_errors(cost["value"]),
        *_of_walls(cost, load, sizes),
        *_of_plans(cost["value"], load, sizes),
        *_of_ends(cost, load, sizes),
    ]


def _table(*rows: list[str]) -> list[str]:
    head, *rest = [f"| {' | '.join(row)} |" for row in rows]
    return [head, "|" + "---|" * len(rows[0]), *rest, ""]


def _of_costs(found: Mapping[str, Any], cost: Costs) -> list[str]:
    rows = [["cost", "measured", "least to most", "unit", "source"]]
    rows += [
        [one["what"], f"{one['value']:g}", f"{one['low']:g} to {one['high']:g}", one["unit"], one["source"]]
        for one in found["costs"].values()
    ]
    follow, send = cost.follow_s * 1e6, cost.send_s * 1e6
    told_apart = (
        f"Of a frame, a gateway takes {follow:.0f} µs to follow it, and {send:.1f} µs for each viewer that gets it: "
        f"follow / {MEASURED_SHARING} + send, and follow + send, are what viewers took, {MEASURED_SHARING} on a thread "
        "and one."
    )
    return ["## What is counted with", "", *_table(*rows), told_apart, ""]


def _of_errors(cost: Costs) -> list[str]:
    rows = [["one gateway, one thread", "measured, cores", "the model says", "off by"]]
    for viewers, rate, cores in BENCH:
        said = gateway_cores(cost, rate, viewers, viewers)
        rows.append([f"{viewers:,} viewers, {rate} chunks/s", f"{cores}", f"{said:.3f}", f"{said / cores - 1:+.0%}"])
    return ["## How far off it is where it can be seen", "", *_table(*rows)]


def _of_walls(cost: Mapping[str, Costs], load: Load, sizes: Mapping[str, float]) -> list[str]:
    stand = {end: {wall.name: wall.runs for wall in walls(one, load, sizes)} for end, one in cost.items()}
    rows = [["runs at once", "between", "what is met", "what takes it away"]]
    for wall in walls(cost["value"], load, sizes):
        least, *_, most = sorted(by_name[wall.name] for by_name in stand.values())
        between = "" if least == most else f"{number(least)} to {number(most)}"
        rows.append([number(wall.runs), between, wall.name, wall.removed_by])
    return ["## The walls, the nearest first", "", *_table(*rows), "![The walls](images/scale.svg)", ""]


def _of_plans(cost: Costs, load: Load, sizes: Mapping[str, float]) -> list[str]:
    needs = [need(cost, load, plan, sizes) for plan in PLANS]
    rows = [["", *(plan.name for plan in PLANS)]]
    rows += [[what, *(number(of(one)) for one in needs)] for what, of in ROWS]
    return [f"## {load.viewers:,} viewers and {load.runs:,} runs at once", "", *_table(*rows)]


def _of_ends(cost: Mapping[str, Costs], load: Load, sizes: Mapping[str, float]) -> list[str]:
    alone = Load(**{name: getattr(load, name) for name in told()["load"]}, watching=load.runs / load.viewers)
    ends = {end: need(one, load, PLANS[-1], sizes) for end, one in cost.items()}
    few = need(cost["value"], alone, PLANS[-1], sizes)
    measures: tuple[tuple[str, Callable[[Need], float]], ...] = (
        ("cores in all", cores_of),
        ("gateway: cores", lambda one: one.gateway_cores),
        ("runner: cores", lambda one: one.runner_cores),
        ("NATS: cores", lambda one: one.nats_cores),
        ("NATS: servers", lambda one: one.servers),
        ("chunks written, all replicas, MB/s", lambda one: one.stored_bytes / 1e6),
        ("sent to viewers, Gbit/s", lambda one: one.sent_bytes * 8 / 1e9),
        ("stays of a day, all replicas, TB", lambda one: one.kept_day_bytes / 1e12),
    )
    rows = [["", "least", "as measured", "most", "one viewer a run, the others' threads silent"]]
    rows += [
        [what, *(number(of(ends[end])) for end in ("low", "value", "high")), number(of(few))] for what, of in measures
    ]
    held, begun = threads_of(cost["value"], 4 * GIB), load.runs / load.run_s * load.threads_a_run * DAY_S * load.day
    memory = load.viewers * cost["value"].viewer_bytes / GIB
    rest = (
        f"Memory of gateways for viewers: {number(memory)} GiB. Subjects: 4 GiB of a server's memory hold "
        f"{number(held)} threads of an event stream; {number(begun)} begin a day."
    )
    return ["## With all of it built: between what ends", "", *_table(*rows), rest, ""]


def cores_of(one: Need) -> float:
    """Add up the cores of everything."""
    return one.gateway_cores + one.runner_cores + one.command_cores + one.reactor_cores + one.nats_cores


def picture() -> str:
    """Draw at how many runs at once each wall stands, beside what is aimed at."""
    found = told()
    load = Load(**found["load"])
    shown = walls(costs(found), load, found["plan"])
    left, width, row = 330, 470, 24

    def x(runs: float) -> float:
        return left + width * (math.log10(runs) - 1) / 5

    parts = []
    bottom = 40 + row * len(shown)
    for power in range(1, 7):
        at = x(10**power)
        parts.append(f'<path d="M{at:.0f} 30V{bottom}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{at:.0f}" y="22" text-anchor="middle">{10**power:,}</text>')
    for index, wall in enumerate(shown):
        y = 36 + row * index
        parts.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(wall.name.replace("`", ""))}</text>')
        parts.append(f'<rect x="{left}" y="{y}" width="{x(wall.runs) - left:.1f}" height="16" fill="#2563eb"/>')
        parts.append(f'<text x="{x(wall.runs) + 5:.1f}" y="{y + 12}">{number(wall.runs)}</text>')
    parts.append(f'<path d="M{x(load.runs):.1f} 30V{bottom}" stroke="#dc2626" stroke-width="2"/>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="860" height="{bottom + 12}">'
    style = "<style>text{font:12px system-ui,sans-serif;fill:#1f2937}</style>"
    return "\n".join([head, style, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>", ""])


def page(text: str) -> str:
    """Put the tables into the page."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([before + BEGIN, "", *sections()]) + END + after


def main() -> None:
    """Write both."""
    PAGE.write_text(page(PAGE.read_text()))
    PICTURE.write_text(picture())


if __name__ == "__main__":
    main()
