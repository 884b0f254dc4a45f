"""A real nginx: Debian's package, without privileges, in a folder of its own."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.stack import free_port

SHIPPED = [Path(__file__).parents[2] / "deploy" / "nginx" / name for name in ("gateways.conf", "decopilot.conf")]
READY_S = 10.0
NOBODY = 65534

_AROUND = """
daemon off;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{http}
}}
"""

_PLAIN = """
    upstream gateways {{ {servers} }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://gateways; }}
    }}
"""

Configure = Callable[[int, Sequence[int]], str]
"""Makes what stands in `http { }`, of the port to listen on and the ports of gateways."""


def executable() -> str:
    """Find nginx; without it the test is NOT RUN on a developer's machine, and fails in CI."""
    # Debian puts it where only root's shells look.
    found = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("nginx is missing: sudo apt-get install -y nginx-light")
        pytest.skip("NOT RUN: nginx is missing: sudo apt-get install -y nginx-light")
    return found


def plain(port: int, gateways: Sequence[int]) -> str:
    """Configure what everybody begins with: where to listen, whom to ask, and nothing else."""
    return _PLAIN.format(port=port, servers=" ".join(f"server 127.0.0.1:{gateway};" for gateway in gateways))


def deaf(port: int, gateways: Sequence[int]) -> str:
    """Configure the same, and that what a gateway says of buffers is not heard."""
    return plain(port, gateways).replace("proxy_pass ", "proxy_ignore_headers X-Accel-Buffering; proxy_pass ")


def shipped(port: int, gateways: Sequence[int]) -> str:
    """Configure what we give to operators, with the ports of two gateways and no log."""
    text = "\n".join(file.read_text() for file in SHIPPED)
    servers = iter(gateways)
    text, count = re.subn(r"(?<=server 127\.0\.0\.1:)\d+", lambda _: str(next(servers)), text)
    assert count == len(gateways)
    for theirs, ours in (("listen 80;", f"listen 127.0.0.1:{port};"), (r"access_log [^#]*?;", "access_log off;")):
        text, count = re.subn(rf"(?m)^(\s*){theirs}", rf"\1{ours}", text)
        assert 1 == count
    return text


@dataclass(frozen=True, slots=True)
class Folder:
    """Where an nginx has all that is its own; it belongs to nobody, as nginx does, where the test is root."""

    path: Path
    command: tuple[str, ...]
    identity: dict[str, Any]


@contextmanager
def _folder(http: str) -> Iterator[Folder]:
    # Not in pytest's: that is closed to everybody but who runs the tests.
    with tempfile.TemporaryDirectory(prefix="decopilot-nginx-") as name:
        path = Path(name)
        (path / "nginx.conf").write_text(_AROUND.format(http=http))
        identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            identity = {"user": NOBODY, "group": NOBODY, "extra_groups": ()}
            os.chown(path, NOBODY, NOBODY)
        yield Folder(path, (executable(), "-p", f"{path}/", "-c", "nginx.conf"), identity)


def checked(http: str) -> str:
    """Let nginx check a configuration; returns what it has to say against it."""
    with _folder(http) as folder:
        ran = subprocess.run(
            [*folder.command, "-t"], capture_output=True, text=True, check=False, cwd=folder.path, **folder.identity
        )
    said = [line for line in ran.stderr.splitlines() if "[warn]" in line or "[emerg]" in line]
    return "\n".join(said) if said or ran.returncode == 0 else ran.stderr


@contextmanager
def nginx(configure: Configure, gateways: Sequence[int], log: Path) -> Iterator[str]:
    """Run nginx before gateways; yields its URL."""
    port = free_port()
    with _folder(configure(port, gateways)) as folder, log.open("wb") as out:
        process = subprocess.Popen(
            folder.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder.path, **folder.identity
        )
        try:
            deadline = time.monotonic() + READY_S
            while not _listens(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(READY_S)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
