"""The peers that are Node's: `resumable-stream` over Redis, and the server of Durable Streams."""

import json
import shutil
from pathlib import Path

from bench.peers.installing import node_folder
from bench.peers.peer import About, Part, PeerError, Server, ports, post
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
        self._redis: Server
        self._apps: dict[str, Server] = {}

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
        self._redis = Server("redis", argv, redis, folder)
        await self._redis.start()
        for name, port in (("begin", begins), ("attach", attaches)):
            script = [node(), str(modules / "resumable_stream.mjs"), str(port), f"redis://{HOST}:{redis}"]
            self._apps[name] = Server(name, script, port, folder)
            await self._apps[name].start()

    async def stop(self) -> None:
        """End all."""
        for server in (*self._apps.values(), self._redis):
            await server.stop()

    async def begin(self, stream: str, work: Work) -> None:
        """Ask the one app."""
        await post(f"http://{HOST}:{self._apps['begin'].port}/runs/{stream}", work)

    def attaching(self, stream: str, seen: Seen | None = None) -> Request:
        """Attach at the other; the cursor is how many characters one has."""
        return Request(self._apps["attach"].port, f"/runs/{stream}?resumeAt={seen.characters if seen else 0}")

    async def kill(self, part: Part) -> None:
        """Kill one process; it is started again at once."""
        server = {"front": self._apps["attach"], "producer": self._apps["begin"], "store": self._redis}[part]
        await server.restart()

    def pids(self) -> list[int]:
        """All three."""
        return [pid for server in (self._redis, *self._apps.values()) for pid in server.pids()]


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
        self._server: Server
        self._producer: Server

    async def start(self, folder: Path) -> None:
        """Start the server, then the producer."""
        modules = await node_folder()
        port, producer = ports(2)
        data = [str(folder / "streams")] if self._durable else []
        self._server = Server("server", [node(), str(modules / "durable_server.mjs"), str(port), *data], port, folder)
        await self._server.start()
        argv = [node(), str(modules / "durable_producer.mjs"), str(producer), f"http://{HOST}:{port}"]
        self._producer = Server("producer", argv, producer, folder)
        await self._producer.start()

    async def stop(self) -> None:
        """End both."""
        await self._producer.stop()
        await self._server.stop()

    async def begin(self, stream: str, work: Work) -> None:
        """Ask the producer."""
        await post(f"http://{HOST}:{self._producer.port}/runs/{stream}", work)

    def attaching(self, stream: str, seen: Seen | None = None) -> Request:
        """Attach behind the offset that the last control event told (PROTOCOL.md, 5.8)."""
        offset = "-1"
        if seen is not None and seen.control:
            offset = json.loads(seen.control)["streamNextOffset"]
        return Request(self._server.port, f"/runs/{stream}?offset={offset}&live=sse")

    async def kill(self, part: Part) -> None:
        """Kill one process; it is started again at once."""
        await (self._producer if part == "producer" else self._server).restart()

    def pids(self) -> list[int]:
        """Both."""
        return [*self._server.pids(), *self._producer.pids()]
