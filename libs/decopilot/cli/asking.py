"""`decopilot run` and `decopilot answer`: ask one thing of a conversation, and see it through to the end of its run."""

import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from decopilot.cli.door import find_door
from decopilot.cli.errors import CliError
from decopilot.cli.following import Following, Hearing, Terms
from decopilot.cli.printing import Paper
from decopilot.cli.telling import ExitCode
from decopilot.client import Answer, Approval, Client, Interaction, RunResult, SendOptions, Thread, UIMessage
from decopilot.contracts.commands import OnConflict
from decopilot.contracts.ids import MessageId
from decopilot.contracts.interactions import Resolution

USER_ASK = "user_ask"
"""The tool of default agents that asks the user something; its output is `{"response": …}`."""
PROPOSE_PLAN = "propose_plan"
"""The tool of default agents that proposes a plan; its output is the verdict, `{"approved": …}`."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the user of `run` asks."""

    text: str
    on_conflict: OnConflict = "queue"
    tool_approval: Literal["auto", "readonly"] | None = None
    mode: Literal["default", "plan", "web-search"] = "default"
    agent: str | None = None
    tier: Literal["fast", "smart", "thinking", "image", "web_research"] | None = None
    files: Sequence[Path] = ()
    is_private: bool = False

    async def message(self, client: Client, thread: str, text: str) -> str | UIMessage:
        """Make the message, whose files are uploaded first."""
        if not self.files:
            return text
        files = [(await client.upload(thread, path)).part for path in self.files]
        parts = [{"type": "text", "text": text}, *files]
        return UIMessage(id=MessageId(f"msg_{uuid.uuid4().hex}"), role="user", parts=parts)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the user of `answer` answers: approvals and plans by `approved`, calls by `output`; all that wait or one."""

    approved: bool | None = None
    reason: str | None = None
    output: str | None = None
    call: str | None = None

    def check(self) -> None:
        """Raise `CliError` for a reply that says nothing, or a reason of nothing."""
        if self.approved is None and self.output is None:
            message = "Say what to answer: --approve, --deny or --output."
            raise CliError(message)
        if self.approved is None and self.reason is not None:
            message = "A --reason goes with --approve or --deny."
            raise CliError(message)


def ask(question: Question, terms: Terms, environment: Mapping[str, str]) -> ExitCode:
    """Ask, print, and return how it ended; raises `CliError` where it is refused or nobody answers."""
    following = Following(terms, terms.thread or f"thr_{uuid.uuid4().hex}", Paper(sys.stdout, sys.stderr))
    with following.refusals():
        door = find_door(environment, data_dir=terms.data_dir, org=terms.org, url=terms.url, token=terms.token)
        text = sys.stdin.read() if question.text == "-" else question.text
        if not text.strip():
            message = "There is nothing to ask: the text is empty."
            raise CliError(message)
        options: SendOptions = {"on_conflict": question.on_conflict, "mode": question.mode}
        if question.is_private:
            options["visibility"] = "private"
        if question.tool_approval is not None:
            options["tool_approval_level"] = question.tool_approval
        if question.agent is not None:
            options["agent"] = question.agent
        if question.tier is not None:
            options["tier"] = question.tier

        async def request(client: Client, thread: str, hearing: Hearing) -> RunResult:
            message = await question.message(client, thread, text)
            return await client.run_and_wait(thread, message, **hearing, **options)

        return following.run(door, request)


def answer(reply: Reply, terms: Terms, environment: Mapping[str, str]) -> ExitCode:
    """Resolve what a thread waits for, print, and return how that ended; raises `CliError` as `ask` does."""
    following = Following(terms, terms.thread or "", Paper(sys.stdout, sys.stderr))
    with following.refusals():
        reply.check()
        door = find_door(environment, data_dir=terms.data_dir, org=terms.org, url=terms.url, token=terms.token)

        async def request(client: Client, thread: str, hearing: Hearing) -> RunResult:
            resolutions = resolutions_of(reply, await client.thread(thread))
            return await client.resolve_and_wait(thread, resolutions, **hearing)

        return following.run(door, request)


def resolutions_of(reply: Reply, thread: Thread) -> Sequence[Resolution]:
    """Make what resolves what a thread waits for, so far as the reply says something to it.

    Raises:
        CliError: it says nothing to any of it, or one output to several calls.

    """
    if not thread.pending:
        asks = thread.status == "requires_action"
        message = (
            f'Thread {thread.id} asks something. Answer with: decopilot run --thread {thread.id} "…"'
            if asks
            else f"Thread {thread.id} waits for nothing."
        )
        raise CliError(message)
    meant = [asked for asked in thread.pending if reply.call in {None, asked.id, asked.tool_call_id}]
    if not meant:
        known = ", ".join(asked.id for asked in thread.pending)
        message = f"Thread {thread.id} waits for no call {reply.call!r}, but for {known}."
        raise CliError(message)
    verdicts = [asked for asked in meant if _is_verdict(asked)] if reply.approved is not None else []
    calls = [asked for asked in meant if asked.kind == "answer"] if reply.output is not None else []
    calls = [asked for asked in calls if asked not in verdicts]
    if len(calls) > 1:
        message = (
            f"Several calls wait for an answer: choose one with --call, of {', '.join(call.id for call in calls)}."
        )
        raise CliError(message)
    if not verdicts and not calls:
        message = (
            "It waits for an answer: give --output."
            if reply.approved is not None
            else "It waits for an approval: give --approve or --deny."
        )
        raise CliError(message)
    return [
        *(verdict_on(asked, approved=bool(reply.approved), reason=reply.reason) for asked in verdicts),
        *(Answer(tool_call_id=asked.id, output=output_for(asked, reply.output or "")) for asked in calls),
    ]


def _is_verdict(asked: Interaction) -> bool:
    return asked.kind == "approval" or asked.tool_name == PROPOSE_PLAN


def verdict_on(asked: Interaction, *, approved: bool, reason: str | None) -> Resolution:
    """Make what approves or denies a call, or a plan."""
    if asked.kind == "approval":
        return Approval(approval_id=asked.id, approved=approved, reason=reason)
    return Answer(tool_call_id=asked.id, output={"approved": approved} | ({} if reason is None else {"reason": reason}))


def output_for(asked: Interaction, text: str) -> object:
    """Read an output: JSON, or else a text as it is."""
    try:
        output = json.loads(text, parse_constant=_no_json)
    except ValueError:
        output = text
    return {"response": text} if asked.tool_name == USER_ASK and not isinstance(output, dict) else output


def _no_json(constant: str) -> object:
    raise ValueError(constant)
