"""Telling how a run ended: to a person on stderr, to a program in JSON, to a shell by the exit code."""

import json
import shlex
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import assert_never

from decopilot.cli.errors import CliError, UnansweredError
from decopilot.cli.printing import Paper, short
from decopilot.client import Interaction, RunResult, UIMessage
from decopilot.domain.outcome import ABORTED


class ExitCode(IntEnum):
    """How `decopilot run` and `decopilot answer` end; 1 is for what was refused, as in every command."""

    COMPLETED = 0
    REQUIRES_ACTION = 2
    FAILED = 3
    CANCELLED = 4
    LEFT = 130
    UNREAD = 141
    """As of a program that dies by SIGPIPE: whoever read what is printed is gone."""


class Teller:
    """Tells how one run ended; `options` are those that the next command about the thread needs too."""

    def __init__(self, paper: Paper, thread: str, options: Mapping[str, str | None], *, as_json: bool) -> None:
        self._paper = paper
        self._thread = thread
        self._options = {"--thread": thread} | {name: value for name, value in options.items() if value is not None}
        self._as_json = as_json

    def ended(self, result: RunResult, *, is_cancel_wished: bool) -> ExitCode:
        """Tell how the run ended; of a cancelled one nothing may be left that says so but our own wish."""
        if self._as_json:
            self._print(
                run_id=result.run_id,
                status=result.status,
                reason=result.reason,
                detail=result.error_text or None,
                message=result.message,
                pending=result.pending,
            )
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
                was_cancelled = result.reason in ABORTED or (result.reason is None and is_cancel_wished)
                return ExitCode.CANCELLED if was_cancelled else ExitCode.FAILED
            case _:
                assert_never(result.status)

    def left(self, run_id: str | None) -> ExitCode:
        """Tell that the end was not waited for."""
        text = f"Left; a run that was accepted goes on in thread {self._thread}."
        self._paper.note(text)
        if self._as_json:
            self._print(run_id=run_id, status="left", detail=text)
        return ExitCode.LEFT

    def refused(self, error: CliError, run_id: str | None) -> None:
        """Tell a program of a refusal; a person is told by whoever catches it."""
        if self._as_json:
            status, reason = (error.status, error.reason) if isinstance(error, UnansweredError) else ("error", None)
            self._print(run_id=run_id, status=status, reason=reason, detail=str(error))

    def _print(
        self,
        *,
        run_id: str | None,
        status: str,
        reason: str | None = None,
        detail: str | None = None,
        message: UIMessage | None = None,
        pending: Sequence[Interaction] = (),
    ) -> None:
        told = {
            "thread": self._thread or None,
            "runId": run_id,
            "status": status,
            "reason": reason,
            "detail": detail,
            "message": None if message is None else message.model_dump(mode="json", exclude_none=True),
            "pending": [_shown(interaction) for interaction in pending],
        }
        self._paper.text(json.dumps(told, ensure_ascii=False) + "\n")

    def _explain(self, result: RunResult) -> None:
        """Say why there is no more of an answer, and what can be done."""
        again = f'{self._command("run")} "…"'
        if result.status == "withdrawn":
            self._paper.note("The message was taken back before its turn came.")
        elif result.status == "failed":
            self._paper.note(f"{(result.reason or 'failed').capitalize()}: {result.error_text or 'no more is known.'}")
        elif result.status == "requires_action" and not result.pending:
            self._paper.note(f"It asks you something. Answer with: {again}")
        elif result.status == "requires_action":
            several = len(result.pending) > 1
            for interaction in result.pending:
                which = f" --call {shlex.quote(interaction.tool_call_id)}" if several else ""
                verdict = "--approve" if _is_verdict(interaction) else '--output "…"'
                self._paper.note(_request(interaction, result.message))
                self._paper.note(f"Answer with: {self._command('answer')}{which} {verdict}")
            if any(_is_verdict(interaction) for interaction in result.pending):
                self._paper.note("Or, instead of --approve: --deny")
            self._paper.note(f"Or go on without: {again}")

    def _command(self, name: str) -> str:
        return " ".join(["decopilot", name, *(f"{option} {shlex.quote(v)}" for option, v in self._options.items())])


def _is_verdict(interaction: Interaction) -> bool:
    """Tell whether it is answered by yes or no; a plan is."""
    return interaction.kind == "approval" or interaction.tool_name == "propose_plan"


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
