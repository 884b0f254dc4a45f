"""Settings from the environment: the only place that reads it."""

import os
import socket
import ssl
import sys
from typing import Literal, Self, TypeVar

from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from decopilot.kit.exits import CANNOT_RUN


class Settings(BaseSettings):
    """What every service is told, each as `DECOPILOT_<NAME>`; one that is empty is not set."""

    model_config = SettingsConfigDict(env_prefix="DECOPILOT_", env_ignore_empty=True, extra="ignore", frozen=True)

    nats_url: str = "nats://127.0.0.1:4222"
    nats_user: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]+$")
    nats_password: SecretStr | None = None
    nats_password_file: FilePath | None = None
    nats_tls_ca: FilePath | None = None
    nats_tls_cert: FilePath | None = None
    nats_tls_key: FilePath | None = None
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

    @property
    def nats_secret(self) -> str | None:
        """The password, wherever it is; a file's without what ends its line.

        Raises:
            OSError: the file can't be read.

        """
        if self.nats_password_file is not None:
            return self.nats_password_file.read_text().rstrip("\r\n")
        return None if self.nats_password is None else self.nats_password.get_secret_value()

    @property
    def nats_uses_tls(self) -> bool:
        """Whether the broker must prove who it is: where there is a CA to judge it by, or a `tls://` address."""
        return self.nats_tls_ca is not None or any(url.startswith("tls://") for url in self.nats_servers)

    def nats_tls(self) -> ssl.SSLContext:
        """Make the TLS context that the broker is judged by.

        Raises:
            OSError: a certificate or a key can't be read, or is none.

        """
        context = ssl.create_default_context(cafile=self.nats_tls_ca)
        if self.nats_tls_cert is not None:
            # Without a password of our own, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self.nats_tls_cert, self.nats_tls_key, password="")
        return context

    @field_validator("nats_tls_ca")
    @classmethod
    def _is_certificate(cls, file: FilePath | None) -> FilePath | None:
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:
            msg = f"{file} can't be read, or holds no certificate in PEM"
            raise ValueError(msg) from error
        return file

    @field_validator("nats_password_file")
    @classmethod
    def _is_readable(cls, file: FilePath | None) -> FilePath | None:
        try:
            if file is not None:
                file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{file} can't be read"
            raise ValueError(msg) from error
        return file

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.nats_password is not None and self.nats_password_file is not None:
            msg = "DECOPILOT_NATS_PASSWORD and DECOPILOT_NATS_PASSWORD_FILE exclude each other"
            raise ValueError(msg)
        has_password = self.nats_password is not None or self.nats_password_file is not None
        if has_password != (self.nats_user is not None):
            msg = "DECOPILOT_NATS_USER and DECOPILOT_NATS_PASSWORD (or DECOPILOT_NATS_PASSWORD_FILE) go together"
            raise ValueError(msg)
        if (self.nats_tls_cert is None) != (self.nats_tls_key is None):
            msg = "DECOPILOT_NATS_TLS_CERT and DECOPILOT_NATS_TLS_KEY go together"
            raise ValueError(msg)
        if self.nats_tls_cert is not None and not self.nats_uses_tls:
            msg = "DECOPILOT_NATS_TLS_CERT needs DECOPILOT_NATS_TLS_CA, or a tls:// address"
            raise ValueError(msg)
        if self.nats_tls_cert is not None:
            try:
                self.nats_tls()
            except OSError as error:
                msg = "DECOPILOT_NATS_TLS_CERT and DECOPILOT_NATS_TLS_KEY are no certificate and its key in PEM"
                raise ValueError(msg) from error
        return self


SettingsT = TypeVar("SettingsT", bound=Settings)


def read(settings_type: type[SettingsT]) -> SettingsT:
    """Read settings from the environment; where they are wrong, say each mistake in a line and exit with 78."""
    try:
        return settings_type()
    except ValidationError as error:
        prefix = settings_type.model_config.get("env_prefix", "")
        for entry in error.errors(include_url=False, include_context=False, include_input=False):
            # What several settings together break names them itself.
            name = "_".join(map(str, entry["loc"])).upper()
            said = entry["msg"].removeprefix("Value error, ")
            sys.stderr.write(f"{prefix}{name}: {said}\n" if name else f"{said}\n")
        sys.exit(CANNOT_RUN)
    except SettingsError as error:
        sys.stderr.write(f"{error}: a table is given as JSON\n")
        sys.exit(CANNOT_RUN)
