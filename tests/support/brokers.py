"""NATS in a container, for machines with a Docker engine."""

from types import TracebackType
from typing import Self

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

IMAGE = "nats:2.12-alpine"
PORT = 4222


class ContainerBroker:
    """A nats-server with JetStream in a container of its own."""

    def __init__(self) -> None:
        self._container = (
            DockerContainer(IMAGE)
            .with_command("-js -sd /data -m 8222")
            .with_exposed_ports(PORT)
            .waiting_for(LogMessageWaitStrategy("Server is ready"))
        )

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{self._container.get_container_host_ip()}:{self._container.get_exposed_port(PORT)}"

    def __enter__(self) -> Self:
        self._container.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._container.stop()
