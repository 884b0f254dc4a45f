"""What an agent is: the public way to bring one's own. docs/agents.md tells it at length, with examples that run.

An agent is an async generator of chunks, called with an `AgentRequest`. The runner
writes `start` before the first chunk and the one closing `finish` after the last, so an agent yields what
lies between: steps, each opened by `start-step` and closed by `finish-step`, with text, reasoning and tool
chunks inside (AI SDK names). Code behind a `yield` runs only after what was yielded is handed on; behind a
`tool-input-available`, a tool output or a `finish-step` it runs only once the chunk log has acknowledged it.
Ids of calls are the agent's to choose: unique in the thread, and the same in every attempt.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from decopilot.agent.outbound import outbound_session
from decopilot.agent.showing import show, streamed
from decopilot.agent.tools import ToolCall, ToolError, ToolHints, current_call, hints_of, tool
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId
from decopilot.contracts.messages import RunConfig, UIMessage

__all__ = [
    "Agent",
    "AgentError",
    "AgentRequest",
    "ToolCall",
    "ToolError",
    "ToolHints",
    "current_call",
    "hints_of",
    "outbound_session",
    "show",
    "streamed",
    "tool",
]


@dataclass(frozen=True, slots=True)
class File:
    """A file that a user attached, as it was stored."""

    data: bytes
    media_type: str
    name: str | None = None


ReadFile = Callable[[str, int], Awaitable[File | None]]
"""Reads the file that the `url` of a `file` part names, unless it has more than so many bytes. None for what is too
large, gone, or on another host: that is never asked for anything."""


async def no_files(_url: str, _at_most_bytes: int) -> File | None:
    """Read none."""
    return None


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """What an agent answers: `history` is oldest first and ends with the user's message.

    With `partial` the answer has begun: the agent goes on with it, and yields only what is still missing. Its parts are
    those of the AI SDK: a `step-start` for each step, `text`, `reasoning`, and calls as `tool-NAME` with a `state`.
    Calls in state `output-*` are done, those that were denied among them. One in state `approval-responded` was
    approved: it is to be executed, and its output yielded. One in state `approval-requested` still asks. One in state
    `input-available` has no output yet. With `resumed`, another attempt had the same task before and died, or left: a
    call without output may have happened, or not. What is behind the last finished step, whole call or output is gone,
    and is said anew. With `in_step` the last step of `partial` is still open: its `finish-step` is among what is
    missing, and the finished steps are one less than there are `step-start`.

    `read_file` reads what users attached: `await request.read_file(part["url"], at_most_bytes)`.

    `message_id` is the answer's, the same in every attempt and continuation; `run_id` is a continuation's own.

    `tools` are the functions that the configuration names for the agent, by their names: what one does stands in its
    docstring, what it takes in its annotations.

    A run is cancelled by closing the generator: `asyncio.CancelledError` or `GeneratorExit` at its `await` or `yield`.
    """

    org: OrgId
    thread: ThreadId
    run_id: RunId
    message_id: MessageId
    history: Sequence[UIMessage]
    config: RunConfig
    partial: UIMessage | None = None
    resumed: bool = False
    in_step: bool = False
    tools: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    read_file: ReadFile = no_files


Agent = Callable[[AgentRequest], AsyncGenerator[Chunk, None]]
"""An agent may end with a `finish` chunk to give `finishReason` and `messageMetadata`; without one the
reason is `stop`. With the reason `tool-calls`, calls that have their input and no output, and those that ask for
approval (`tool-approval-request`), wait for the user: the run ends, and another goes on once they are answered.
Tokens used are told by a `message-metadata` chunk, cumulative over the run:
`{"usage": {"inputTokens": …, "outputTokens": …, "totalTokens": …}}`."""


class AgentError(Exception):
    """The agent failed in a way its user may read about; every other exception is told without its text."""

    def __init__(self, category: str, text: str) -> None:
        self.category, self.text = category, text
        super().__init__(f"{category}: {text}")
