"""Silence: how long those who stayed had to wait for what was there, and for what was to come."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from decopilot.cli.chaos.evidence import Evidence
from decopilot.cli.chaos.truth import position_of
from decopilot.cli.chaos.viewers import Viewer


@dataclass(frozen=True, slots=True)
class Silences:
    """In seconds, over all viewers that never left by themselves.

    `late`: from a chunk's being stored to its coming. `pause`: between two chunks of one `/count`, which has no pauses
    of its own, so that is how long nothing was written, or came.
    """

    chunks: int
    late_p50_s: float
    late_p99_s: float
    late_max_s: float
    pause_max_s: float


def silences(evidence: Evidence) -> Silences:
    """Measure the silences that the steady viewers saw."""
    late: list[float] = []
    pauses = [0.0, *(to - from_ for from_, to in gaps(evidence))]
    for viewer in _steady(evidence):
        late += _late(evidence, viewer)
    late = sorted(late) or [0.0]
    middle, last = late[len(late) // 2], late[int(len(late) * 0.99)]
    return Silences(len(late), round(middle, 3), round(last, 3), round(late[-1], 2), round(max(pauses), 2))


def gaps(evidence: Evidence) -> Iterator[tuple[float, float]]:
    """Every two moments between which nothing of a `/count` came to a steady viewer."""
    for viewer in _steady(evidence):
        yield from _pauses(evidence, viewer)


def _steady(evidence: Evidence) -> Iterator[Viewer]:
    return (viewer for viewer in evidence.viewers if viewer.name.endswith("/steady"))


def _came(viewer: Viewer) -> Iterator[tuple[tuple[int, int], float]]:
    """Every chunk that came, and when it first did."""
    seen = set()
    for connection in viewer.stream.connections:
        for event in connection.events:
            position = position_of(event.id)
            if position not in seen:
                seen.add(position)
                yield position, event.at


def _late(evidence: Evidence, viewer: Viewer) -> Iterator[float]:
    frames = evidence.threads[viewer.thread].by_sequence
    began = viewer.stream.connections[0].began
    for (sequence, _), at in _came(viewer):
        frame = frames.get(sequence)
        if frame is not None and frame.stored_at is not None and frame.stored_at.timestamp() > began:
            yield at - frame.stored_at.timestamp()


def _pauses(evidence: Evidence, viewer: Viewer) -> Iterator[tuple[float, float]]:
    thread = evidence.threads[viewer.thread]
    counting = {run.run_id for run in thread.runs.values() if run.text.startswith("/count")}
    began = viewer.stream.connections[0].began
    came = [(thread.by_sequence[sequence], at) for (sequence, _), at in _came(viewer) if sequence in thread.by_sequence]
    for (before, from_), (after, to) in pairwise(came):
        is_live = before.stored_at is not None and before.stored_at.timestamp() > began
        if is_live and before.run == after.run and before.run in counting:
            yield from_, to
