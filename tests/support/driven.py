"""An agent, driven as the runner drives it, with a log of its own: killed anywhere, taken over, gone on with."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai import RunContext, Tool
from pydantic_ai.exceptions import ApprovalRequired
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel

from decopilot.agent import Agent, AgentRequest
from decopilot.contracts.chunks import RUN, RUN_REWIND, Chunk, encode_chunk, transient
from decopilot.contracts.frames import Frame, Outcome, Ranges
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId
from decopilot.contracts.interactions import Approval, Resolution
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot.domain.fold import Fold
from decopilot.domain.interactions import pending_in, resolution_chunks, with_verdicts
from decopilot.domain.outcome import resolve
from decopilot.domain.resuming import resume_point
from decopilot_runner.checking import Checker
from decopilot_runner.default_agent import adapt
from decopilot_runner.default_agent.asking import read_only
from decopilot_runner.default_agent.demo_tools import NOTES

ORG, THREAD, ANSWER = OrgId("org"), ThreadId("thread"), MessageId("answer")
READONLY = RunConfig(tool_approval_level="readonly")
Said = str | dict[int, DeltaToolCall] | dict[int, DeltaThinkingPart]


def asked(text: str) -> UIMessage:
    """Make a user's message."""
    return UIMessage(id=MessageId("question"), role="user", parts=[{"type": "text", "text": text}])


class KilledError(Exception):
    """The runner was killed."""


@dataclass
class Driven:
    """One run of an agent and its log. A frame holds one chunk, so that it can be cut anywhere."""

    agent: Agent
    text: str
    run: str = "run"
    config: RunConfig = field(default_factory=RunConfig)
    continues: UIMessage | None = None
    resolutions: Sequence[Resolution] = ()
    frames: list[Frame] = field(default_factory=list)
    void: Ranges = ()
    attempts: int = 0
    fold: Fold = field(default_factory=lambda: Fold(ANSWER))
    chunks: list[Chunk] = field(default_factory=list)
    """What the agent of the last attempt yielded."""

    @property
    def message(self) -> UIMessage:
        """The message so far."""
        return self.fold.message()

    def write(self, *chunks: Chunk) -> None:
        index = 0 if not self.frames else self.frames[-1].index + len(self.frames[-1].lines)
        body, run = b"\n".join(map(encode_chunk, chunks)), RunId(self.run)
        frame = Frame(ORG, THREAD, run, index, str(index), self.attempts, index, 0, body, void=self.void)
        self.frames.append(frame)

    async def attempt(self, *, kill_at: int | None = None, loses: int = 0) -> Outcome:
        """Drive the agent to its end, or kill it once it yielded so many chunks, of which the last are lost.

        Raises:
            KilledError: it was killed.

        """
        self.attempts += 1
        partial = self._begin()
        self.chunks = []
        checker, finish = Checker(10**6), Chunk()
        history, run = [asked(self.text)], RunId(self.run)
        request = AgentRequest(
            ORG,
            THREAD,
            run,
            ANSWER,
            history,
            self.config,
            partial,
            resumed=self.attempts > 1,
            in_step=self.fold.in_step,
        )
        async with aclosing(self.agent(request)) as yielded:
            async for said in yielded:
                chunk = checker.check(said)
                self.chunks.append(chunk)
                is_lost = kill_at is not None and len(self.chunks) > kill_at - loses
                if chunk["type"] == "finish":
                    finish = chunk
                elif not is_lost:
                    self.fold.add(chunk)
                    self.write(chunk)
                if len(self.chunks) == kill_at:
                    raise KilledError
        outcome = resolve(finish["finishReason"], self.message)
        waits = outcome.status == "requires_action"
        assert [] == self.fold.closing_chunks("left open", waits=waits)
        return outcome

    async def killed_at(self, chunk: int, *, loses: int = 0) -> None:
        """Drive the agent until the runner is killed."""
        with pytest.raises(KilledError):
            await self.attempt(kill_at=chunk, loses=loses)

    def _begin(self) -> UIMessage | None:
        fence = transient(RUN, {"runId": self.run, "attempt": self.attempts})
        if not self.frames:
            opening: list[Chunk] = [{"type": "start", "messageId": ANSWER}, fence]
            if self.continues is not None:
                message = with_verdicts(self.continues, self.resolutions)
                told = message.model_dump(mode="json", exclude_none=True)
                opening.append(transient(RUN_REWIND, {"runId": self.run, "attempt": 1, "message": told}))
            self.write(*opening)
            for chunk in opening:
                self.fold.add(chunk)
        else:
            self.write(fence)
            point = resume_point(ANSWER, self.frames)
            self.fold, self.void = point.fold, point.void
        for chunk in resolution_chunks(self.message, self.resolutions):
            self.fold.add(chunk)
            self.write(chunk)
        return self.message if self.message.parts else None

    def gone_on_with(self, *resolutions: Resolution) -> "Driven":
        """Make the run that goes on with this one's message."""
        return Driven(self.agent, self.text, f"{self.run}+", self.config, self.message, resolutions)

    def stored(self) -> list[Chunk]:
        """Give what counts of the log, as a client without rewinds sees it."""
        void = {index for start, end in self.void for index in range(start, end)}
        chunks = [(n, chunk) for frame in self.frames for n, chunk in enumerate(frame.chunks, frame.index)]
        return [chunk for n, chunk in chunks if n not in void and not chunk.get("transient")]


def of(chunks: Sequence[Chunk], *types: str) -> list[Chunk]:
    return [chunk for chunk in chunks if chunk["type"] in types]


def kinds(chunks: Sequence[Chunk]) -> list[str]:
    return [chunk["type"] for chunk in chunks]


def calls_of(message: UIMessage) -> list[dict[str, Any]]:
    return [part for part in message.parts if "toolCallId" in part]


def noted(folder: Path) -> list[str]:
    file = folder / NOTES
    return [json.loads(line)["text"] for line in file.read_text().splitlines()] if file.exists() else []


def says(*steps: Sequence[Said], heard: list[ModelMessage] | None = None) -> FunctionModel:
    """Make a model that goes through what it is told, step by step; what it is sent last is `heard`."""

    async def stream(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[Any]:
        if heard is not None:
            heard[:] = messages
        for delta in steps[sum(isinstance(message, ModelResponse) for message in messages)]:
            yield delta

    return FunctionModel(stream_function=stream)


def call(name: str, index: int, args: str = "{}") -> dict[int, DeltaToolCall]:
    return {index: DeltaToolCall(name, args, tool_call_id=f"c{index}")}


def verdicts(message: UIMessage, *, approved: bool = True, reason: str | None = None) -> list[Approval]:
    """Answer everything that asks for approval."""
    return [
        Approval(approval_id=found.id, approved=approved, reason=reason)
        for found in pending_in(message)
        if found.kind == "approval"
    ]


@dataclass
class Toolbox:
    """Tools that say that they were called."""

    called: list[str] = field(default_factory=list)

    def tool(self, name: str, metadata: dict[str, Any] | None = None, **options: Any) -> Tool[Any]:  # noqa: ANN401
        async def act(ctx: RunContext[Any]) -> str:
            self.called.append(str(ctx.tool_call_id))
            return f"{name} done"

        return Tool(act, name=name, metadata=metadata, **options)

    def asking(self, name: str) -> Tool[Any]:
        """Make a tool that asks for its approval itself."""

        async def act(ctx: RunContext[Any]) -> str:
            if not ctx.tool_call_approved:
                raise ApprovalRequired
            self.called.append(str(ctx.tool_call_id))
            return "done"

        return Tool(act, name=name, metadata=read_only())


def agent_of(model: FunctionModel, *tools: Tool[Any]) -> Agent:
    return adapt(PydanticAgent[None, str](model, tools=tools))
