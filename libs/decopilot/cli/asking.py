"""`decopilot run`: ask one question, print its answer, tell by the exit code how it ended."""

import asyncio
import contextlib
import json
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal, assert_never

from decopilot.cli.door import Door, find_door
from decopilot.cli.errors import CliError
from decopilot.cli.printing import Paper, Printer, short
from decopilot.cli.up import ORG
from decopilot.client import Accepted, ApiError, Client, ClientError, Interaction, RunResult, SendOptions, UIMessage
from decopilot.contracts.commands import OnConflict
from decopilot.domain.outcome import ABORTED

DEADLINE_S = 15.0
# Programs such as `timeout` send their signal twice, to the process and to its group: that is one wish.
SAME_SIGNAL_S = 0.5


class ExitCode(IntEnum):
    """How `decopilot run` ends; 1 is for what was refused, as in every command."""

    COMPLETED = 0
    REQUIRES_ACTION = 2
    FAILED = 3
    CANCELLED = 4
    LEFT = 130


@dataclass(frozen=True, slots=True)
class Question:
    """What the user of `run` asked for; without a URL, the `up` in the data folder is asked."""

    text: str
    data_dir: Path
    org: str | None = None
    thread: str | None = None
    url: str | None = None
    token: str | None = None
    on_conflict: OnConflict = "queue"
    tool_approval: Literal["auto", "readonly"] | None = None
    as_json: bool = False
    timeout_s: float | None = None


def ask(question: Question, environment: Mapping[str, str]) -> ExitCode:
    """Ask, print, and return how it ended; raises `CliError` where it is refused or nobody answers."""
    org = question.org or ORG
    door = find_door(environment, data_dir=question.data_dir, org=org, url=question.url, token=question.token)
    text = sys.stdin.read() if question.text == "-" else question.text
    if not text.strip():
        message = "There is nothing to ask: the text is empty."
        raise CliError(message)
    asking = Asking(question, door, text, Paper(sys.stdout, sys.stderr))
    return asyncio.run(asking.run())


class Asking:
    """One question on its way."""

    def __init__(self, question: Question, door: Door, text: str, paper: Paper) -> None:
        self._question = question
        self._door = door
        self._text = text
        self._paper = paper
        self._org = question.org or ORG
        self._thread = question.thread or f"thr_{uuid.uuid4().hex}"
        self._printer = Printer(paper, is_silent=question.as_json)
        self._accepted = asyncio.Event()
        self._run_id: str | None = None
        self._wished = asyncio.Event()

    async def run(self) -> ExitCode:
        """Ask, and print what comes; Ctrl-C cancels the run, a second one leaves it."""
        if self._question.thread is None:
            self._paper.note(f"thread {self._thread}")
        waiting = asyncio.create_task(self._wait(), name="wait for the run")
        with self._interrupts(waiting):
            await asyncio.wait([waiting])
        if waiting.cancelled():
            self._paper.note(f"Left; a run that was accepted goes on in thread {self._thread}.")
            return ExitCode.LEFT
        return self._end(waiting.result())

    async def _wait(self) -> RunResult:
        options: SendOptions = {"on_conflict": self._question.on_conflict}
        if self._question.tool_approval is not None:
            options["tool_approval_level"] = self._question.tool_approval
        try:
            async with (
                asyncio.timeout(self._question.timeout_s),
                Client(self._door.url, self._door.token, self._org, deadline_s=DEADLINE_S) as client,
                self._canceller(client),
            ):
                return await client.run_and_wait(
                    self._thread, self._text, on_chunk=self._printer.take, on_accepted=self._accept, **options
                )
        except TimeoutError as error:
            message = f"No end within {self._question.timeout_s:g} s; the run goes on in thread {self._thread}."
            raise CliError(message) from error
        except ApiError as error:
            message = f"{error.detail} ({error.code})"
            raise CliError(message) from error
        except ClientError as error:
            raise CliError(str(error)) from error

    def _accept(self, accepted: Accepted) -> None:
        self._run_id = accepted.run_id
        self._accepted.set()
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
        """First Ctrl-C: cancel the run and wait for its end. Second one: leave."""
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

    def _end(self, result: RunResult) -> ExitCode:
        self._printer.end(result.message)
        if self._question.as_json:
            self._paper.text(json.dumps(self._told(result), ensure_ascii=False) + "\n")
        else:
            self._explain(result)
        match result.status:
            case "completed":
                return ExitCode.COMPLETED
            case "requires_action":
                return ExitCode.REQUIRES_ACTION
            case "withdrawn":
                return ExitCode.CANCELLED
            case "failed":
                # Of a run that was cancelled before it said a word, nothing may be left that tells why it ended.
                was_cancelled = result.reason in ABORTED or (result.reason is None and self._wished.is_set())
                return ExitCode.CANCELLED if was_cancelled else ExitCode.FAILED
            case _:
                assert_never(result.status)

    def _told(self, result: RunResult) -> dict[str, object]:
        return {
            "thread": self._thread,
            "runId": result.run_id,
            "status": result.status,
            "reason": result.reason,
            "message": None if result.message is None else result.message.model_dump(mode="json", exclude_none=True),
            "pending": [_shown(interaction) for interaction in result.pending],
        }

    def _explain(self, result: RunResult) -> None:
        """Say why there is no more of an answer, and what can be done."""
        again = f'decopilot run --thread {self._thread} "…"'
        if result.status == "withdrawn":
            self._paper.note("The message was taken back before its turn came.")
        elif result.status == "failed":
            self._paper.note(f"{(result.reason or 'failed').capitalize()}: {result.error_text or 'no more is known.'}")
        elif result.status == "requires_action" and not result.pending:
            self._paper.note(f"It asks you something. Answer with: {again}")
        elif result.status == "requires_action":
            for interaction in result.pending:
                self._paper.note(_request(interaction, result.message))
            url = f"{self._door.url.rstrip('/')}/{self._org}/decopilot/threads/{self._thread}/interactions"
            facts = {"resolutions": [_fact(interaction) for interaction in result.pending]}
            self._paper.note(f"Answer with: POST {url} {json.dumps(facts, ensure_ascii=False)}")
            self._paper.note(f"Or go on without: {again}")


def _shown(interaction: Interaction) -> dict[str, str]:
    return {
        "kind": interaction.kind,
        "id": interaction.id,
        "toolCallId": interaction.tool_call_id,
        "toolName": interaction.tool_name,
    }


def _request(interaction: Interaction, message: UIMessage | None) -> str:
    parts = [] if message is None else message.parts
    given = next((part.get("input") for part in parts if part.get("toolCallId") == interaction.tool_call_id), None)
    call = f"{interaction.tool_name}({'' if given is None else short(given)})"
    return f"Waits for approval of {call}" if interaction.kind == "approval" else f"Waits for an answer to {call}"


def _fact(interaction: Interaction) -> dict[str, object]:
    if interaction.kind == "approval":
        return {"approvalId": interaction.id, "approved": True}
    return {"toolCallId": interaction.id, "output": "…"}
