"""Reaching the broker as an operator: which one, as whom, and a connection that gives up instead of waiting."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nats.aio.client import Client
from nats.errors import Error as NatsError

from decopilot.cli.errors import CliError
from decopilot.cli.state import DataFolder, ProcessInfo
from decopilot.kit.connection import Lifeline, flushed, forbidden, is_unauthorized, unconnected
from decopilot.kit.redaction import redact
from decopilot.kit.settings import Settings, read
from decopilot.log.permissions import OPERATOR, USERS

CONNECT_S = 3


class UnreachableError(CliError):
    """No broker that lets us in; `remedy` is what to do."""

    def __init__(self, text: str, remedy: str) -> None:
        self.text, self.remedy = text, remedy
        super().__init__(f"{text} {remedy}")


@dataclass(frozen=True, slots=True)
class Broker:
    """Which broker is looked at; `passwords` are those of the services, as far as they are at hand.

    `monitor_url` is its HTTP monitoring, `processes` are those of the `up` that it belongs to.
    """

    settings: Settings
    passwords: Mapping[str, str] = field(default_factory=dict)
    monitor_url: str | None = None
    processes: tuple[ProcessInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class Where:
    """What says which broker is meant."""

    data_dir: Path
    secrets: Path | None
    environment: Mapping[str, str]

    @property
    def is_named(self) -> bool:
        """Whether it is another one than that of an `up`."""
        return self.secrets is not None or bool(self.environment.get("DECOPILOT_NATS_URL"))


def find(where: Where, monitor_url: str | None = None) -> Broker:
    """Find the broker: by a folder of `nats-config`, by the environment, else that of the `up` in the data folder.

    Raises:
        CliError: nothing says where it is.

    """
    if where.secrets is not None:
        return _of_folder(where.secrets, monitor_url)
    if where.is_named:
        return Broker(read(Settings), monitor_url=monitor_url)
    folder = DataFolder(where.data_dir)
    try:
        run = folder.read_run()
    except CliError as error:
        message = f"{error}\nOr name a broker: DECOPILOT_NATS_URL and the operator's user, or --secrets."
        raise CliError(message) from error
    passwords = folder.nats_passwords(USERS)
    told = {"nats_url": run.nats_url, "nats_user": OPERATOR, "nats_password": passwords[OPERATOR]}
    nats_health = next((process.health_url for process in run.processes if process.service == "nats"), "")
    monitor = monitor_url or nats_health.partition("/healthz")[0] or None
    return Broker(Settings.model_validate(told), _of_services(passwords), monitor, run.processes)


def _of_folder(folder: Path, monitor_url: str | None) -> Broker:
    variables = {user: _variables(folder / f"{user}.env") for user in USERS}
    names = {"nats_url": "NATS_URL", "nats_user": "NATS_USER", "nats_password": "NATS_PASSWORD"}
    own = variables[OPERATOR]
    told = {name: own[f"DECOPILOT_{variable}"] for name, variable in names.items()}
    if authority := own.get("DECOPILOT_NATS_TLS_CA"):
        told["nats_tls_ca"] = authority
    passwords = {user: found["DECOPILOT_NATS_PASSWORD"] for user, found in variables.items()}
    return Broker(Settings.model_validate(told), _of_services(passwords), monitor_url)


def _of_services(passwords: Mapping[str, str]) -> dict[str, str]:
    return {user: password for user, password in passwords.items() if user != OPERATOR}


def _variables(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        message = f"{file} can't be read: {error.strerror}. Is it a folder of `decopilot nats-config`?"
        raise CliError(message) from error
    pairs = (line.partition("=") for line in lines if not line.startswith("#"))
    found = {name: value for name, sign, value in pairs if sign}
    if not {"DECOPILOT_NATS_URL", "DECOPILOT_NATS_USER", "DECOPILOT_NATS_PASSWORD"} <= found.keys():
        message = f"{file} does not say where NATS is and who connects. Was it written by `decopilot nats-config`?"
        raise CliError(message)
    return found


@asynccontextmanager
async def reaching(
    settings: Settings, name: str, *, on_error: Callable[[Exception], None] = lambda _: None
) -> AsyncIterator[Client]:
    """Hold a connection that does not wait for a broker that is away.

    Raises:
        UnreachableError: it does not answer, does not let us in, or is not trusted.

    """
    causes: list[Exception] = []

    async def failed(error: Exception) -> None:
        causes.append(error)
        on_error(error)

    lifeline = Lifeline(settings, name)
    client = unconnected()
    try:
        async with asyncio.timeout(2 * CONNECT_S * max(1, len(settings.nats_servers))):
            await client.connect(
                settings.nats_servers,
                **lifeline.security,
                name=name,
                inbox_prefix=lifeline.inbox_prefix,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=CONNECT_S,
                error_cb=failed,
            )
    except (OSError, NatsError, TimeoutError) as error:
        raise _unreachable(settings, [*causes, error]) from error
    try:
        yield client
    finally:
        await client.close()


def _unreachable(settings: Settings, causes: list[Exception]) -> UnreachableError:
    url = redact(settings.nats_url)
    who = "a client without a user" if settings.nats_user is None else f"user {settings.nats_user!r}"
    for cause in causes:
        if is_unauthorized(cause):
            remedy = "Set DECOPILOT_NATS_USER and DECOPILOT_NATS_PASSWORD as the server has them (operator.env)."
            return UnreachableError(f"{url} refuses {who}.", remedy)
        if isinstance(cause, ssl.SSLCertVerificationError):
            remedy = "Set DECOPILOT_NATS_TLS_CA to the certificate of the CA that the server is known by."
            return UnreachableError(f"{url} is not trusted: {cause.verify_message}.", remedy)
    words = str(causes[-1]).strip().removeprefix("nats: ") or type(causes[-1]).__name__
    remedy = "Start NATS (nats-server -c nats/nats.conf), or say where it is by DECOPILOT_NATS_URL."
    return UnreachableError(f"{url} does not answer ({words}).", remedy)


async def violations(settings: Settings, publish: list[str], subscribe: list[str]) -> tuple[set[str], set[str]]:
    """Try, as a user, what changes nothing; return what is refused of either, as the broker names it in small letters.

    Raises:
        UnreachableError: the user is not let in.

    """
    refused: dict[str, set[str]] = {"publish": set(), "subscription": set()}

    def note(error: Exception) -> None:
        if found := forbidden(error):
            refused.setdefault(found[0], set()).add(found[1])

    async with reaching(settings, "doctor", on_error=note) as client:
        inbox = client.new_inbox()
        for subject in publish:
            await client.publish(subject, b"", reply=inbox)
        for subject in subscribe:
            parts = subject.split(" ")
            await client.subscribe(parts[0], queue="".join(parts[1:]))
        await flushed(client)
    return refused["publish"], refused["subscription"]
