"""Faults of the network: whoever is led over ways of their own is parted, cut, held up or half forgotten."""

from collections.abc import Callable
from dataclasses import dataclass, field

from decopilot.cli.chaos.faults.ways import Direction, End, Way, Weather


@dataclass(slots=True)
class Bad:
    """A weather on a way, from the beginning to the end."""

    kind: str
    target: str
    way: Way
    weather: Weather

    async def begin(self) -> None:
        """Have it."""
        self.way.have(self.weather)

    async def end(self) -> None:
        """Lose it."""
        self.way.lose(self.weather)


@dataclass(slots=True)
class Cut:
    """All connections are reset, at once; new ones come through."""

    target: str
    way: Way
    kind: str = "cut"
    cut: int = 0

    async def begin(self) -> None:
        """Cut what there is."""
        self.cut += self.way.cut()

    async def end(self) -> None:
        """Do nothing: a cut has no end."""


@dataclass(slots=True)
class HalfOpen:
    """Connections of which one end believes that they are there: the other is gone, as after a router's restart.

    New ones come through. At the end, whoever was left learns of it by a reset.
    """

    target: str
    way: Way
    left: End = "client"
    kind: str = "half-open"
    _releases: list[Callable[[], None]] = field(default_factory=list)

    async def begin(self) -> None:
        """Halve what there is."""
        self._releases.append(self.way.halve(self.left))

    async def end(self) -> None:
        """Reset what is left."""
        for release in self._releases:
            release()
        self._releases.clear()


def partition(target: str, way: Way) -> Bad:
    """Nothing comes through, neither way; nobody is told. New connections are not answered."""
    return Bad("partition", target, way, Weather(holds=frozenset({"up", "down"})))


def one_way_partition(target: str, way: Way, direction: Direction) -> Bad:
    """Nothing comes through in one direction."""
    return Bad(f"partition-{direction}", target, way, Weather(holds=frozenset({direction})))


def refusal(target: str, way: Way) -> Bad:
    """New connections are reset; those that are there stay."""
    return Bad("refuse", target, way, Weather(refuses=True))


def severance(target: str, way: Way) -> Bad:
    """Connections are reset as soon as something comes down, in the middle of it: whoever reads has half a message."""
    return Bad("sever", target, way, Weather(severs=True))


def delay(target: str, way: Way, delay_s: float, jitter_s: float = 0.0) -> Bad:
    """All comes late."""
    return Bad("delay", target, way, Weather(delay_s=delay_s, jitter_s=jitter_s))


def trickle(target: str, way: Way, bytes_per_s: float) -> Bad:
    """All comes slowly."""
    return Bad("trickle", target, way, Weather(bytes_per_s=bytes_per_s))
