"""A fleet: every copy of every service as a process, of whichever version, and replaced one by one."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import jwt

from decopilot.cli.broker import EmbeddedBroker
from decopilot.cli.state import ProcessInfo
from decopilot.kit.settings import Settings
from decopilot.log.permissions import OPERATOR
from rolling.versions import Version
from support.brokers import embedded, login, login_environment
from support.services import UNLIMITED, http_status
from support.stack import free_port

SECRET = "a secret of thirty-two characters"
READY_S = 300.0
LEFT_S = 120.0


@dataclass(slots=True)
class Copy:
    """One copy of a service."""

    service: str
    index: int
    port: int
    process: subprocess.Popen[bytes]
    version: Version


@dataclass(slots=True)
class Fleet:
    """What runs: a `Ground` of the chaos suite."""

    broker: EmbeddedBroker
    folder: Path
    settings: Mapping[str, str]
    copies: list[Copy] = field(default_factory=list)

    @property
    def operator(self) -> Settings:
        """Settings that lead to the broker, as the one who may do everything there."""
        return Settings.model_validate({"nats_url": self.broker.url} | login(OPERATOR))

    def token(self, org: str, user: str) -> str:
        """A token of an owner of an org."""
        return jwt.encode({"sub": user, "orgs": {org: "owner"}, "exp": int(time.time()) + 86_400}, SECRET, "HS256")

    def processes(self) -> Sequence[ProcessInfo]:
        """What runs."""
        return [
            ProcessInfo(
                service=copy.service, index=copy.index, pid=copy.process.pid, port=copy.port, health_url="", state=""
            )
            for copy in self.copies
        ]

    def provision(self, version: Version) -> None:
        """Bring the broker to the topology of a version."""
        command = [version.python, "-m", "decopilot.cli", "provision"]
        environment = {**os.environ, **login_environment(self.broker.url, "provision"), **version.environment}
        subprocess.run(command, env=environment, check=True, capture_output=True)

    async def launch(self, version: Version, scale: Mapping[str, int]) -> None:
        """Provision, and start so many copies of each service."""
        await asyncio.to_thread(self.provision, version)
        for service, count in scale.items():
            self.copies += [self._start(service, index, free_port(), version) for index in range(1, count + 1)]
        await asyncio.gather(*(self._ready(copy) for copy in self.copies))

    async def replace(self, service: str, version: Version, note: Callable[[Copy], None]) -> None:
        """Replace the copies of a service one after the other; `note` is told of each that is asked to leave.

        A new one is ready before an old one leaves, except at a gateway's door, where there is room for one.
        """
        for place, old in [(place, copy) for place, copy in enumerate(self.copies) if copy.service == service]:
            is_door = service == "gateway"
            if not is_door:
                new = self._start(service, old.index, free_port(), version)
                await self._ready(new)
                self.copies[place] = new
            note(old)
            old.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(old.process.wait, LEFT_S) == 0, f"{service} did not leave in order"
            if is_door:
                self.copies[place] = new = self._start(service, old.index, old.port, version)
                await self._ready(new)

    def log(self) -> Iterator[str]:
        """What all of them logged."""
        for file in sorted(self.folder.glob("*.log")):
            yield from file.read_text(errors="replace").splitlines()

    def _start(self, service: str, index: int, port: int, version: Version) -> Copy:
        own = {"HEALTH_PORT": str(port)}
        if service == "gateway":
            own = {"HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(port), "JWT_SECRET": SECRET}
        told = {f"DECOPILOT_{name.upper()}": str(value) for name, value in (UNLIMITED | own).items()}
        environment = {**os.environ, **login_environment(self.broker.url, service), **told, **self.settings}
        with (self.folder / f"{service}-{index}-{version.name}.log").open("ab") as out:
            process = subprocess.Popen(
                [version.python, "-m", f"decopilot_{service}"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**environment, **version.environment},
            )
        return Copy(service, index, port, process, version)

    async def _ready(self, copy: Copy) -> None:
        deadline = time.monotonic() + READY_S
        while await asyncio.to_thread(http_status, copy.port, "/readyz") != 200:
            assert copy.process.poll() is None, f"{copy.service} of {copy.version.name} ended: {self.folder}"
            assert time.monotonic() < deadline, f"{copy.service} of {copy.version.name} is not ready: {self.folder}"
            await asyncio.sleep(0.1)

    def end(self) -> None:
        """End all that runs."""
        for copy in self.copies:
            copy.process.kill()
            copy.process.wait()


@contextmanager
def fleet(folder: Path, settings: Mapping[str, str]) -> Iterator[Fleet]:
    """Run a broker, and whatever is started, while the context is open."""
    with embedded(folder / "nats") as broker:
        running = Fleet(broker, folder, settings)
        try:
            yield running
        finally:
            running.end()
