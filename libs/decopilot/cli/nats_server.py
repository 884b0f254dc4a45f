"""The configuration of a NATS server in which each service has a user of its own, and the files of their secrets."""

import json
import re
import secrets
import shlex
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
_OPTIONS = "# Options: "
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
    monitor: str = "127.0.0.1:8222"
    store_dir: Path = Path("/data")
    tls: Tls | None = None

    def options(self, url: str) -> dict[str, str]:
        """Name what `decopilot nats-config` has to be told for this server, where services find it at `url`."""
        told = {
            "--url": url,
            "--listen": self.listen,
            "--monitor": self.monitor,
            "--store-dir": str(self.store_dir),
        }
        if self.tls is not None:
            files = {"--tls-cert": self.tls.cert, "--tls-key": self.tls.key, "--tls-ca": self.tls.ca}
            told |= {name: str(file.absolute()) for name, file in files.items()}
            if self.tls.verify:
                told["--tls-verify"] = ""
        return told


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
    text = configuration_text(told | _authorization(passwords or named))
    return HEADER + (text if passwords else _QUOTED_VARIABLE.sub(r"\1", text))


def _authorization(passwords: Mapping[str, str]) -> dict[str, object]:
    return {"authorization": {"users": users(passwords)}}


def write(
    folder: Path, server: Server, *, url: str, change: bool = False, new_passwords: bool = False
) -> dict[str, Path]:
    """Write the configuration and a file of variables for each user, all private; return the latter by user.

    The users stand in `users.conf` by themselves, too: for a server that is configured by others and includes them.
    A user who has a file keeps the password in it, unless all are to be new. A folder that is made here is left out
    by git.

    Raises:
        CliError: the folder can't be written, was written with other options and is not to change, or a file in it
            holds no password.

    """
    files = {user: folder / f"{user}.env" for user in USERS}
    options = server.options(url)
    try:
        if not change:
            _refuse_other_options(folder, options)
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
            write_private(folder / ".gitignore", "*\n")
        passwords = {user: _password(file, new=new_passwords) for user, file in files.items()}
        for user, file in files.items():
            told = broker_environment(url, user, passwords[user])
            if server.tls is not None:
                told["DECOPILOT_NATS_TLS_CA"] = str(server.tls.ca.absolute())
            write_private(file, "".join(f"{name}={value}\n" for name, value in told.items()))
        said = _OPTIONS + json.dumps(options, ensure_ascii=False) + "\n"
        write_private(folder / "nats.conf", said + configuration(server, passwords))
        write_private(folder / "users.conf", HEADER + configuration_text(_authorization(passwords)))
    except OSError as error:
        message = f"Can't write to {folder}: {error.strerror}."
        raise CliError(message) from error
    return files


def _refuse_other_options(folder: Path, options: Mapping[str, str]) -> None:
    """Refuse what would silently take away something, such as TLS, from a folder that was written with it."""
    file = folder / "nats.conf"
    first = file.read_text().partition("\n")[0] if file.exists() else ""
    if not first.startswith(_OPTIONS):
        return
    before = json.loads(first.removeprefix(_OPTIONS))
    others = [name for name in {**before, **options} if before.get(name) != options.get(name)]
    if others:
        words = [word for pair in before.items() for word in pair if word]
        message = (
            f"{folder} was written with other options ({', '.join(others)}). To write it as it was:\n"
            f"  {shlex.join(['decopilot', 'nats-config', str(folder), *words])}\n"
            "To change it, say all that you want, and --change."
        )
        raise CliError(message)


def _password(file: Path, *, new: bool) -> str:
    if new or not file.exists():
        return secrets.token_urlsafe(SECRET_BYTES)
    found = _PASSWORD.search(file.read_text())
    if found is None:
        message = f"{file} holds no DECOPILOT_NATS_PASSWORD. Remove it, or make all passwords new with --new-passwords."
        raise CliError(message)
    return found[1]
