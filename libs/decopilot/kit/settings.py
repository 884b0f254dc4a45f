"""Settings from the environment: the only place that reads it."""

import os
import socket
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What every service is told, each as `DECOPILOT_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="DECOPILOT_", extra="ignore", frozen=True)

    nats_url: str = "nats://127.0.0.1:4222"
    nats_token: SecretStr | None = None
    replicas: int = Field(default=1, ge=1, le=5)
    instance: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    health_host: str = "127.0.0.1"
    health_port: int | None = Field(default=None, ge=0, le=65535)
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def nats_servers(self) -> list[str]:
        """The servers of the broker: `nats_url` may name several, joined by commas."""
        return [server.strip() for server in self.nats_url.split(",") if server.strip()]
