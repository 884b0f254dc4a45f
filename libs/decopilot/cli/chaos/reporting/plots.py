"""Plots: pictures as SVG, drawn by hand, whose colours are those of the page (ADR 0053)."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from decopilot.cli.chaos.outcome import Outcome
from decopilot.cli.chaos.reporting.figures import RecoveryRow, seconds_of
from decopilot.cli.chaos.reporting.markup import Element, tag

WIDTH, LEFT, RIGHT, TOP = 960.0, 150.0, 14.0, 8.0
ROW, GAP, PROGRESS, SILENCES, AXIS, CURVE = 17.0, 26.0, 70.0, 90.0, 24.0, 90.0
DOT = 2.2
TICKS = 8
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
SHORTEST_S, DECADES_S = 0.01, (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


def timeline(outcome: Outcome) -> Element:
    """Draw what was stored, what was broken, and who got nothing, over one time."""
    kinds = sorted({fault.kind for fault in outcome.faults})
    ends = [outcome.seconds, *(fault.ended_s or fault.at_s for fault in outcome.faults)]
    ends += [one.at_s for one in outcome.progress] + [one.at_s for one in outcome.silences]
    last_s = max(*ends, 1.0)
    faults_y = TOP + PROGRESS + GAP
    silences_y = faults_y + ROW * len(kinds) + GAP
    bottom = silences_y + SILENCES
    return _picture(
        bottom + AXIS,
        f"{len(outcome.faults)} faults of {len(kinds)} kinds over {last_s:.0f} seconds",
        _time_axis(last_s, bottom),
        _progress(outcome, last_s, TOP),
        *(_faults(outcome, kind, last_s, faults_y + ROW * number) for number, kind in enumerate(kinds)),
        _silences(outcome, last_s, silences_y),
    )


def _picture(height: float, label: str, *children: Element) -> Element:
    return tag("svg", *children, viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", aria_label=label)


def _x(at_s: float, last_s: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(max(at_s / last_s, 0.0), 1.0)


def _label(text: str, y: float, class_: str = "label") -> Element:
    return tag("text", text, x=LEFT - 8, y=y, text_anchor="end", class_=class_)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Element:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def _time_axis(last_s: float, bottom: float) -> Element:
    step = next((step for step in STEPS if last_s / step <= TICKS), STEPS[-1])
    drawn = tag("g")
    for number in range(int(last_s / step) + 1):
        x = _x(number * step, last_s)
        drawn.append(_line(x, TOP, x, bottom, "grid"))
        drawn.append(tag("text", _clock(number * step), x=x, y=bottom + 16, text_anchor="middle", class_="tick"))
    return drawn


def _clock(at_s: int) -> str:
    minutes, seconds = divmod(at_s, 60)
    return f"{at_s} s" if at_s < 60 else f"{minutes}:{seconds:02}"


def _progress(outcome: Outcome, last_s: float, y: float) -> Element:
    most = max((one.chunks for one in outcome.progress), default=0)
    bottom = y + PROGRESS
    drawn = tag("g", _label("chunks stored", y + 12), _label(f"at most {most:,}", y + 26, "tick"))
    drawn.append(_line(LEFT, bottom, WIDTH - RIGHT, bottom, "base"))
    points = [
        f"{_x(one.at_s, last_s):.1f},{bottom - PROGRESS * one.chunks / max(most, 1):.1f}" for one in outcome.progress
    ]
    if points:
        first, last = points[0].split(",")[0], points[-1].split(",")[0]
        shape = f"{first},{bottom:g} {' '.join(points)} {last},{bottom:g}"
        drawn.append(tag("polygon", points=shape, class_="progress"))
    return drawn


def _faults(outcome: Outcome, kind: str, last_s: float, y: float) -> Element:
    drawn = tag("g", _label(kind, y + 12), _line(LEFT, y + ROW / 2, WIDTH - RIGHT, y + ROW / 2, "grid"))
    places = set()
    for fault in outcome.faults:
        if fault.kind != kind:
            continue
        x, until = _x(fault.at_s, last_s), _x(fault.ended_s or fault.at_s, last_s)
        width = max(until - x, 3.0)
        # What lies on the same spot of a long run is drawn once.
        if (place := (round(x), round(width))) in places:
            continue
        places.add(place)
        lasted = "" if fault.ended_s is None else f" for {fault.ended_s - fault.at_s:.1f} s"
        told = tag("title", f"{kind}, {fault.target}, at {fault.at_s:.1f} s{lasted}")
        class_ = "blow" if fault.ended_s is None else "fault"
        drawn.append(tag("rect", told, x=x, y=y + 3, width=width, height=ROW - 6, rx=1, class_=class_))
    return drawn


def _silences(outcome: Outcome, last_s: float, y: float) -> Element:
    longest = max((one.seconds for one in outcome.silences), default=0.0)
    top_s = max(1.0, math.ceil(longest))
    bottom = y + SILENCES
    drawn = tag("g", _label("silences", y + 12), _label(f"longest {seconds_of(longest)}", y + 26, "tick"))
    drawn.append(_line(LEFT, bottom, WIDTH - RIGHT, bottom, "base"))
    drawn.append(_line(LEFT, y, WIDTH - RIGHT, y, "grid"))
    drawn.append(tag("text", f"{top_s:g} s", x=WIDTH - RIGHT, y=y - 3, text_anchor="end", class_="tick"))
    places = set()
    for one in outcome.silences:
        x, height = _x(one.at_s, last_s), SILENCES * one.seconds / top_s
        if (place := (round(x), round(height))) not in places:
            places.add(place)
            told = tag("title", f"{one.viewer} got nothing for {one.seconds:.2f} s, until {one.at_s:.1f} s")
            drawn.append(tag("circle", told, cx=x, cy=bottom - height, r=DOT, class_="silence"))
    return drawn


def distribution(promise: str, rows: Sequence[RecoveryRow]) -> Element:
    """Draw recovery times: how many took at most so long, and below it each by the kind of fault it is from."""
    ordered = sorted(seconds for row in rows for seconds in row.ordered_s)
    last_s = next((bound for bound in DECADES_S if bound >= ordered[-1]), ordered[-1])
    last_s = max(last_s, 1.0)
    rows_y = TOP + CURVE + GAP
    bottom = rows_y + ROW * len(rows)
    return _picture(
        bottom + AXIS,
        f"{promise}: {len(ordered)} recoveries, the longest {ordered[-1]:.2f} seconds",
        tag("g", list(_seconds_axis(last_s, bottom))),
        _curve(ordered, last_s),
        *(_dots(row, last_s, rows_y + ROW * number) for number, row in enumerate(rows)),
    )


def _log_x(seconds: float, last_s: float) -> float:
    share = math.log(max(seconds, SHORTEST_S) / SHORTEST_S) / math.log(last_s / SHORTEST_S)
    return LEFT + (WIDTH - LEFT - RIGHT) * min(share, 1.0)


def _seconds_axis(last_s: float, bottom: float) -> Iterator[Element]:
    for bound in DECADES_S:
        if bound <= last_s:
            x = _log_x(bound, last_s)
            yield _line(x, TOP, x, bottom, "grid")
            least = "≤ " if bound == SHORTEST_S else ""
            yield tag("text", f"{least}{bound:g} s", x=x, y=bottom + 16, text_anchor="middle", class_="tick")


def _curve(ordered: Sequence[float], last_s: float) -> Element:
    bottom = TOP + CURVE
    path = f"M{_log_x(ordered[0], last_s):.1f},{bottom:g}"
    for number, seconds in enumerate(ordered, 1):
        path += f"H{_log_x(seconds, last_s):.1f}V{bottom - CURVE * number / len(ordered):.1f}"
    drawn = tag(
        "g", _label("all", TOP + 8), _label("half", TOP + CURVE / 2 + 4, "tick"), _label("none", bottom, "tick")
    )
    for y in (TOP, TOP + CURVE / 2, bottom):
        drawn.append(_line(LEFT, y, WIDTH - RIGHT, y, "grid"))
    drawn.append(tag("path", d=path + f"H{WIDTH - RIGHT:g}", class_="curve"))
    return drawn


def _dots(row: RecoveryRow, last_s: float, y: float) -> Element:
    drawn = tag("g", _label(f"{row.kind} ({row.count:,})", y + 12))
    middle = y + ROW / 2
    drawn.append(_line(LEFT, middle, WIDTH - RIGHT, middle, "grid"))
    places = [_log_x(seconds, last_s) for seconds in row.ordered_s]
    for x, following in pairwise([*places, math.inf]):
        if round(x) != (round(following) if following < math.inf else None):
            drawn.append(tag("circle", cx=x, cy=middle, r=DOT, class_="recovery"))
    x = _log_x(row.at(50), last_s)
    told = tag(
        "title", f"{row.kind}: half took at most {seconds_of(row.at(50))}, all at most {seconds_of(row.at(100))}"
    )
    drawn.append(tag("rect", told, x=x - 1, y=y + 2, width=2, height=ROW - 4, class_="middle"))
    return drawn
