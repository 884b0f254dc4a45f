"""Faults of the broker's nodes: one of them is killed, or stands still, and comes back."""

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from decopilot.log.store import UNCERTAIN, Store

LOOK_S = 0.05


class Node(Protocol):
    """A nats-server process; a supervised one is started again by its supervisor."""

    @property
    def name(self) -> str:
        """Under which it leads streams."""

    @property
    def pid(self) -> int | None:
        """Its process, if there is one."""

    async def be_up(self) -> None:
        """See to it that it runs, or wait for who does; return once it takes part again."""


@dataclass(slots=True)
class NodeKill:
    """SIGKILL, and in the end a start on the same folder."""

    node: Node
    kind: str = "node-kill"
    _is_down: bool = False

    @property
    def target(self) -> str:
        """The node."""
        return self.node.name

    async def begin(self) -> None:
        """Kill it."""
        self._is_down = True
        _signal(self.node.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Have it back."""
        if self._is_down:
            await self.node.be_up()
            self._is_down = False


@dataclass(slots=True)
class NodeStop:
    """SIGSTOP and SIGCONT: its connections stand, and nothing is answered."""

    node: Node
    kind: str = "node-stop"
    _stopped: set[int] = field(default_factory=set)

    @property
    def target(self) -> str:
        """The node."""
        return self.node.name

    async def begin(self) -> None:
        """Stop it."""
        if (pid := self.node.pid) is not None:
            self._stopped.add(pid)
            _signal(pid, signal.SIGSTOP)

    async def end(self) -> None:
        """Let it go on."""
        while self._stopped:
            # It may have been killed meanwhile.
            _signal(self._stopped.pop(), signal.SIGCONT)


def _signal(pid: int | None, number: signal.Signals) -> None:
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


async def leader_of(store: Store, stream: str) -> str:
    """Name the node that leads a stream, once there is one."""
    while True:
        with suppress(*UNCERTAIN):
            found = (await store.js.stream_info(stream)).cluster
            if found is not None and found.leader:
                return str(found.leader)
        await asyncio.sleep(LOOK_S)
