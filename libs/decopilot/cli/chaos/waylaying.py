"""Waylaying: the faults of a schedule that lie on ways, as objects that begin and end."""

from collections.abc import Sequence

from decopilot.cli.chaos.faults import proxying
from decopilot.cli.chaos.faults.fault import Fault as Faulty
from decopilot.cli.chaos.faults.fault import Together
from decopilot.cli.chaos.faults.ways import Way
from decopilot.cli.chaos.schedule import Fault

DELAY_S, JITTER_S = 0.15, 0.35
BYTES_PER_S = 20_000.0


def on_way(fault: Fault, target: str, ways: Sequence[Way]) -> Faulty:
    """Make what befalls all of these ways together.

    Raises:
        ValueError: the blow is not one to a way.

    """
    found = [_one(fault, target, way) for way in ways]
    return found[0] if len(found) == 1 else Together(found[0].kind, target, found)


def is_felt(fault: Fault, ways: Sequence[Way]) -> bool:
    """Tell whether anybody goes over one of these ways now; who is refused is whoever comes."""
    return fault.blow == "REFUSE" or any(way.connections for way in ways)


def _one(fault: Fault, target: str, way: Way) -> Faulty:  # noqa: PLR0911  one case per blow
    match fault.blow:
        case "PARTITION":
            return proxying.partition(target, way)
        case "PARTITION-UP":
            return proxying.one_way_partition(target, way, "up")
        case "PARTITION-DOWN":
            return proxying.one_way_partition(target, way, "down")
        case "CUT":
            return proxying.Cut(target, way)
        case "HALF-OPEN":
            return proxying.HalfOpen(target, way)
        case "REFUSE":
            return proxying.refusal(target, way)
        case "DELAY":
            return proxying.delay(target, way, DELAY_S, JITTER_S)
        case "TRICKLE":
            return proxying.trickle(target, way, BYTES_PER_S)
        case _:
            raise ValueError(fault.blow)
