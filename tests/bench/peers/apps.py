"""The peers that are Node's: `resumable-stream` over Redis, and the server of Durable Streams."""

import json
import shutil
from pathlib import Path

from bench.peers.installing import node_folder
from bench.peers.peer import About, Part, PeerError, Server, ports, post, started, stopped
from bench.peers.reading import Request, Seen
from bench.peers.saying import Work
from decopilot.cli.ports import HOST
from support.node import node


class ResumableStream:
    """Vercel's `resumable-stream` (npm), as its README's "Usage with explicit resumption" has it, over Debian's Redis.

    Two copies of the app, as behind a load balancer: one is asked to begin, the other to attach. With `durable`, Redis
    is set up as its own docs say is safest (redis.io/docs, "Redis persistence": `appendfsync always`).
    """

    def __init__(self, *, durable: bool = False) -> None:
        redis = "appendonly yes, appendfsync always" if durable else "Debian's defaults"
        self.about = About(
            name="resumable-stream, Redis `appendfsync always`" if durable else "resumable-stream",
            version="2.2.13",
            docs="github.com/vercel/resumable-stream README, 'Usage with explicit resumption'; redis.io 'Persistence'",
            durability=f"never: in the producer's memory and in pub/sub; Redis ({redis}) has one key a stream",
            hops="app → redis-server → app → reader",
            parts={"front": "app (attach)", "producer": "app (begin)", "store": "redis-server"},
            cant={
                "replay_ended": "a stream that has ended is answered by null: README ('Stream is already done', 422)",
            },
        )
        self._durable = durable
        self._servers: dict[Part, Server] = {}

    async def start(self, folder: Path) -> None:
        """Start Redis, then the app twice."""
        executable = shutil.which("redis-server")
        if executable is None:
            message = "redis-server is missing: apt-get install -y --no-install-recommends redis-server"
            raise PeerError(message)
        modules = await node_folder()
        redis, begins, attaches = ports(3)
        # Debian's file has the same save points as Redis without a file.
        kept = ["--appendonly", "yes", "--appendfsync", "always"] if self._durable else []
        argv = [executable, "--bind", HOST, "--port", str(redis), "--dir", str(folder), *kept]
        self._servers["store"] = Server("redis", argv, redis, folder)
        apps: dict[Part, int] = {"producer": begins, "front": attaches}
        for part, port in apps.items():
            script = [node(), str(modules / "resumable_stream.mjs"), str(port), f"redis://{HOST}:{redis}"]
            self._servers[part] = Server(part, script, port, folder)
        await started(self._servers.values())

    async def stop(self) -> None:
        """End all."""
        await stopped(self._servers.values())

    async def begin(self, stream: str, work: Work) -> None:
        """Ask the one app."""
        await post(f"http://{HOST}:{self._servers['producer'].port}/runs/{stream}", work)

    def attaching(self, stream: str, seen: Seen | None = None) -> Request:
        """Attach at the other; the cursor is how many characters one has."""
        return Request(self._servers["front"].port, f"/runs/{stream}?resumeAt={seen.characters if seen else 0}")

    async def kill(self, part: Part) -> None:
        """Kill one process; it is started again at once."""
        await self._servers[part].restart()

    def pids(self) -> list[int]:
        """All three."""
        return [pid for server in self._servers.values() for pid in server.pids()]


class DurableStreams:
    """`@durable-streams/server` (npm), in memory or file-backed as its README's "Storage Modes" has it.

    Its producer is `@durable-streams/client`'s `IdempotentProducer`, which its README recommends for writes.
    """

    def __init__(self, *, durable: bool = False) -> None:
        how = "before delivery: every append is fsynced, LMDB for metadata" if durable else "never: in memory"
        self.about = About(
            name="durable-streams, file-backed" if durable else "durable-streams, in memory",
            version="0.3.7",
            docs="READMEs of @durable-streams/server, 'Storage Modes', and /client, 'High-Throughput Writes'",
            durability=how,
            hops="producer → server → reader",
            parts={"front": "server", "producer": "producer"},
            cant={
                "store": "the server is the store",
            },
        )
        self._durable = durable
        self._servers: dict[Part, Server] = {}

    async def start(self, folder: Path) -> None:
        """Start the server, then the producer."""
        modules = await node_folder()
        port, producer = ports(2)
        data = [str(folder / "streams")] if self._durable else []
        script = [node(), str(modules / "durable_server.mjs"), str(port), *data]
        self._servers["front"] = Server("server", script, port, folder)
        argv = [node(), str(modules / "durable_producer.mjs"), str(producer), f"http://{HOST}:{port}"]
        self._servers["producer"] = Server("producer", argv, producer, folder)
        await started(self._servers.values())

    async def stop(self) -> None:
        """End both."""
        await stopped(self._servers.values())

    async def begin(self, stream: str, work: Work) -> None:
        """Ask the producer."""
        await post(f"http://{HOST}:{self._servers['producer'].port}/runs/{stream}", work)

    def attaching(self, stream: str, seen: Seen | None = None) -> Request:
        """Attach behind the offset that the last control event told (PROTOCOL.md, 5.8)."""
        offset = "-1"
        if seen is not None and seen.control:
            offset = json.loads(seen.control)["streamNextOffset"]
        return Request(self._servers["front"].port, f"/runs/{stream}?offset={offset}&live=sse")

    async def kill(self, part: Part) -> None:
        """Kill one process; it is started again at once."""
        await self._servers[part].restart()

    def pids(self) -> list[int]:
        """Both."""
        return [pid for server in self._servers.values() for pid in server.pids()]
