"""Counting what a reader has of a run: what is lost, doubled, out of order."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

DELTA = re.compile(rb"(\d{19}) (\d+) ")
"""What a delta says: when it was said (monotonic nanoseconds), and its number."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the deltas that a reader should have, each once and in order."""

    expected: int
    lost: int
    doubled: int
    disordered: int

    @property
    def is_exact(self) -> bool:
        """Whether it has each once, in order."""
        return not (self.lost or self.doubled or self.disordered)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.expected + other.expected,
            self.lost + other.lost,
            self.doubled + other.doubled,
            self.disordered + other.disordered,
        )


NOTHING = Tally(0, 0, 0, 0)


def tally(numbers: Iterable[int], expected: int) -> Tally:
    """Count; `disordered` are those of a number below one that came before them for the first time, too."""
    seen: set[int] = set()
    doubled = disordered = 0
    highest = -1
    for number in numbers:
        if number in seen:
            doubled += 1
        elif number < highest:
            disordered += 1
        seen.add(number)
        highest = max(highest, number)
    return Tally(expected, sum(number not in seen for number in range(expected)), doubled, disordered)
