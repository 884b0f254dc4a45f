"""What an agent is: the public way to bring one's own.

An agent is an async generator of chunks, called with an `AgentRequest`. The runner
writes `start` before the first chunk and the one closing `finish` after the last, so an agent yields what
lies between: steps, each opened by `start-step` and closed by `finish-step`, with text, reasoning and tool
chunks inside (AI SDK names). Code behind a `yield` runs only after what was yielded is handed on; behind a
`tool-input-available`, a tool output or a `finish-step` it runs only once the chunk log has acknowledged it.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from decopilot.contracts.chunks import Chunk
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId
from decopilot.contracts.messages import RunConfig, UIMessage


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """What an agent answers: `history` is oldest first and ends with the user's message."""

    org: OrgId
    thread: ThreadId
    run_id: RunId
    message_id: MessageId
    history: Sequence[UIMessage]
    config: RunConfig


Agent = Callable[[AgentRequest], AsyncGenerator[Chunk, None]]
"""An agent may end with a `finish` chunk to give `finishReason` and `messageMetadata`; without one the
reason is `stop`. Tokens used are told by a `message-metadata` chunk, cumulative over the run:
`{"usage": {"inputTokens": …, "outputTokens": …, "totalTokens": …}}`."""


class AgentError(Exception):
    """The agent failed in a way its user may read about; every other exception is told without its text."""

    def __init__(self, category: str, text: str) -> None:
        self.category, self.text = category, text
        super().__init__(f"{category}: {text}")
