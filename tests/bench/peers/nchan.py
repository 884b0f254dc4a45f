"""Nchan, the pub/sub module of nginx (Debian: nginx-light, libnginx-mod-nchan)."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

from bench.peers.peer import About, Part, PeerError, Server, ports, post, started, stopped
from bench.peers.reading import Request, Seen
from bench.peers.saying import Work
from decopilot.cli.ports import HOST

TESTS = Path(__file__).parents[2]
MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
_CONFIGURATION = """
load_module {module};
daemon off;
user root;
worker_processes auto;
worker_rlimit_nofile 8192;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    nchan_shared_memory_size 256M;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen {host}:{port};
        location ~ /pub/(\\w+)$ {{
            nchan_publisher;
            nchan_channel_id $1;
            nchan_message_buffer_length 100000;
            nchan_message_timeout 1h;
        }}
        location ~ /sub/(\\w+)$ {{
            nchan_subscriber eventsource;
            nchan_channel_id $1;
            nchan_subscriber_first_message oldest;
        }}
    }}
}}
"""


class Nchan:
    """As its README has it: "The Basics", "EventSource", "Message Storage"; the buffer holds the longest run whole."""

    def __init__(self) -> None:
        self.about = About(
            name="nginx nchan",
            version="1.3.6 (Debian 12)",
            docs="github.com/slact/nchan README, 'The Basics', 'EventSource', 'Message Storage'",
            durability="never: in shared memory",
            hops="producer → nginx → reader",
            parts={"front": "nginx", "producer": "producer"},
            cant={
                "store": "nginx is the store",
            },
        )
        self._servers: dict[Part, Server] = {}

    async def start(self, folder: Path) -> None:
        """Start nginx, then the producer."""
        executable = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
        if executable is None or not await asyncio.to_thread(MODULE.is_file):
            message = "nchan is missing: apt-get install -y --no-install-recommends nginx-light libnginx-mod-nchan"
            raise PeerError(message)
        port, producer = ports(2)
        (folder / "nginx.conf").write_text(_CONFIGURATION.format(module=MODULE, host=HOST, port=port))
        nginx = [executable, "-p", f"{folder}/", "-c", "nginx.conf"]
        self._servers["front"] = Server("nginx", nginx, port, folder)
        argv = [sys.executable, "-m", "bench.peers.publishing", str(producer), f"http://{HOST}:{port}/pub"]
        self._servers["producer"] = Server("producer", argv, producer, folder, {"PYTHONPATH": str(TESTS)})
        await started(self._servers.values())

    async def stop(self) -> None:
        """End both."""
        await stopped(self._servers.values())

    async def begin(self, stream: str, work: Work) -> None:
        """Ask the producer."""
        await post(f"http://{HOST}:{self._servers['producer'].port}/runs/{_channel(stream)}", work)

    def attaching(self, stream: str, seen: Seen | None = None) -> Request:
        """Attach with the last event id; without one, from the oldest message on."""
        resumed = (("Last-Event-ID", seen.last_id),) if seen is not None and seen.last_id else ()
        return Request(self._servers["front"].port, f"/sub/{_channel(stream)}", resumed)

    async def kill(self, part: Part) -> None:
        """Kill nginx with its workers, or the producer; it is started again at once."""
        await self._servers[part].restart()

    def pids(self) -> list[int]:
        """Nginx with its workers, and the producer."""
        return [pid for server in self._servers.values() for pid in server.pids()]


def _channel(stream: str) -> str:
    return stream.replace("-", "_")
