"""Rewinding: what of a resumed run a viewer is to get, decided from the ranges of its chunks that count no more."""

from decopilot.contracts.frames import Ranges
from decopilot.domain.resuming import is_void
from decopilot_gateway import sse


def cut(events: bytes, index: int, void: Ranges) -> bytes:
    """Leave void chunks out of events, of which the first is the chunk at an index of its run."""
    end = index + sse.count(events)
    if not any(start < end and index < stop for start, stop in void):
        return events
    return b"".join(event for number, event in enumerate(sse.split(events), index) if not is_void(number, void))


def covers(known: Ranges, void: Ranges) -> bool:
    """Tell whether whoever skips `known` was never given a chunk of `void`."""
    return all(any(first <= start and end <= last for first, last in known) for start, end in void)


def is_tainted(index: int, void: Ranges) -> bool:
    """Tell whether a client that stopped behind this chunk may hold void ones that nothing has replaced yet.

    Behind a void range stands the chunk that fences it off, and only then the one that rewinds.
    """
    return any(start <= index <= end for start, end in void)
