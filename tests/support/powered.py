"""Servers on disks of their own, whose power can be cut: one alone, or three that are a cluster."""

import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from decopilot.cli.broker import EmbeddedBroker
from support.brokers import embedded
from support.cluster import clustered
from support.freezing import freeze, thaw
from support.power import Disk, powered


@dataclass(slots=True)
class Powered:
    """Servers, each on a disk of its own, that are one cluster or one server alone."""

    nodes: Mapping[str, EmbeddedBroker]
    disks: Mapping[str, Disk]

    @property
    def url(self) -> str:
        """Every node."""
        return ",".join(node.url for node in self.nodes.values())

    def halt(self, *names: str) -> None:
        """Cut the power of nodes, all of them at one moment."""
        for name in names:
            freeze(_pid(self.nodes[name]))  # nothing is acknowledged any more
        for name in names:
            self.disks[name].cut()
        for name in names:
            self.nodes[name].kill()

    def boot(self, *names: str) -> None:
        """Bring their power back."""
        for name in names:
            self.disks[name].restore()
        for name in names:
            self.nodes[name].start()

    def freeze(self, name: str) -> None:
        """Have a node be out of touch."""
        freeze(_pid(self.nodes[name]))

    def thaw(self, name: str) -> None:
        """Have it go on."""
        thaw(_pid(self.nodes[name]))

    def holdings(self, of: str) -> dict[str, object]:
        """What each node says of a stream: messages, last sequence."""
        found: dict[str, object] = {}
        for name, node in self.nodes.items():
            with urllib.request.urlopen(f"{node.monitor_url}/jsz?streams=true&accounts=true", timeout=5) as answer:
                accounts = json.load(answer).get("account_details") or []
            states = [
                (stream["state"]["messages"], stream["state"]["last_seq"])
                for account in accounts
                for stream in account.get("stream_detail") or []
                if stream["name"] == of
            ]
            found[name] = states[0] if states else None
        return found


def _pid(node: EmbeddedBroker) -> int:
    assert node.pid is not None, "it has ended"
    return node.pid


@contextmanager
def powered_servers(folder: Path, sync_interval: str, replicas: int) -> Iterator[Powered]:
    """Run servers on disks of their own: one, or three that are a cluster."""
    with ExitStack() as stack:
        names = [f"n{number}" for number in range(replicas)]
        disks = {name: stack.enter_context(powered(folder / f"disk-{name}")) for name in names}

        def each(name: str) -> dict[str, object]:
            return {"jetstream": {"store_dir": str(disks[name].folder), "sync_interval": sync_interval}}

        if replicas == 1:
            alone = stack.enter_context(embedded(folder / "n0", config=each("n0")))
            yield Powered({"n0": alone}, disks)
        else:
            yield Powered(stack.enter_context(clustered(folder, each)).nodes, disks)
