"""How large each scenario is."""

from dataclasses import dataclass, field
from enum import StrEnum

from decopilot.cli.errors import CliError


class Scenario(StrEnum):
    """What can be measured."""

    IDLE = "idle"
    FANOUT = "fanout"
    REPLAY = "replay"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Cell:
    """So many viewers of one thread, so many chunks a second."""

    viewers: int
    rate: int

    def __str__(self) -> str:
        return f"{self.viewers:,} viewers, {self.rate} chunks/s"


@dataclass(frozen=True, slots=True)
class Parameters:
    """The full measurement."""

    scenarios: tuple[Scenario, ...] = tuple(Scenario)
    seconds: float = 20
    warm_up_s: float = 1
    idle_viewers: int = 5_000
    idle_threads: int = 500
    idle_s: float = 30
    """Two keepalives of each viewer, whenever it came."""
    cells: tuple[Cell, ...] = field(default=(Cell(10, 50), Cell(200, 50), Cell(200, 200), Cell(1_000, 50)))
    replay_chunks: int = 20_000
    replay_each: tuple[int, ...] = (1, 16)
    replay_reads: int = 5
    slow_viewers: int = 200
    slow_rate: int = 50
    slow_padding_bytes: int = 8 * 1024
    """With 20 s at 50/s it makes 8 MB for each viewer: above what the kernel buffers of a connection (some 4 MB)."""
    slow_reads_bytes_s: int = 1024
    limit_s: float = 300

    @property
    def most_viewers(self) -> int:
        """Return how many connections are open at once."""
        idle = self.idle_viewers if Scenario.IDLE in self.scenarios else 0
        fanout = max(cell.viewers for cell in self.cells) if Scenario.FANOUT in self.scenarios else 0
        return max(idle, fanout, self.slow_viewers + 1)


QUICK = Parameters(
    seconds=1,
    warm_up_s=0.2,
    idle_viewers=40,
    idle_threads=10,
    idle_s=1,
    cells=(Cell(20, 50),),
    replay_chunks=320,
    replay_each=(16,),
    replay_reads=2,
    slow_viewers=5,
    limit_s=60,
)
"""Whether it all works, in some seconds; its figures mean nothing."""


def parse_cell(text: str) -> Cell:
    """Read `1000x50`; raises `CliError` where it is none."""
    viewers, _, rate = text.partition("x")
    if not (viewers.isdecimal() and rate.isdecimal() and int(viewers) and int(rate)):
        message = f"--fanout {text!r}: say VIEWERSxRATE, such as 1000x50: chunks a second to so many viewers."
        raise CliError(message)
    return Cell(int(viewers), int(rate))
