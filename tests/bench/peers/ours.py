"""Ours: `decopilot up`, whole, with an agent of one's own as the producer (docs/agents.md, docs/protocol.md)."""

import asyncio
import contextlib
import importlib.metadata
import json
import os
from pathlib import Path

from bench.peers.peer import About, Part, post
from bench.peers.reading import Request, Seen
from bench.peers.saying import Work
from support.stack import Stack, running_stack

TESTS = Path(__file__).parents[2]
UNLIMITED = "1000000"
SERVICES: dict[Part, str] = {"front": "gateway", "producer": "runner", "store": "nats"}


class Decopilot:
    """The product, as `up` starts it: one copy of each service."""

    def __init__(self) -> None:
        self.about = About(
            name="decopilot",
            version=importlib.metadata.version("decopilot"),
            docs="README, docs/agents.md, docs/protocol.md 20 - 28",
            durability="before delivery: every frame is fsynced (`sync_interval: always`)",
            hops="runner → nats-server (disk) → gateway → reader",
            parts={"front": "gateway", "producer": "runner", "store": "nats-server"},
            cant={},
        )
        self._stack: Stack | None = None
        self._token = ""
        self._running = contextlib.ExitStack()

    async def start(self, folder: Path) -> None:
        """Start `up`."""
        config = folder / "decopilot.toml"
        config.write_text('[agents.default]\nagent = "bench.peers.agent:talk"\n')
        per = {f"DECOPILOT_STREAMS{what}": UNLIMITED for what in ("", "_PER_USER", "_PER_ORG")}
        paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        env = {"PYTHONPATH": paths, **per}
        running = running_stack(folder, "--config", str(config), env=env)
        self._stack = await asyncio.to_thread(self._running.enter_context, running)
        self._token = await asyncio.to_thread(self._stack.token)

    async def stop(self) -> None:
        """End it."""
        await asyncio.to_thread(self._running.close)

    async def begin(self, stream: str, work: Work) -> None:
        """Post a message."""
        message = {"role": "user", "parts": [{"type": "text", "text": json.dumps(work)}]}
        url = f"{self._up.url}/local/decopilot/threads/{stream}/messages"
        await post(url, {"messages": [message]}, {"Authorization": f"Bearer {self._token}"})

    def attaching(self, stream: str, seen: Seen | None = None) -> Request:
        """Attach with the last event id; `rewind` says that chunks taken back are taken back."""
        cursor = seen.last_id if seen is not None and seen.last_id else "0-0"
        return Request(
            self._up.port,
            f"/local/decopilot/attach/{stream}?rewind=true",
            (("Authorization", f"Bearer {self._token}"), ("Last-Event-ID", cursor)),
        )

    async def kill(self, part: Part) -> None:
        """Kill a service; `up` starts it again."""
        await asyncio.to_thread(self._up.kill, SERVICES[part])

    def pids(self) -> list[int]:
        """Return what `up` started."""
        return [process.pid for process in self._up.processes() if process.pid is not None]

    @property
    def _up(self) -> Stack:
        assert self._stack is not None
        return self._stack
