"""Traces drawn: the tree of each, as a waterfall over one time, and the links between them."""

from collections.abc import Iterator, Sequence
from html import escape

from support.otlp import ReceivedSpan

COLOURS = {"gateway": "#2563eb", "command": "#0d9488", "runner": "#d97706", "reactor": "#7c3aed"}
ROW, NAMES, BARS, RIGHT, TOP = 17, 410, 640, 130, 64
LOST = "decopilot.attempt.lost"

Row = tuple[int, ReceivedSpan]


def rows_of(spans: Sequence[ReceivedSpan], trace_id: str) -> list[Row]:
    """Put a trace's spans in the order of its tree, each with its depth; one without its parent stands at the top."""
    mine = sorted((span for span in spans if span.trace_id == trace_id), key=lambda span: span.began_ns)
    known = {span.span_id for span in mine}

    def below(parent: str, depth: int) -> Iterator[Row]:
        for span in mine:
            if span.parent_id == parent:
                yield depth, span
                yield from below(span.span_id, depth + 1)

    roots = [span for span in mine if span.parent_id not in known]
    return [row for root in roots for row in ((0, root), *below(root.span_id, 1))]


def drawn(spans: Sequence[ReceivedSpan], titles: dict[str, str]) -> str:
    """Draw the traces of these ids, each under its title, as SVG."""
    shown = [span for span in spans if span.trace_id in titles]
    began, ended = min(span.began_ns for span in shown), max(span.ended_ns for span in shown)
    width, y = NAMES + BARS + RIGHT, TOP
    parts: list[str] = []
    places: dict[tuple[str, str], tuple[float, float]] = {}
    rows = {trace_id: rows_of(spans, trace_id) for trace_id in titles}
    for trace_id, title in titles.items():
        parts.append(f'<text x="12" y="{y + 13}" class="title">{escape(title)}  {trace_id}</text>')
        y += ROW + 6
        for depth, span in rows[trace_id]:
            left = NAMES + (span.began_ns - began) / (ended - began) * BARS
            long = max((span.ended_ns - span.began_ns) / (ended - began) * BARS, 2)
            places[trace_id, span.span_id] = (left, y + ROW / 2)
            parts.append(_row(depth, span, left=left, long=long, y=y))
            y += ROW
        y += 14
    for trace_id in titles:
        for _, span in rows[trace_id]:
            parts += [
                _arrow(places[trace_id, span.span_id], places[link.trace_id, link.span_id], link.why)
                for link in span.links
                if (link.trace_id, link.span_id) in places
            ]
    return _page(width, y + 6, parts, (ended - began) / 1e9)


def _row(depth: int, span: ReceivedSpan, *, left: float, long: float, y: int) -> str:
    colour = COLOURS[span.service.removeprefix("decopilot-")]
    attempt = span.attributes.get("decopilot.attempt", "") if span.name == "attempt" else ""
    name = escape(f"{span.name} {attempt}".strip())
    if LOST in span.attributes:
        name += " — its runner was killed"
    stroke = ' stroke="#dc2626" stroke-width="2"' if span.is_error else ""
    dashed = ' stroke-dasharray="4 3" fill-opacity="0.35"' if LOST in span.attributes else ""
    milliseconds = (span.ended_ns - span.began_ns) / 1e6
    return (
        f'<rect x="{12 + depth * 12}" y="{y + 5}" width="7" height="7" rx="2" fill="{colour}"/>'
        f'<text x="{24 + depth * 12}" y="{y + 12}">{name}</text>'
        f'<rect x="{left:.1f}" y="{y + 3}" width="{long:.1f}" height="11" rx="2" fill="{colour}"{stroke}{dashed}/>'
        f'<text x="{left + long + 5:.1f}" y="{y + 12}" class="time">{milliseconds:,.1f} ms</text>'
    )


def _arrow(start: tuple[float, float], there: tuple[float, float], why: str) -> str:
    (x, y), (to_x, to_y) = start, there
    bend = min(x, to_x) - 26
    curve = f"C{bend:.1f} {y:.1f} {bend:.1f} {to_y:.1f} {to_x - 3:.1f} {to_y:.1f}"
    return (
        f'<path d="M{x - 2:.1f} {y:.1f} {curve}" class="link"/>'
        f'<text x="{x - 8:.1f}" y="{y - 4:.1f}" class="why">{escape(why)}</text>'
    )


def _page(width: int, height: int, parts: list[str], seconds: float) -> str:
    legend = "".join(
        f'<rect x="{NAMES + 110 * n}" y="12" width="11" height="11" rx="2" fill="{colour}"/>'
        f'<text x="{NAMES + 16 + 110 * n}" y="22">{service}</text>'
        for n, (service, colour) in enumerate(COLOURS.items())
    )
    grid = "".join(
        f'<line x1="{NAMES + BARS * n / 5:.0f}" x2="{NAMES + BARS * n / 5:.0f}" y1="50" y2="{height}" class="grid"/>'
        f'<text x="{NAMES + BARS * n / 5:.0f}" y="46" class="time" text-anchor="middle">{seconds * n / 5:.1f} s</text>'
        for n in range(6)
    )
    style = (
        "text{font:11px system-ui,sans-serif;fill:#1f2937}.title{font-weight:600;font-size:12px}"
        ".time{fill:#6b7280;font-size:10px}.grid{stroke:#e5e7eb}"
        ".link{fill:none;stroke:#dc2626;stroke-width:1.3;marker-end:url(#head)}"
        ".why{fill:#dc2626;font-size:10px;text-anchor:end;paint-order:stroke;stroke:#fff;stroke-width:3px}"
    )
    head = (
        '<defs><marker id="head" markerWidth="7" markerHeight="6" refX="6" refY="3" orient="auto">'
        '<path d="M0 0 7 3 0 6z" fill="#dc2626"/></marker></defs>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<style>{style}</style>{head}<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="12" y="22" class="title">Spans by service, links in red</text>'
        f"{grid}{legend}{''.join(parts)}</svg>\n"
    )
