"""The figures as Markdown."""

import statistics
from collections.abc import Callable, Iterable

from bench.peers.results import Counted, Drops, FanOut, Found, Kills, Replay, Report

Row = tuple[str, ...]
_PARTS = ("front", "producer", "store")


def table(report: Report) -> str:
    """Write all tables."""
    there = [peer for peer in report.peers if peer.fanout]
    lines = [f"{report.at}, {report.machine}; {report.took_s / 60:.0f} minutes.", ""]
    lines += _table(("peer", "version", "a chunk is on the disk", "hops"), (_about(peer) for peer in report.peers))
    lines += _table(("peer", *_columns(there), "first event of an attach, ms"), map(_fanned, there))
    lines += _table(("peer", "followed as it is written", "read while open", "read once ended"), map(_replayed, there))
    lines += _table(
        ("peer", *dict.fromkeys(drops.pace for peer in there for drops in peer.drops)), map(_dropped, there)
    )
    lines += _table(("peer", *(f"kill -9 of the {part}" for part in _PARTS)), map(_killed, there))
    return "\n".join(lines) + "\n"


def _table(head: Row, rows: Iterable[Row]) -> list[str]:
    return [_line(head), "|" + "---|" * len(head), *map(_line, rows), ""]


def _line(cells: Row) -> str:
    return f"| {' | '.join(cells)} |"


def _about(peer: Found) -> Row:
    how = f"**not measured**: {peer.skipped}" if peer.skipped else peer.durability
    return peer.name, peer.version, how, peer.hops


def _columns(peers: list[Found]) -> Iterable[str]:
    readers = dict.fromkeys(fanned.readers for peer in peers for fanned in peer.fanout)
    return (f"{count} reader{'s' * (count > 1)}: p50 · p99, ms; CPU" for count in readers)


def _fanned(peer: Found) -> Row:
    first = peer.first_event_ms
    return (
        peer.name,
        *map(_fan, peer.fanout),
        "—" if first is None else f"{_number(first.p50)} · {_number(first.p99)}",
    )


def _fan(fanned: FanOut) -> str:
    taken = fanned.latency_ms
    if taken is None:
        return "nothing came"
    return f"{_number(taken.p50)} · {_number(taken.p99)}; {fanned.cpu_percent:.0f} %{_flaws(fanned.counted)}"


def _replayed(peer: Found) -> Row:
    by_when = {replay.when: replay for replay in peer.replays}
    ended = by_when.get("ended")
    last = f"—, because {peer.cant['replay_ended']}" if ended is None else _replay(ended)
    return peer.name, *(_replay(by_when[when]) for when in ("written", "open") if when in by_when), last


def _replay(replay: Replay) -> str:
    if not replay.chunks_s:
        return f"— ({replay.trouble})"
    first, *others = replay.chunks_s
    said = f"{_number(first)} chunks/s"
    if others:
        said += f", then {_number(statistics.median(others))}"
    return said + _flaws(replay.counted) + (f" ({replay.trouble})" if replay.trouble else "")


def _dropped(peer: Found) -> Row:
    return peer.name, *map(_drops, peer.drops)


def _drops(drops: Drops) -> str:
    end = "" if drops.end == "told" else f"; the end {drops.end}"
    return f"{drops.drops} drops: {_counted(drops.counted)}{end}"


def _killed(peer: Found) -> Row:
    by_part = {kills.part: kills for kills in peer.kills}
    say: Callable[[str], str] = lambda part: (  # noqa: E731 - a name for what stands in a cell
        _kills(by_part[part]) if part in by_part else f"—, because {peer.cant.get(part, 'it has none')}"
    )
    return peer.name, *map(say, _PARTS)


def _kills(kills: Kills) -> str:
    return f"{kills.process}: " + "; ".join(
        f"{'nothing new came' if kill.silence_s is None else f'next chunk after {kill.silence_s:.1f} s'}, "
        f"{_counted(kill.counted)}, end {kill.end}"
        for kill in kills.kills
    )


def _flaws(counted: Counted) -> str:
    return "" if counted.is_exact else f" ({_counted(counted)})"


def _counted(counted: Counted) -> str:
    if counted.is_exact:
        return "exact"
    named = {"lost": counted.lost, "doubled": counted.doubled, "out of order": counted.disordered}
    return ", ".join(f"{number:,} {name}" for name, number in named.items() if number) + f" of {counted.expected:,}"


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{float(f'{value:.3g}'):,.0f}"
