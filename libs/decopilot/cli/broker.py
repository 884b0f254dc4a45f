"""An embedded nats-server: one broker on the loopback interface that keeps its data in one folder."""

import fcntl
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from decopilot.cli.errors import BrokerError
from decopilot.cli.nats_binary import find_binary
from decopilot.cli.ports import HOST, random_port
from decopilot.cli.spawn import bound_to_parent
from decopilot.cli.state import try_lock, write_private
from decopilot.log import permissions

MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
READY_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
LOCK_PATIENCE_S = 1.0  # a server whose parent was killed needs a moment to end
POLL_S = 0.01
PORT_ATTEMPTS = 5
LOG_TAIL_CHARS = 2000
HEALTH_PATH = "/healthz?js-enabled-only=true"


class EmbeddedBroker:
    """A nats-server with JetStream; keeps its port, its users and its data over any number of restarts.

    `port` 0 takes a free one. `passwords` are those of its users, each of whom may do what `log/permissions.py` says;
    None lets everybody in. `sync_interval` "always" acknowledges only what is on
    the disk, None leaves the server's default (2 min). `config` is merged into the server's configuration.

    `start`, `stop`, `kill` and `restart` are for programs that want a broker and nothing else; `up` calls `prepare`
    and `release`, and supervises the process itself.
    """

    def __init__(
        self,
        store_dir: Path,
        *,
        port: int = 0,
        passwords: Mapping[str, str] | None = None,
        sync_interval: str | None = "always",
        config: Mapping[str, object] | None = None,
    ) -> None:
        self.store_dir = store_dir.absolute()
        self.port = port
        self.monitor_port = 0
        self.lock_descriptor: int | None = None
        self._any_port = port == 0
        self._passwords = passwords
        self._sync_interval = sync_interval
        self._config = dict(config or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect; no password is in it."""
        return f"nats://{HOST}:{self.port}"

    @property
    def monitor_url(self) -> str:
        """Where the server's HTTP monitoring answers."""
        return f"http://{HOST}:{self.monitor_port}"

    @property
    def health_url(self) -> str:
        """What answers 200 once JetStream takes messages."""
        return self.monitor_url + HEALTH_PATH

    @property
    def pid(self) -> int | None:
        """The running server's process id."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def prepare(self) -> tuple[str, ...]:
        """Take the folder, choose the ports, write the configuration; return the command line of the server.

        Raises `BrokerError` where another server works in the folder. The server should inherit `lock_descriptor`:
        then the folder stays taken for as long as it lives, even if the process that started it is gone.
        """
        self._take_folder()
        self.port = self.port or random_port()
        self.monitor_port = self.monitor_port or random_port({self.port})
        path = self.store_dir / "nats.conf"
        # The file holds the passwords, so it is private: neither the command line nor the environment of the server
        # shows them.
        write_private(path, configuration_text(self._configuration()))
        return (str(find_binary()), "-c", str(path))

    def release(self) -> None:
        """Give the folder back, once the server has ended."""
        if self.lock_descriptor is not None:
            os.close(self.lock_descriptor)
            self.lock_descriptor = None

    def start(self) -> Self:
        """Start the server and wait until JetStream takes messages; raises `BrokerError` with its last words if not."""
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._launch()
            if self._becomes_ready():
                self._any_port = False  # clients may know it now
                return self
            words = self._last_words()
            self.kill()
            # Between our look and the server's bind somebody else may have taken the port.
            if "address already in use" not in words or not self._any_port or attempt == PORT_ATTEMPTS:
                self.release()
                message = f"nats-server did not start: {words}"
                raise BrokerError(message)
            self.port = self.monitor_port = 0
        return self

    def stop(self) -> None:
        """End the server cleanly and give its folder back."""
        self._end(signal.SIGTERM)
        self.release()

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL); the folder stays ours, `start` goes on with the same port."""
        self._end(signal.SIGKILL)

    def restart(self) -> Self:
        """End the server cleanly, if it runs, and start it on the same port and data."""
        self._end(signal.SIGTERM)
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _take_folder(self) -> None:
        """Lock the store: nats-server itself takes no lock, and two servers on one store ruin it."""
        if self.lock_descriptor is not None:
            return
        self.store_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.store_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while not try_lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                os.close(descriptor)
                message = f"{self.store_dir} is in use by another nats-server (pid {self._other_pid()})."
                raise BrokerError(message)
            time.sleep(POLL_S)
        self.lock_descriptor = descriptor

    def _other_pid(self) -> str:
        try:
            return (self.store_dir / "nats.pid").read_text().strip()
        except OSError:
            return "unknown"

    def _configuration(self) -> dict[str, object]:
        jetstream: dict[str, object] = {"store_dir": str(self.store_dir)}
        if self._sync_interval is not None:
            jetstream["sync_interval"] = self._sync_interval
        ours: dict[str, object] = {
            "listen": f"{HOST}:{self.port}",
            "http": f"{HOST}:{self.monitor_port}",
            "server_name": "decopilot",
            "pid_file": str(self.store_dir / "nats.pid"),
            "max_payload": MAX_PAYLOAD_BYTES,
            "jetstream": jetstream,
        }
        if self._passwords is not None:
            ours["authorization"] = {"users": permissions.users(self._passwords)}
        return _merged(ours, self._config)

    def _launch(self) -> None:
        argv = self.prepare()
        descriptors = () if self.lock_descriptor is None else (self.lock_descriptor,)
        with (self.store_dir / "nats.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command line is ours
                bound_to_parent(argv, signal.SIGTERM),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=descriptors,
                start_new_session=True,  # Ctrl-C must reach the program, which ends its clients first
            )

    def _becomes_ready(self) -> bool:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while self.pid is not None and time.monotonic() < deadline:
            connection = http.client.HTTPConnection(HOST, self.monitor_port, timeout=1)
            try:
                connection.request("GET", HEALTH_PATH)
                if connection.getresponse().status == http.HTTPStatus.OK:
                    return True
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            time.sleep(POLL_S)
        return False

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _last_words(self) -> str:
        return (self.store_dir / "nats.log").read_text(errors="replace")[-LOG_TAIL_CHARS:].strip()


def broker_environment(url: str, user: str, password: str) -> dict[str, str]:
    """Tell a process by its environment where the broker is, and who it is there."""
    return {"DECOPILOT_NATS_URL": url, "DECOPILOT_NATS_USER": user, "DECOPILOT_NATS_PASSWORD": password}


def configuration_text(configuration: Mapping[str, object]) -> str:
    """Write a server's configuration: JSON without its braces is one, with every string quoted as it must be."""
    return json.dumps(configuration, indent=1, ensure_ascii=False)[1:-1].lstrip("\n")


def _merged(ours: Mapping[str, object], theirs: Mapping[str, object]) -> dict[str, object]:
    merged = dict(ours)
    for key, value in theirs.items():
        mine = merged.get(key)
        merged[key] = _merged(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return merged
