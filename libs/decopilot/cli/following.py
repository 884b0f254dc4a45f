"""Following one request of a conversation to the end of its run: Ctrl-C, time limits, refusals."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from decopilot.cli.door import Door
from decopilot.cli.errors import CliError, UnansweredError
from decopilot.cli.printing import Paper, Printer, ReaderGoneError
from decopilot.cli.telling import ExitCode, Teller
from decopilot.cli.up import ORG
from decopilot.cli.usage import DEFAULT_DATA_DIR
from decopilot.client import Accepted, ApiError, ArgumentError, Client, ClientError, RunResult
from decopilot.client.api import OnAccepted, OnChunk
from decopilot.client.calling import OnWait

DEADLINE_S = 15.0
# Programs such as `timeout` send their signal twice, to the process and to its group: that is one wish.
SAME_SIGNAL_S = 0.5


class Hearing(TypedDict):
    """Who is told what of a run that is waited for."""

    on_chunk: OnChunk
    on_accepted: OnAccepted
    on_wait: OnWait


Request = Callable[[Client, str, Hearing], Awaitable[RunResult]]
"""Asks something of a thread and waits for the end of the run that comes of it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Where is asked, and how the answer is given; without a URL, the `up` in the data folder is asked."""

    data_dir: Path
    org: str = ORG
    thread: str | None = None
    url: str | None = None
    token: str | None = None
    as_json: bool = False
    timeout_s: float | None = None


class Following:
    """One request on its way."""

    def __init__(self, terms: Terms, thread: str, paper: Paper) -> None:
        self._terms = terms
        self._thread = thread
        self._paper = paper
        is_elsewhere = terms.url is None and terms.data_dir != DEFAULT_DATA_DIR
        options = {
            "--org": terms.org if terms.org != ORG else None,
            "--url": terms.url,
            "--data-dir": str(terms.data_dir) if is_elsewhere else None,
        }
        self._teller = Teller(paper, thread, options, as_json=terms.as_json)
        self._printer = Printer(paper, is_silent=terms.as_json)
        self._accepted = asyncio.Event()
        self._run_id: str | None = None
        self._wished = asyncio.Event()
        self._waited_for: set[str] = set()

    @contextlib.contextmanager
    def refusals(self) -> Iterator[None]:
        """Tell a program, too, of what is refused in here."""
        try:
            yield
        except CliError as error:
            with contextlib.suppress(ReaderGoneError):
                self._teller.refused(error, self._run_id)
            raise

    def run(self, door: Door, request: Request) -> ExitCode:
        """Ask, print what comes, and return how it ended; raises `CliError` where it is refused, or nobody answers."""
        try:
            return asyncio.run(self._run(door, request))
        except ReaderGoneError:
            return ExitCode.UNREAD

    async def _run(self, door: Door, request: Request) -> ExitCode:
        """First Ctrl-C: cancel the run and wait for its end. Second one: leave."""
        waiting = asyncio.create_task(self._wait(door, request), name="wait for the run")
        with self._interrupts(waiting):
            await asyncio.wait([waiting])
        if waiting.cancelled():
            return self._teller.left(self._run_id)
        result = waiting.result()
        self._printer.end(result.message)
        return self._teller.ended(result, is_cancel_wished=self._wished.is_set())

    async def _wait(self, door: Door, request: Request) -> RunResult:
        try:
            async with (
                asyncio.timeout(self._terms.timeout_s),
                Client(door.url, door.token, self._terms.org, deadline_s=DEADLINE_S) as client,
                self._canceller(client),
            ):
                hearing = Hearing(on_chunk=self._printer.take, on_accepted=self._accept, on_wait=self._wait_again)
                return await request(client, self._thread, hearing)
        except TimeoutError as error:
            message = f"No end within {self._terms.timeout_s:g} s; {self._goes_on()}"
            raise UnansweredError("timeout", message) from error
        except ApiError as error:
            raise UnansweredError("error", f"{error.detail} ({error.code})", error.code) from error
        except ArgumentError as error:
            raise UnansweredError("error", str(error)) from error
        except ClientError as error:
            text = str(error)
            message = f"{text[:1].upper()}{text[1:]}; {self._goes_on()}"
            raise UnansweredError("error", message) from error

    def _wait_again(self, error: ClientError, seconds: float) -> None:
        """Tell a refusal that time may cure once, and whoever watches of every wait.

        Before the message is taken it is tried until the deadline only; then what was said last is the end.
        """
        why = error.detail.removesuffix(".") if isinstance(error, ApiError) else str(error).capitalize()
        told = f"{why}; trying again"
        if isinstance(error, ApiError) and error.code not in self._waited_for:
            self._waited_for.add(error.code)
            until = "until it works" if self._accepted.is_set() else f"for up to {DEADLINE_S:.0f} s"
            self._paper.note(f"{told} {until}, next in {max(seconds, 1):.0f} s.")
        else:
            self._paper.aside(f"{told} in {max(seconds, 1):.0f} s.")

    def _goes_on(self) -> str:
        run = "the run" if self._accepted.is_set() else "a run that was accepted all the same"
        return f"{run} goes on in thread {self._thread}."

    def _accept(self, accepted: Accepted) -> None:
        self._run_id = accepted.run_id
        self._accepted.set()
        if self._terms.thread is None:
            self._paper.note(f"thread {self._thread}")
        if accepted.status == "queued":
            self._paper.aside("Another run goes on; waiting for its end.")

    @contextlib.asynccontextmanager
    async def _canceller(self, client: Client) -> AsyncIterator[None]:
        """Have a task at hand that cancels the run when it is wished."""
        cancelling = asyncio.create_task(self._cancel(client), name="cancel the run when wished")
        try:
            yield
        finally:
            cancelling.cancel()
            await asyncio.wait([cancelling])

    async def _cancel(self, client: Client) -> None:
        await self._wished.wait()
        # What is not accepted yet can't be cancelled: its run has no name.
        await self._accepted.wait()
        try:
            await client.cancel(self._thread, self._run_id)
        except ClientError as error:
            self._paper.note(f"It could not be cancelled: {error}")

    @contextlib.contextmanager
    def _interrupts(self, waiting: asyncio.Task[RunResult]) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        first_at = 0.0

        def interrupted() -> None:
            nonlocal first_at
            if not self._wished.is_set():
                first_at = loop.time()
                self._wished.set()
                self._paper.note("Cancelling the run; Ctrl-C again leaves it as it is.")
            elif loop.time() - first_at > SAME_SIGNAL_S:
                waiting.cancel()

        loop.add_signal_handler(signal.SIGINT, interrupted)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            if self._wished.is_set():
                # We are about to end, with the exit code that says so: once more has nothing to add.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
