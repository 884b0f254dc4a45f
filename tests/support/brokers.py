"""NATS in a container, for machines with a Docker engine."""

from pathlib import Path
from types import TracebackType
from typing import Self

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

IMAGE = "nats:2.12-alpine"
PORT = 4222
CONF = Path(__file__).parents[2] / "deploy" / "nats" / "nats.conf"
TOKEN = "for-tests"


class ContainerBroker:
    """A nats-server with JetStream in a container of its own, configured as docker-compose.yml does it."""

    def __init__(self) -> None:
        # Copied, not mounted: the engine may be on another machine.
        self._container = (
            DockerContainer(IMAGE)
            .with_env("DECOPILOT_NATS_TOKEN", f'"{TOKEN}"')
            .with_copy_into_container(CONF, "/etc/nats/nats.conf")
            .with_command(["nats-server", "--config", "/etc/nats/nats.conf"])
            .with_exposed_ports(PORT)
            .waiting_for(LogMessageWaitStrategy("Server is ready"))
        )

    @property
    def url(self) -> str:
        """Where clients connect; the token is in it."""
        return f"nats://{TOKEN}@{self._container.get_container_host_ip()}:{self._container.get_exposed_port(PORT)}"

    def __enter__(self) -> Self:
        self._container.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._container.stop()
