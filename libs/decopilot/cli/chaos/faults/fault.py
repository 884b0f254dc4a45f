"""What a fault is: it begins, it ends, and it has a name for the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Fault(Protocol):
    """One fault at one target.

    `end` may be called in any state, again, and after a cancelled `begin`: afterwards nothing of the fault is left.
    """

    @property
    def kind(self) -> str:
        """Its name in the table of kinds."""

    @property
    def target(self) -> str:
        """What it is done to, as an operator would name it."""

    async def begin(self) -> None:
        """Do it; returns once it is done."""

    async def end(self) -> None:
        """Undo it; returns once it is undone."""


@dataclass(frozen=True, slots=True)
class Together:
    """Several faults that are one: a node's partition is that of all its ways."""

    kind: str
    target: str
    parts: Sequence[Fault]

    async def begin(self) -> None:
        """Begin all of them."""
        for part in self.parts:
            await part.begin()

    async def end(self) -> None:
        """End all of them."""
        for part in self.parts:
            await part.end()
