"""`decopilot up`: the broker and the four services as child processes of one terminal."""

import asyncio
import contextlib
import os
import signal
import sys
import time
import webbrowser
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import typer
from rich.status import Status

from decopilot.cli.broker import EmbeddedBroker, broker_environment
from decopilot.cli.configuring import ensure_usable
from decopilot.cli.crew import Crew
from decopilot.cli.errors import CliError
from decopilot.cli.logs import Journal
from decopilot.cli.plan import service_programs
from decopilot.cli.ports import HOST, is_free, next_port
from decopilot.cli.processes import Child, Program
from decopilot.cli.state import DataFolder, ProcessInfo, RunInfo, write_private
from decopilot.cli.tokens import Role, issue_token
from decopilot.log.permissions import USERS

ORG, USER = "local", "me"
LINK_HOURS = 30 * 24
DEFAULT_PORT = 8080
PORT_PATIENCE_S = 1.0
STATUS_POLL_S = 0.2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
UNLIMITED = {
    f"DECOPILOT_{what}_PER_{whose}": "1000000000" for what in ("MESSAGES", "RUNS") for whose in ("USER", "ORG")
}
"""Nobody is kept from what they do on their own machine, unless they say so."""
# Programs such as `timeout` send their signal twice, to the process and to its group: that is one wish.
SAME_SIGNAL_S = 0.5
NOT_HANDED_ON = ("DECOPILOT_NATS_", "DECOPILOT_JWT_SECRET")
"""How the variables begin that each child is told anew, or not at all."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user of `up` asked for; `port` None takes the first free one from 8080 on."""

    data_dir: Path
    port: int | None = None
    scale: Mapping[str, int] = field(default_factory=dict)
    open_browser: bool = False
    ready_timeout_s: float = 60.0


class Up:
    """One run of `decopilot up` in a data folder that is ours."""

    def __init__(self, options: Options, folder: DataFolder, environment: Mapping[str, str]) -> None:
        self._options = options
        self._folder = folder
        self._environment = environment
        self._jwt_secret = folder.jwt_secret(environment)
        self._link_token = issue_token(
            self._jwt_secret, org=ORG, user=USER, role=Role.OWNER, hours=LINK_HOURS, now=datetime.now(UTC)
        )
        self._nats_passwords = folder.nats_passwords(USERS)
        self._broker = EmbeddedBroker(folder.nats_store, passwords=self._nats_passwords)
        self._web_url = ""
        self._journal = Journal()
        self._status: Status | None = None
        self._crew: Crew | None = None
        self._started_at = datetime.now(UTC)
        self._began = time.monotonic()

    async def run(self) -> None:
        """Bring everything up, hold it until a signal comes, end it in order; raises `CliError` if it can't start."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._crew = crew = Crew(tasks, self._journal, self._tell)
                serving = tasks.create_task(self._serve(crew))
                with self._signals(serving, crew):
                    try:
                        await asyncio.wait([serving])
                    finally:
                        await crew.stop()
        finally:
            self._folder.forget_run()
            self._broker.release()
        if not serving.cancelled() and (refusal := serving.result()):
            raise refusal
        self._journal.say("info", "ended")

    async def _serve(self, crew: Crew) -> CliError | None:
        """Bring everything up and stay until cancelled; a refusal is returned, raising it would skip the order."""
        try:
            with self._progress():
                await self._bring_up(crew)
            link = f"{self._web_url}?token={self._link_token}"
            self._announce(link)
            if self._options.open_browser:
                await self._open_browser(link)
            await asyncio.Event().wait()
        except CliError as refusal:
            return refusal
        return None

    async def _bring_up(self, crew: Crew) -> None:
        timeout_s = self._options.ready_timeout_s
        web_port = await self._choose_web_port()
        self._web_url = f"http://{HOST}:{web_port}/"
        argv = self._broker.prepare()
        nats = Program(
            "nats",
            1,
            argv,
            self._environment,
            self._broker.port,
            self._broker.health_url,
            death_signal=signal.SIGTERM,
            pass_fds=() if self._broker.lock_descriptor is None else (self._broker.lock_descriptor,),
        )
        await crew.ready([crew.start(nats)], timeout_s)
        await self._provision()
        taken = {self._broker.port, self._broker.monitor_port}
        programs = service_programs(self._options.scale, web_port, taken, self._child_environment)
        await crew.ready([crew.start(program) for program in programs], timeout_s)

    async def _choose_web_port(self) -> int:
        port = self._options.port
        if port is None:
            free = next_port(DEFAULT_PORT)
            if free != DEFAULT_PORT:
                self._journal.say("info", "port_taken", port=DEFAULT_PORT, instead=free)
            return free
        deadline = time.monotonic() + PORT_PATIENCE_S  # the gateway of an `up` that was killed needs a moment to end
        while not is_free(port):
            if time.monotonic() > deadline:
                message = f"Port {port} is taken. Choose another with --port, or leave --port out."
                raise CliError(message)
            await asyncio.sleep(STATUS_POLL_S)
        return port

    async def _provision(self) -> None:
        program = Program(
            "provision", 1, (sys.executable, "-m", "decopilot.cli", "provision"), self._child_environment("provision")
        )
        child = Child(program, self._journal)
        self._waits_for("NATS to be provisioned")
        try:
            async with asyncio.timeout(self._options.ready_timeout_s):
                code = await child.run_once()
        except TimeoutError:
            message = f"Provisioning did not end within {self._options.ready_timeout_s:g} s."
            raise CliError(message) from None
        if code != 0:
            message = f"Provisioning failed with exit code {code}; the lines above say why."
            raise CliError(message)

    def _child_environment(self, service: str) -> dict[str, str]:
        """Return what a service is told: of the secrets, its own. A runner's tools could read whatever it has."""
        given = {key: value for key, value in self._environment.items() if not key.startswith(NOT_HANDED_ON)}
        ours = broker_environment(self._broker.url, service, self._nats_passwords[service]) | {
            "DECOPILOT_LOG_FORMAT": "json",
            "PYTHONUNBUFFERED": "1",  # a line printed by a user's agent shows when it is printed
        }
        if service == "gateway":
            ours["DECOPILOT_JWT_SECRET"] = self._jwt_secret
        # The demo model's notes are nobody else's, and go with the rest of the data.
        defaults = UNLIMITED | {"DECOPILOT_DEMO_DIR": str(self._folder.path / "demo")}
        return defaults | given | ours

    def _announce(self, link: str) -> None:
        took_s = time.monotonic() - self._began
        with contextlib.suppress(OSError):
            # On stdout, the logs are on stderr; never wrapped: a link cut in two can't be clicked.
            typer.echo(f"\nDecopilot is ready after {took_s:.1f} s. Open\n\n    {link}\n")
            typer.echo(f"Data in {self._folder.path}; Ctrl-C ends it.\n")

    async def _open_browser(self, link: str) -> None:
        # The browser's command line is visible to every user of the machine: it gets a private page, not the link.
        page = f'<meta http-equiv="refresh" content="0; url={link}"><a href="{link}">Decopilot</a>\n'
        write_private(self._folder.link_page, page)
        await asyncio.to_thread(webbrowser.open, self._folder.link_page.as_uri())

    @contextlib.contextmanager
    def _signals(self, serving: asyncio.Task[CliError | None], crew: Crew) -> Iterator[None]:
        """First signal: end in order. Second one: kill."""
        loop = asyncio.get_running_loop()
        first_at: float | None = None

        def asked(number: signal.Signals) -> None:
            nonlocal first_at
            if first_at is None:
                first_at = time.monotonic()
                self._journal.say("info", "ending", signal=number.name)
                serving.cancel()
            elif time.monotonic() - first_at > SAME_SIGNAL_S:
                self._journal.say("warning", "killing", signal=number.name)
                crew.kill()

        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores SIGHUP
        for number in heard:
            loop.add_signal_handler(number, asked, number)
        try:
            yield
        finally:
            for number in heard:
                loop.remove_signal_handler(number)

    @contextlib.contextmanager
    def _progress(self) -> Iterator[None]:
        """Show on a terminal what is still awaited; elsewhere the lines of the journal say what became ready."""
        with self._journal.console.status("Starting") as status:
            self._status = status
            try:
                yield
            finally:
                self._status = None

    def _waits_for(self, what: str) -> None:
        if self._status:
            self._status.update(f"Starting: waiting for {what}")

    def _tell(self) -> None:
        """Write down how every process is doing, for `ps` and for programs."""
        children = self._crew.children if self._crew else []
        if late := [child.program.name for child in children if not child.ready.is_set()]:
            self._waits_for(", ".join(late))
        processes = tuple(
            ProcessInfo(
                service=child.program.service,
                index=child.program.index,
                pid=child.pid,
                port=child.program.port,
                health_url=child.program.health_url,
                metrics_url=child.program.metrics_url,
                state=child.state.value,
            )
            for child in children
        )
        info = RunInfo(
            pid=os.getpid(),
            started_at=self._started_at,
            nats_url=self._broker.url,
            web_url=self._web_url,
            processes=processes,
        )
        try:
            self._folder.write_run(info)
        except OSError as error:  # a full disk must not end what still runs
            self._journal.say("error", "run_file_not_written", reason=error.strerror)


def up(options: Options, environment: Mapping[str, str]) -> None:
    """Run `decopilot up` until a signal ends it; raises `CliError` where it can't start."""
    ensure_usable()
    folder = DataFolder(options.data_dir)
    folder.create()
    with folder.locked():
        folder.forget_run()  # of an `up` that was killed
        asyncio.run(Up(options, folder, environment).run())
