"""LangGraph's development server, `langgraph dev` of PyPI's `langgraph-cli[inmem]`."""

import json
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from bench.peers.installing import langgraph_folder
from bench.peers.peer import About, Part, Server, ports, post, started, stopped
from bench.peers.reading import Request, Seen
from bench.peers.saying import Work
from decopilot.cli.ports import HOST


class LangGraph:
    """As docs.langchain.com has it: "LangGraph CLI" (`dev`), "Streaming API" (`stream_resumable`, join with an id)."""

    def __init__(self) -> None:
        self.about = About(
            name="langgraph dev",
            version="langgraph-api 0.16.7, langgraph-runtime-inmem 0.36.7",
            docs="docs.langchain.com 'LangGraph CLI', 'Streaming API' (stream_resumable, join with Last-Event-ID)",
            durability="never while it runs: in memory; the licensed Redis/Postgres runtime can't be measured here",
            hops="server (queue, graph and stream in one process) → reader",
            parts={"front": "server"},
            cant={
                "producer": "the server is the producer",
                "store": "the server is the store",
            },
        )
        self._servers: list[Server] = []
        self._runs: dict[str, str] = {}

    async def start(self, folder: Path) -> None:
        """Start the server; what it keeps goes into the folder."""
        files = await langgraph_folder()
        for name in ("graph.py", "saying.py", "langgraph.json"):
            (folder / name).write_bytes((files / name).read_bytes())
        (port,) = ports(1)
        executable = str(files / "venv" / "bin" / "langgraph")
        argv = [executable, "dev", "--no-browser", "--no-reload", "--host", HOST, "--port", str(port)]
        environment = {"LANGSMITH_TRACING": "false", "LANGGRAPH_CLI_NO_ANALYTICS": "1", "LOG_LEVEL": "warning"}
        server = Server("server", [*argv, "--server-log-level", "warning"], port, folder, environment)
        self._servers = [server]
        await started(self._servers)

    async def stop(self) -> None:
        """End it."""
        await stopped(self._servers)

    async def begin(self, stream: str, work: Work) -> None:
        """Make the thread, and a background run whose stream can be resumed."""
        url = f"http://{HOST}:{self._servers[0].port}/threads"
        thread = str(uuid5(NAMESPACE_URL, stream))
        await post(url, {"thread_id": thread, "if_exists": "do_nothing"})
        asked = {
            "assistant_id": "talk",
            "input": {"work": work},
            "stream_mode": ["custom"],
            "stream_resumable": True,
            "on_disconnect": "continue",
        }
        run = json.loads(await post(f"{url}/{thread}/runs", asked))["run_id"]
        self._runs[stream] = f"/threads/{thread}/runs/{run}/stream?stream_mode=custom"

    def attaching(self, stream: str, seen: Seen | None = None) -> Request:
        """Join the run; `-1` is what its SDK sends for the beginning."""
        cursor = seen.last_id if seen is not None and seen.last_id else "-1"
        return Request(self._servers[0].port, self._runs[stream], (("Last-Event-ID", cursor),))

    async def kill(self, part: Part) -> None:
        """Kill the server, whichever part is meant; it is started again at once."""
        assert part == "front"
        await self._servers[0].restart()

    def pids(self) -> list[int]:
        """The server."""
        return self._servers[0].pids()
