"""Brokers of tests: every service is let in as itself and may do what it is meant to; the tests are the operator."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from decopilot.cli.broker import EmbeddedBroker, broker_environment
from decopilot.kit.settings import Settings
from decopilot.log.permissions import OPERATOR, USERS

IMAGE = "nats:2.12-alpine"
PORT = 4222
CONF = Path(__file__).parents[2] / "deploy" / "nats" / "nats.conf"
PASSWORDS: Mapping[str, str] = {user: f"the password of {user}" for user in USERS}
_REFUSED = re.compile(r"(?:Publish|Subscription) Violation - (.*)")


def login(user: str) -> dict[str, object]:
    """Settings by which a service is let in."""
    return {"nats_user": user, "nats_password": PASSWORDS[user]}


def login_environment(url: str, user: str) -> dict[str, str]:
    """The same for a process, with the way to the broker."""
    return broker_environment(url, user, PASSWORDS[user])


def as_user(settings: Settings, user: str) -> Settings:
    """Make settings those of another user."""
    return Settings.model_validate(settings.model_dump() | login(user))


def be_operator() -> None:
    """Have all settings be the operator's that don't say otherwise: those of tests, that is."""
    os.environ |= {"DECOPILOT_NATS_USER": OPERATOR, "DECOPILOT_NATS_PASSWORD": PASSWORDS[OPERATOR]}


@contextmanager
def embedded(folder: Path, *, port: int = 0, config: Mapping[str, object] | None = None) -> Iterator[EmbeddedBroker]:
    """Run a broker that a test may kill, stop and restart; fails the test if it refused anybody anything."""
    broker = WatchedBroker(folder, port=port, passwords=PASSWORDS, config=config)
    with broker:
        yield broker
    assert [] == broker.refused


class WatchedBroker(EmbeddedBroker):
    """A broker that remembers whom it refused what."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # handed on as they come
        self.refused: list[str] = []

    def _end(self, number: int) -> None:
        super()._end(number)  # type: ignore[arg-type]
        log = self.store_dir / "nats.log"  # the next start begins it anew
        if log.exists():
            self.refused += _REFUSED.findall(log.read_text(errors="replace"))


class ContainerBroker:
    """A nats-server with JetStream in a container of its own, configured as docker-compose.yml does it."""

    def __init__(self) -> None:
        # Copied, not mounted: the engine may be on another machine.
        self._container = (
            DockerContainer(IMAGE)
            .with_copy_into_container(CONF, "/etc/nats/nats.conf")
            .with_command(["nats-server", "--config", "/etc/nats/nats.conf"])
            .with_exposed_ports(PORT)
            .waiting_for(LogMessageWaitStrategy("Server is ready"))
        )
        for user, password in PASSWORDS.items():
            self._container.with_env(f"DECOPILOT_NATS_PASSWORD_{user.upper()}", f'"{password}"')

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{self._container.get_container_host_ip()}:{self._container.get_exposed_port(PORT)}"

    def __enter__(self) -> Self:
        self._container.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._container.stop()
