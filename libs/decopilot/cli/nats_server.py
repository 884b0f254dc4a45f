"""The configuration of a NATS server in which each service has a user of its own, and the files of their secrets."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from decopilot.cli.broker import MAX_PAYLOAD_BYTES, broker_environment, configuration_text
from decopilot.cli.errors import CliError
from decopilot.cli.state import SECRET_BYTES, write_private
from decopilot.log.permissions import USERS, users

VARIABLE = "DECOPILOT_NATS_PASSWORD_"
"""How the variables begin that stand for passwords where none are written."""
_QUOTED_VARIABLE = re.compile(rf'"(\${VARIABLE}[A-Z]+)"')
_PASSWORD = re.compile(r"^DECOPILOT_NATS_PASSWORD=(.+)$", re.MULTILINE)
HEADER = """\
# NATS for Decopilot: a user for each service, who may do what that service does and no more (docs/nats.md).
# Written by `decopilot nats-config`; write it anew after an update, which may need other permissions.
"""


@dataclass(frozen=True, slots=True)
class Tls:
    """The server's certificate and key, the CA that clients know it by; with `verify` they show one of that CA too."""

    cert: Path
    key: Path
    ca: Path
    verify: bool = False


@dataclass(frozen=True, slots=True)
class Server:
    """What is said of the server beside its users."""

    listen: str = "0.0.0.0:4222"
    monitor: str = "0.0.0.0:8222"
    store_dir: Path = Path("/data")
    tls: Tls | None = None


def configuration(server: Server, passwords: Mapping[str, str] | None = None) -> str:
    """Write the server's configuration; without passwords it names the variables that the server finds them in."""
    told: dict[str, object] = {
        "server_name": "decopilot",
        "listen": server.listen,
        "http": server.monitor,
        "max_payload": MAX_PAYLOAD_BYTES,
        # What is acknowledged is on the disk: a power cut loses nothing.
        "jetstream": {"store_dir": str(server.store_dir), "sync_interval": "always"},
    }
    if server.tls is not None:
        tls: dict[str, object] = {
            "cert_file": str(server.tls.cert.absolute()),
            "key_file": str(server.tls.key.absolute()),
            # Our services encrypt before they hear a word; other clients may ask first.
            "handshake_first": "auto",
        }
        if server.tls.verify:
            tls |= {"ca_file": str(server.tls.ca.absolute()), "verify": True}
        told["tls"] = tls
    named = {user: f"${VARIABLE}{user.upper()}" for user in USERS}
    told["authorization"] = {"users": users(passwords or named)}
    text = configuration_text(told)
    return HEADER + (text if passwords else _QUOTED_VARIABLE.sub(r"\1", text))


def write(folder: Path, server: Server, *, url: str, new_passwords: bool = False) -> dict[str, Path]:
    """Write the configuration and a file of variables for each user, all private; return the latter by user.

    A user who has a file keeps the password in it, unless all are to be new.

    Raises:
        CliError: the folder can't be written, or a file in it holds no password.

    """
    files = {user: folder / f"{user}.env" for user in USERS}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        passwords = {user: _password(file, new=new_passwords) for user, file in files.items()}
        for user, file in files.items():
            told = broker_environment(url, user, passwords[user])
            if server.tls is not None:
                told["DECOPILOT_NATS_TLS_CA"] = str(server.tls.ca.absolute())
            write_private(file, "".join(f"{name}={value}\n" for name, value in told.items()))
        write_private(folder / "nats.conf", configuration(server, passwords))
    except OSError as error:
        message = f"Can't write to {folder}: {error.strerror}."
        raise CliError(message) from error
    return files


def _password(file: Path, *, new: bool) -> str:
    if new or not file.exists():
        return secrets.token_urlsafe(SECRET_BYTES)
    found = _PASSWORD.search(file.read_text())
    if found is None:
        message = f"{file} holds no DECOPILOT_NATS_PASSWORD. Remove it, or make all passwords new with --new-passwords."
        raise CliError(message)
    return found[1]
