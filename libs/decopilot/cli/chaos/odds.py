"""The odds: which faults there are, how often each strikes whom, and for how long."""

from dataclasses import dataclass
from typing import Literal

Blow = Literal[
    "KILL",
    "TERM",
    "STOP",
    "PARTITION",
    "PARTITION-UP",
    "PARTITION-DOWN",
    "CUT",
    "HALF-OPEN",
    "REFUSE",
    "DELAY",
    "TRICKLE",
    "CLOCK",
    "FULL",
    "COMMAND",
]
COMMAND: Blow = "COMMAND"
"""One of a deployment's owner."""
INSTANT: frozenset[Blow] = frozenset({"KILL", "TERM", "CUT"})
"""Those that are over at once."""


@dataclass(frozen=True, slots=True)
class Family:
    """Faults of which one strikes every so often; `blows` are weight, service and blow.

    `for_s` is how long those last that are not over at once.
    """

    name: str
    every_s: tuple[float, float]
    for_s: tuple[float, float]
    blows: tuple[tuple[float, str, Blow], ...]


PROCESSES = Family(
    "processes",
    (0.3, 1.3),
    (1.0, 9.0),
    (
        (4, "driver", "KILL"),
        (3, "driver", "TERM"),
        (5, "driver", "STOP"),
        (3, "tool", "KILL"),
        (1, "runner", "KILL"),
        (1, "runner", "TERM"),
        (2, "runner", "STOP"),
        (2, "reactor", "KILL"),
        (1, "reactor", "TERM"),
        (2, "reactor", "STOP"),
        (2, "gateway", "KILL"),
        (1.5, "gateway", "TERM"),
        (2, "gateway", "STOP"),
        (1.5, "command", "KILL"),
        (1, "command", "TERM"),
        (2, "command", "STOP"),
        (0.8, "nats", "KILL"),
        (2, "nats", "STOP"),
    ),
)
"""Blows to processes by their ids. A `driver` is a runner that drives a run; a `tool` is one whose tool left a mark."""
NETWORK = Family(
    "network",
    (0.5, 2.5),
    (0.5, 7.0),
    (
        (3, "driver", "PARTITION"),
        (1, "driver", "PARTITION-UP"),
        (1, "driver", "PARTITION-DOWN"),
        (2, "driver", "CUT"),
        (1, "driver", "HALF-OPEN"),
        (2, "driver", "DELAY"),
        (1, "runner", "PARTITION"),
        (2, "reactor", "PARTITION"),
        (1, "reactor", "CUT"),
        (1, "reactor", "DELAY"),
        (1, "reactor", "HALF-OPEN"),
        (2, "gateway", "PARTITION"),
        (1, "gateway", "PARTITION-DOWN"),
        (2, "gateway", "CUT"),
        (1, "gateway", "TRICKLE"),
        (1, "gateway", "HALF-OPEN"),
        (1.5, "command", "PARTITION"),
        (1, "command", "CUT"),
        (1, "command", "DELAY"),
    ),
)
"""Faults of the way between a copy of a service and the broker."""
CLOCKS = Family(
    "clocks",
    (4.0, 12.0),
    (2.0, 9.0),
    ((2, "reactor", "CLOCK"), (2, "runner", "CLOCK"), (1, "command", "CLOCK")),
)
"""Wall clocks that are wrong for a while."""
STORE = Family("store", (15.0, 40.0), (1.0, 4.0), ((1, "nats", "FULL"),))
"""The brokers' store has no room for a while."""
CLIENTS = Family(
    "clients",
    (0.3, 1.3),
    (0.5, 6.0),
    (
        (5, "viewers", "CUT"),
        (2, "viewers", "HALF-OPEN"),
        (2, "viewers", "PARTITION"),
        (1, "viewers", "PARTITION-UP"),
        (1, "viewers", "PARTITION-DOWN"),
        (2, "viewers", "TRICKLE"),
        (2, "viewers", "DELAY"),
        (1, "viewers", "REFUSE"),
    ),
)
"""Faults of the way between some clients and a gateway."""
