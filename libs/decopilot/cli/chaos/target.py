"""The target: somebody's own deployment, with proxies before its gateways and its owner's commands as faults."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from decopilot.cli.chaos.commands import Command, Commanded
from decopilot.cli.chaos.evidence import Limits
from decopilot.cli.chaos.faults.ways import Way, way_to
from decopilot.cli.chaos.sabotage import Breakage
from decopilot.cli.chaos.schedule import Fault
from decopilot.cli.chaos.waylaying import is_felt, on_way
from decopilot.cli.errors import CliError
from decopilot.cli.reaching import Where, find, reaching
from decopilot.cli.state import ProcessInfo
from decopilot.domain import judging
from decopilot.kit.settings import Settings

LANES = 4
ASK_S, AGAIN_S, CLEAR_S = 15.0, 0.5, 60.0
GONE, FINAL = {"200", "202", "204"}, {"401", "403", "404"}
DEMO = "demo"
PURGE_GRACE_S, ERASE_AGAIN_S = 30.0, 60.0
SET_UP = (
    "Chaos posts thousands of messages, so it wants the built-in demo model and no other: start a deployment of the "
    "same version whose runners and gateways have no provider configured (no decopilot.toml, no keys), or say "
    '`[tiers.smart] model = "demo"` there. Nothing was posted.'
)
NO_LOG = (
    "What was acknowledged is looked for in the event log, so chaos reads NATS as the operator: say where it is by "
    "--secrets (a folder of `decopilot nats-config`), by DECOPILOT_NATS_URL, _USER and _PASSWORD, or, for an `up` on "
    "this machine, by --data-dir. Nothing was posted."
)
NO_STRANGER = "no token of another org was given (--stranger-token)"


@dataclass(frozen=True, slots=True)
class Aim:
    """Which deployment is meant, who we are there, and what its owner can do to it."""

    urls: tuple[str, ...]
    token: str
    org: str
    where: Where | None
    """Where its NATS is; None: unknown, and only what clients see is judged."""
    stranger: str | None = None
    commands: tuple[Command, ...] = ()
    marks: Path | None = None
    """Where the demo model's tools leave theirs, if that is on this machine."""
    keeps: bool = False
    """Whether the threads are left there in the end."""

    @property
    def words(self) -> list[str]:
        """The options that say it again, without tokens."""
        said = [word for url in self.urls for word in ("--target", url)]
        said += ["--org", self.org]
        if self.where is not None:
            folder, secrets = self.where.data_dir, self.where.secrets
            said += [] if folder == Path() else ["--data-dir", str(folder)]
            said += [] if secrets is None else ["--secrets", str(secrets)]
        for command in self.commands:
            said += ["--fault", f"{command.name}={command.does}"]
            said += [] if command.undoes is None else ["--fault", f"{command.name}:undo={command.undoes}"]
        return [*said, "--keep-threads"] if self.keeps else said


class Detour(AbstractResolver):
    """Leads to this machine whoever asks for a gateway by its name, so that names and certificates stay right."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Tell this machine's address."""
        del family
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST
            )
        ]

    async def close(self) -> None:
        """Have nothing to close."""


@dataclass(slots=True)
class Target:
    """A deployment: a `Ground` whose processes are not ours."""

    aim: Aim
    operator: Settings
    lanes: list[Way]
    doors: tuple[str, ...]
    _begun: dict[str, Commanded] = field(default_factory=dict)
    """The last of each command, by its name."""

    def token(self, org: str, user: str) -> str:
        """What was given: of another org, the stranger's."""
        del user
        return self.aim.token if org == self.aim.org else self.aim.stranger or ""

    def processes(self) -> Sequence[ProcessInfo]:
        """None that we could hit."""
        return ()

    def breaks(self, fault: Fault, targets: Sequence[int]) -> Breakage | None:
        """Make a fault between clients and gateways, or one of the owner's commands."""
        del targets
        for command in self.aim.commands:
            if command.name == fault.service:
                before = self._begun.get(command.name)
                if before is not None and before.is_to_be_undone:
                    return None  # one undoing would be too many
                self._begun[command.name] = Commanded(command)
                return Breakage(0, self._begun[command.name])
        number = fault.index % len(self.lanes)
        lane = self.lanes[number]
        return Breakage(0, on_way(fault, f"lane {number}", [lane])) if is_felt(fault, [lane]) else None

    async def delete(self, names: Sequence[str]) -> int:
        """Delete threads that chaos made; returns how many were there.

        Raises:
            CliError: one could not be deleted; the others are.

        """
        deadline = asyncio.get_running_loop().time() + CLEAR_S
        answers = {name: await self._delete(name, deadline) for name in names}
        if left := [f"{name} ({answer})" for name, answer in answers.items() if answer not in {*GONE, "404"}]:
            message = f"Could not be deleted, and is left in the org {self.aim.org}: {', '.join(left)}."
            raise CliError(message)
        return sum(answer in GONE for answer in answers.values())

    async def _delete(self, name: str, deadline: float) -> str:
        """Ask until it is answered for good; what has just been broken may need a moment. Returns the last answer."""
        while True:
            try:
                answer = str((await _ask(self.aim, f"threads/{name}", method="DELETE"))[0])
            except CliError as error:
                answer = str(error)
            if answer in {*GONE, *FINAL} or asyncio.get_running_loop().time() >= deadline:
                return answer
            await asyncio.sleep(AGAIN_S)


@asynccontextmanager
async def aimed(aim: Aim) -> AsyncIterator[Target]:
    """Look at a deployment, and lead our own clients over proxies while the context is open.

    Raises:
        CliError: it can't be reached, does not know us, or answers by another model than the demo's.

    """
    await _ensure_demo(aim)
    await _ensure_tokens(aim)
    if aim.where is None:
        raise CliError(NO_LOG)
    operator = await _operator(aim.where)
    async with AsyncExitStack() as ending:
        lanes, doors = [], []
        for url in aim.urls:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            for _ in range(LANES):
                lane = await ending.enter_async_context(way_to(port, str(parts.hostname)))
                lanes.append(lane)
                doors.append(f"{parts.scheme}://{parts.hostname}:{lane.port}{parts.path.rstrip('/')}")
        yield Target(aim, operator, lanes, tuple(doors))


async def _ensure_demo(aim: Aim) -> None:
    for url in aim.urls:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            message = f"--target {url}: say http:// or https://, a host, and its port."
            raise CliError(message)
        if parts.username is not None or parts.query:
            # It is written into the report.
            message = f"--target {parts.hostname}: say who you are by --token, not within the URL."
            raise CliError(message)
        status, body = await _ask(aim, "allowed-models", url=url)
        if status != 200:
            message = f"{url} refuses the token for the org {aim.org} ({status}). Give one of an owner there: --token."
            raise CliError(message)
        others = {tier: entry["model"] for tier, entry in body["tiers"].items() if entry["model"] != DEMO}
        if others or not body["tiers"]:
            told = ", ".join(f"{tier} is {model}" for tier, model in others.items())
            message = f"{url} does not run the demo model: {told or 'it has no model'}. {SET_UP}"
            raise CliError(message)


async def _ensure_tokens(aim: Aim) -> None:
    """Find out what the tokens are good for: what they may not is no promise that is broken."""
    # Of a thread that never was nothing is deleted.
    status, _ = await _ask(aim, f"threads/{prefix(0)}-never", method="DELETE")
    if status == 403:
        message = f"The token may only read in the org {aim.org}. Give one of an owner there: --token."
        raise CliError(message)
    if aim.stranger is not None:
        status, _ = await _ask(replace(aim, token=aim.stranger), "allowed-models")
        if status == 401:
            message = f"{aim.urls[0]} does not know the stranger's token (401). Give a valid one, of another org."
            raise CliError(message)


async def _ask(aim: Aim, rest: str, *, method: str = "GET", url: str | None = None) -> tuple[int, dict[str, Any]]:
    """Ask a gateway, not over a proxy of ours; returns the status and, of a success, the body."""
    url = (url or aim.urls[0]).rstrip("/")
    headers = {"Authorization": f"Bearer {aim.token}"}
    timeout = aiohttp.ClientTimeout(total=ASK_S)
    try:
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
            session.request(method, f"{url}/{aim.org}/decopilot/{rest}") as response,
        ):
            return response.status, await response.json() if response.status == 200 else {}
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        message = f"{url} does not answer as a gateway does: {str(error) or type(error).__name__}."
        raise CliError(message) from error


async def _operator(where: Where) -> Settings:
    settings = find(where).settings
    async with reaching(settings, "chaos"):
        return settings


def limits_of(environment: Mapping[str, str]) -> Limits:
    """What the services were told: as they are told it, else what they have by themselves."""
    own = judging.Limits()
    told = {"purge_grace_s": PURGE_GRACE_S, "erase_again_s": ERASE_AGAIN_S}
    found: dict[str, float] = {}
    for name in (one.name for one in fields(Limits)):
        default = told.get(name, getattr(own, name, 0.0))
        found[name] = float(environment.get(f"DECOPILOT_{name.upper()}") or default)
    return Limits(**{**found, "attempts": int(found["attempts"])})  # type: ignore[arg-type]  # each is of its field's type


def prefix(seed: int) -> str:
    """Name the threads so that they are nobody's."""
    return f"chaos-{seed}-{int(time.time()):x}"
