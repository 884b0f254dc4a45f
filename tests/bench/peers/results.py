"""What was measured, as it is written down."""

from collections.abc import Sequence

from bench.peers.tally import Tally
from decopilot.cli.bench.latency import percentile
from decopilot.contracts.messages import Frozen


class Counted(Frozen):
    """What readers have of what they should have; all zero but `expected` is exact."""

    expected: int
    lost: int
    doubled: int
    disordered: int

    @classmethod
    def of(cls, told: Tally) -> "Counted":
        """Write a tally down."""
        return cls(expected=told.expected, lost=told.lost, doubled=told.doubled, disordered=told.disordered)

    @property
    def is_exact(self) -> bool:
        """Whether each was there once, in order."""
        return not (self.lost or self.doubled or self.disordered)


class Spread(Frozen):
    """Some values of one measurement."""

    count: int
    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """Sum up; None where there is nothing."""
        ordered = sorted(values)
        if not ordered:
            return None
        return cls(count=len(ordered), p50=percentile(ordered, 50), p99=percentile(ordered, 99), most=ordered[-1])


class FanOut(Frozen):
    """Chunks said at a rate → so many readers; `cpu_percent` is of one core, of all processes of the peer."""

    readers: int
    rate: float
    latency_ms: Spread | None
    cpu_percent: float
    client_cpu_percent: float
    counted: Counted


class Replay(Frozen):
    """A long run, read from its beginning; `chunks_s` of each read, the first one first."""

    chunks: int
    when: str
    chunks_s: tuple[float, ...]
    first_event_ms: tuple[float, ...]
    counted: Counted
    trouble: str = ""


class Drops(Frozen):
    """One reader that is cut off again and again, and comes back with its cursor."""

    pace: str
    drops: int
    counted: Counted
    end: str


class Kill(Frozen):
    """One `kill -9` in mid-run; `silence_s` is the longest time without a new chunk behind it, None if none came."""

    silence_s: float | None
    counted: Counted
    end: str


class Kills(Frozen):
    """What became of runs whose part was killed."""

    part: str
    process: str
    kills: tuple[Kill, ...]


class Found(Frozen):
    """All of one peer."""

    name: str
    version: str
    docs: str
    durability: str
    hops: str
    cant: dict[str, str]
    first_event_ms: Spread | None = None
    fanout: tuple[FanOut, ...] = ()
    replays: tuple[Replay, ...] = ()
    drops: tuple[Drops, ...] = ()
    kills: tuple[Kills, ...] = ()
    skipped: str = ""


class Report(Frozen):
    """One run of the command."""

    at: str
    machine: str
    took_s: float
    sizes: dict[str, object]
    peers: tuple[Found, ...]
