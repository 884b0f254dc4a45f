"""The figures as a picture: fan-out, replay, recovery, beside one another."""

import statistics
from pathlib import Path

from bench.peers.results import Found, Kills, Report

COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3")
WHOLE = 100
"""From here on nobody reads what is behind the point."""


def plot(report: Report, path: Path) -> None:
    """Draw bars, each of the axes logarithmic; what never came has no bar, and says so."""
    import matplotlib as mpl  # noqa: PLC0415 - seconds to load, and only where something is drawn

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    peers = [peer for peer in report.peers if peer.fanout]
    mpl.rcParams.update({"svg.hashsalt": "peers", "font.size": 8})
    figure, axes = plt.subplots(1, 4, figsize=(13, 0.45 * len(peers) + 1.2), sharey=True, layout="constrained")
    drawn = {
        "50 chunks/s to most readers: p99, ms": [_p99(peer) for peer in peers],
        "replay while open, chunks/s": [_replay(peer) for peer in peers],
        "front killed → next chunk, s": [_silence(peer, "front") for peer in peers],
        "producer killed → next chunk, s": [_silence(peer, "producer") for peer in peers],
    }
    for axis, (title, values) in zip(axes, drawn.items(), strict=True):
        axis.set_title(title)
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter("")
        there = [value for value in values if value is not None]
        low = min(there, default=1.0) / 2
        for place, (value, colour) in enumerate(zip(values, COLOURS, strict=False)):
            if value is None:
                said = "none of its own" if _is_absent(peers[place], title) else "never"
                axis.text(low, place, f" {said}", va="center", color="#777777")
            else:
                axis.barh(place, value - low, left=low, color=colour)
                axis.text(value, place, f" {value:,.0f}" if value >= WHOLE else f" {value:.3g}", va="center")
        axis.set_xlim(low, max(there, default=10.0) * 5)
        axis.set_yticks(range(len(peers)), [peer.name for peer in peers])
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _is_absent(peer: Found, title: str) -> bool:
    part = title.partition(" killed")[0]
    return title != part and all(kills.part != part for kills in peer.kills)


def _p99(peer: Found) -> float | None:
    most = max(peer.fanout, key=lambda fanned: fanned.readers, default=None)
    return None if most is None or most.latency_ms is None else most.latency_ms.p99


def _replay(peer: Found) -> float | None:
    speeds = [speed for replay in peer.replays if replay.when == "open" for speed in replay.chunks_s]
    return statistics.median(speeds) if speeds else None


def _silence(peer: Found, part: str) -> float | None:
    return next((_median(kills) for kills in peer.kills if kills.part == part), None)


def _median(kills: Kills) -> float | None:
    silences = [kill.silence_s for kill in kills.kills]
    there = [silence for silence in silences if silence is not None]
    return statistics.median(there) if there and len(there) == len(silences) else None
