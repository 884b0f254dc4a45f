"""The kinds of faults, for `--help`, the report and the documents: name, what it does, what it needs."""

from dataclasses import dataclass

from decopilot.cli.chaos.faults.clocks import faketime


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault."""

    name: str
    does: str
    needs: str
    """Empty where it is possible on any ground."""

    @property
    def is_possible(self) -> bool:
        """Tell whether this machine has what it needs; what the ground has, the ground knows."""
        return self.name != "clock" or faketime() is not None


_WAY = "a way before the broker, or before the gateways"
_NODES = "a cluster of nodes on this machine"

KINDS = (
    Kind("partition", "nothing comes through, neither way, and nobody is told; at the end all comes", _WAY),
    Kind("partition-up", "what is asked does not arrive", _WAY),
    Kind("partition-down", "answers do not arrive; who stops reading looks the same", _WAY),
    Kind("cut", "all connections are reset at both ends", _WAY),
    Kind("sever", "connections are reset in the middle of what comes down", _WAY),
    Kind("refuse", "new connections are reset", _WAY),
    Kind("half-open", "one end of each connection is gone, and the other is not told", _WAY),
    Kind("delay", "all comes late, in order", _WAY),
    Kind("trickle", "all comes at so many bytes a second", _WAY),
    Kind("store-full", "the broker's store is at its limit: every append is refused", "a broker with max_file_store"),
    Kind("clock", "a service's wall clock jumps by up to an hour, and back", "libfaketime, and services started here"),
    Kind("node-kill", "SIGKILL to a nats-server, and a start on the same folder", _NODES),
    Kind("node-stop", "SIGSTOP to a nats-server, and SIGCONT", _NODES),
)
