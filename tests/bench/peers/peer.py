"""What a peer is to the measurements, and the processes that it consists of."""

import asyncio
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from bench.peers.reading import RefusedError, Request, Seen, attach
from bench.peers.saying import Work
from decopilot.cli.ports import HOST, random_port

Part = Literal["front", "producer", "store"]
"""What readers are connected to, what makes the chunks, what holds them; one process may be several of these."""
READY_S = 60.0
STOP_S = 10.0
POLL_S = 0.02


class PeerError(Exception):
    """A peer can't be measured here; it says why."""


@dataclass(frozen=True, slots=True)
class About:
    """What has to be known of a peer to read its figures."""

    name: str
    version: str
    docs: str
    """Where its configuration is from."""
    durability: str
    """When a chunk is where a dying process can't take it, relative to its delivery."""
    hops: str
    """The processes that a chunk passes."""
    parts: Mapping[Part, str]
    """Which process is killed as what; a part that is missing is none of its own."""
    cant: Mapping[str, str]
    """What it can't do by its design, by the name of the measurement: because of what, and where that is told."""


class Peer(Protocol):
    """A system that carries a run to its readers."""

    about: About

    async def start(self, folder: Path) -> None:
        """Start all of its processes, with their data in the folder."""

    async def stop(self) -> None:
        """End them."""

    async def begin(self, stream: str, work: Work) -> None:
        """Have its producer begin a run."""

    def attaching(self, stream: str, seen: Seen | None = None) -> Request:
        """Make the request that attaches: from the beginning, or behind what was seen, by its own cursor."""

    async def kill(self, part: Part) -> None:
        """Kill (-9) a part, and have it started again, as whoever supervises it does."""

    def pids(self) -> Sequence[int]:
        """All of its processes."""


@dataclass(slots=True)
class Server:
    """A process of a peer, that can be killed and started again as it was."""

    name: str
    argv: Sequence[str]
    port: int
    folder: Path
    environment: Mapping[str, str] | None = None
    process: "subprocess.Popen[bytes] | None" = None

    async def start(self) -> None:
        """Start it; returns once it listens.

        Raises:
            PeerError: it does not.

        """
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220  it is started, not waited for
                self.argv,
                cwd=self.folder,
                env={**os.environ, **(self.environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        await listening(self.port, self.dead)

    def dead(self) -> str | None:
        """Return its last lines, if it is not running."""
        if self.process is None or self.process.poll() is None:
            return None
        return f"{self.name} ended ({self.process.returncode}):\n{self.log()[-2000:]}"

    def log(self) -> str:
        """Return what it said."""
        return (self.folder / f"{self.name}.log").read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to what it started."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    async def kill(self) -> None:
        """Kill it; returns once it is gone."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            await asyncio.to_thread(self.process.wait)

    async def restart(self) -> None:
        """Kill it and start it again at once."""
        await self.kill()
        await self.start()

    async def stop(self) -> None:
        """End it in order, or kill it."""
        self.signal(signal.SIGTERM)
        try:
            if self.process is not None:
                await asyncio.to_thread(self.process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            await self.kill()

    def pids(self) -> list[int]:
        """Return it, and its children."""
        if self.process is None:
            return []
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            return [self.process.pid, *map(int, children.read_text().split())]
        except OSError:
            return [self.process.pid]


async def started(servers: Iterable[Server]) -> None:
    """Start servers, each once the one before it listens."""
    for server in servers:
        await server.start()


async def stopped(servers: Iterable[Server]) -> None:
    """End servers, the last one first."""
    for server in reversed(list(servers)):
        await server.stop()


async def listening(port: int, dead: Callable[[], str | None]) -> None:
    """Wait until a port of ours takes connections.

    Raises:
        PeerError: its process ended, or time is up.

    """
    deadline = asyncio.get_running_loop().time() + READY_S
    while True:
        if (why := dead()) is not None:
            raise PeerError(why)
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            if asyncio.get_running_loop().time() > deadline:
                message = f"nobody listens on port {port} after {READY_S:g} s"
                raise PeerError(message) from None
            await asyncio.sleep(POLL_S)
        else:
            writer.close()
            return


async def attached(request: Request, seen: Seen, on_event: Callable[[], None] | None = None) -> None:
    """Attach once, and have it read in the background; a stream that is not there yet is asked for again."""
    deadline = asyncio.get_running_loop().time() + READY_S
    while True:
        try:
            await attach(request, seen, on_event)
        except (RefusedError, OSError):
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(POLL_S)
        else:
            return


async def post(url: str, body: object, headers: Mapping[str, str] | None = None) -> bytes:
    """POST JSON."""

    def ask() -> bytes:
        asked = urllib.request.Request(
            url, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})}
        )
        with urllib.request.urlopen(asked, timeout=READY_S) as answer:
            return bytes(answer.read())

    return await asyncio.to_thread(ask)


def ports(count: int) -> list[int]:
    """Choose free ports."""
    chosen: list[int] = []
    while len(chosen) < count:
        chosen.append(random_port(set(chosen)))
    return chosen
