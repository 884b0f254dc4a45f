from decopilot.cli.chaos.faults.clocks import Skew
from decopilot.cli.chaos.faults.disk import StoreFull
from decopilot.cli.chaos.faults.kinds import KINDS
from decopilot.cli.chaos.faults.nodes import NodeKill, NodeStop
from decopilot.cli.chaos.faults.proxying import (
    Cut,
    HalfOpen,
    delay,
    one_way_partition,
    partition,
    refusal,
    severance,
    trickle,
)
from decopilot.cli.chaos.faults.ways import Way


def test_the_table_names_every_kind_once() -> None:
    way = Way("127.0.0.1", 4222)
    made = {
        fault.kind
        for fault in (
            partition("x", way),
            one_way_partition("x", way, "up"),
            one_way_partition("x", way, "down"),
            refusal("x", way),
            severance("x", way),
            delay("x", way, 0.1),
            trickle("x", way, 1000),
            Cut("x", way),
            HalfOpen("x", way),
        )
    }
    made |= {str(one.__dataclass_fields__["kind"].default) for one in (StoreFull, Skew, NodeKill, NodeStop)}
    assert sorted(made) == sorted(kind.name for kind in KINDS)
