"""Rewinding: what of a resumed run a viewer is to get, decided from the ranges of its chunks that count no more."""

from decopilot.contracts.frames import Frame, Ranges


def is_cut(frame: Frame, void: Ranges) -> bool:
    """Tell whether a frame holds void chunks."""
    end = frame.index + frame.end.index + 1
    return any(start < end and frame.index < stop for start, stop in void)


def covers(known: Ranges, void: Ranges) -> bool:
    """Tell whether whoever skips `known` was never given a chunk of `void`."""
    return all(any(first <= start and end <= last for first, last in known) for start, end in void)


def is_tainted(index: int, void: Ranges) -> bool:
    """Tell whether a client that stopped behind this chunk may hold void ones that nothing has replaced yet.

    Behind a void range stands the chunk that fences it off, and only then the one that rewinds.
    """
    return any(start <= index <= end for start, end in void)
