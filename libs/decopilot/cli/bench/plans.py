"""Which scenarios there are, how large each is by default, and how small where only its working counts."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import Field
from typing import Any, ClassVar, Protocol

from decopilot.cli.bench.ground import Ground
from decopilot.cli.bench.results import Block
from decopilot.cli.bench.scenarios.accept import Accept
from decopilot.cli.bench.scenarios.fanout import Cell, Fanout
from decopilot.cli.bench.scenarios.idle import Idle
from decopilot.cli.bench.scenarios.live import Live
from decopilot.cli.bench.scenarios.lost_gateway import LostGateway
from decopilot.cli.bench.scenarios.lost_runner import KilledRunner, LeavingRunner
from decopilot.cli.bench.scenarios.memory import Memory
from decopilot.cli.bench.scenarios.pump import Pump
from decopilot.cli.bench.scenarios.pumps import Pumps
from decopilot.cli.bench.scenarios.replay import Replay
from decopilot.cli.bench.scenarios.slow import Slow
from decopilot.cli.bench.scenarios.together import Together


class Scenario(Protocol):
    """A measurement with its sizes, a frozen dataclass.

    Whoever changes what is done or what a figure means raises its `version`; figures of two versions are not compared.
    `is_pinned` gives the measured process a core for itself; `limit_s` is how long it may take.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    name: ClassVar[str]
    version: ClassVar[int]
    limit_s: ClassVar[float]
    is_pinned: ClassVar[bool]

    @property
    def connections(self) -> int:
        """Return how many are open at once."""

    def measure(self, ground: Ground) -> AsyncIterator[Block]:
        """Measure; a block of the same title as one before takes its place."""


GATEWAY: tuple[Scenario, ...] = (Idle(), Fanout(), Replay(), Slow())
RUNS: tuple[Scenario, ...] = (Accept(), Live(), Pump(), Pumps(), Together())
RECOVERY: tuple[Scenario, ...] = (KilledRunner(), LeavingRunner(), LostGateway())
MEMORY: tuple[Scenario, ...] = (Memory(),)

QUICK: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Idle(viewers=40, threads=10, seconds=1),
        Fanout(seconds=1, warm_up_s=0.2, cells=(Cell(20, 50),)),
        Replay(chunks=320, each=(16,), reads=2),
        Slow(seconds=1, warm_up_s=0.2, viewers=5),
        Accept(posts=3, warm_up=1),
        Live(chunks=20),
        Pump(chunks=500, publishes=50),
        Pumps(runs=5, seconds=1, warm_up_s=0.2),
        Together(at_once=(3,), chunks=10),
        KilledRunner(kills=1, runners=2, at_a_time=1),
        LeavingRunner(kills=1, runners=2, at_a_time=1),
        LostGateway(kills=1, viewers=2),
        Memory(threads=3, runs=3, viewers=10, settle_s=0.5),
    )
}
"""Whether it all works, in some seconds; its figures mean nothing."""


def quick(scenarios: Sequence[Scenario]) -> tuple[Scenario, ...]:
    """Return the same ones, small."""
    return tuple(QUICK[scenario.name] for scenario in scenarios)
