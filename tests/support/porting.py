"""An agent at the port: what it yields, as far as it gets into the log, and how its run ends."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, cast

from hypothesis import strategies as st

from decopilot.agent import AgentRequest
from decopilot.contracts.chunks import Chunk, encode_chunk, parse_outside
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.events import RunRequested
from decopilot.contracts.frames import Outcome
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId, UserId
from decopilot.contracts.messages import RunConfig
from decopilot.domain.fold import Fold
from decopilot.domain.margins import closing
from decopilot.log.blobs import Blobs
from decopilot.log.ending import Attempt
from decopilot.log.journal import Journal
from decopilot.log.pump import Pump
from decopilot_runner.pumping import AgentPump, Progress

ANSWER = MessageId("msg_1")
START: Chunk = {"type": "start", "messageId": ANSWER}


@dataclass
class Log:
    """Takes what a pump takes, and the events of its run."""

    chunks: list[Chunk] = field(default_factory=list)

    async def write(self, chunk: Chunk) -> None:
        self.chunks.append(parse_outside(encode_chunk(chunk)))

    async def barrier(self) -> None: ...

    async def execute(self, *_: object, **__: object) -> None: ...


@dataclass(frozen=True)
class Ported:
    """What came of a run: its whole log, of which so many chunks are the agent's, and its outcome."""

    log: list[Chunk]
    taken: int
    outcome: Outcome
    fold: Fold


async def ported(yields: Sequence[object]) -> Ported:
    """Have an agent yield this, and close its log as the runner does."""

    async def agent(_: AgentRequest) -> AsyncGenerator[Any, None]:
        for chunk in yields:
            yield chunk

    requested = RunRequested(
        at=datetime(2026, 1, 2, tzinfo=UTC),
        run_id=RunId("r1"),
        user_id=UserId("ann"),
        assistant_id=ANSWER,
        config=RunConfig(),
    )
    log = Log([START])
    progress = Progress(Attempt(OrgId("o"), ThreadId("t"), requested, 1, 0), cast("Pump", log), Fold(ANSWER))
    progress.fold.add(START)
    agents = AgentPump(
        cast("Journal", log),
        {"default": agent},
        Configuration(),
        cast("Blobs", None),
        answer_bytes=1 << 20,
        run_bytes=64 << 20,
        questions_wait=True,
    )
    outcome, finish = await agents.run(progress, [])
    taken = len(log.chunks) - 1
    waits = outcome.status == "requires_action" and outcome.finish_reason == "tool-calls"
    closed = progress.fold.closing_chunks(outcome.error_text or "Interrupted.", waits=waits)
    for chunk in [*closed, *closing(requested, outcome, finish.get("messageMetadata") or {})]:
        progress.fold.add(chunk)
        await log.write(chunk)
    return Ported(log.chunks, taken, outcome, progress.fold)


_IDS = st.sampled_from(["a", "b"])
_JSON: st.SearchStrategy[object] = st.sampled_from([None, 0, "", "x", [], {"q": 1}])
_GARBAGE: st.SearchStrategy[object] = st.sampled_from(
    [None, 1, "text", [], {}, {"type": None}, {"type": "text"}, {"type": "data-run", "data": 1}, {"type": "text-end"}]
)
_TEXTS = [f"{kind}-{step}" for kind in ("text", "reasoning") for step in ("start", "delta", "end")]


@st.composite
def _chunks(draw: st.DrawFn) -> object:
    """Make a chunk of a good form, in no order."""
    call = {"toolCallId": draw(_IDS)}
    named = call | {"toolName": draw(st.sampled_from(["search", "ask"]))}
    text = draw(st.sampled_from(_TEXTS))
    forms: list[Chunk] = [
        {"type": "start-step"},
        {"type": "finish-step"},
        {"type": text, "id": draw(_IDS)} | ({"delta": "word "} if text.endswith("delta") else {}),
        {"type": "tool-input-start"} | named,
        {"type": "tool-input-delta", "inputTextDelta": '{"q": '} | call,
        {"type": "tool-input-available", "input": draw(_JSON)} | named,
        {"type": "tool-input-error", "input": draw(_JSON), "errorText": "no"} | named,
        {"type": "tool-output-available", "output": draw(_JSON)} | call,
        {"type": "tool-output-error", "errorText": "no"} | call,
        {"type": "data-note", "data": draw(_JSON)},
        {"type": "message-metadata", "messageMetadata": {"a": 1}},
        {"type": "finish", "finishReason": draw(st.sampled_from(["stop", "tool-calls", "whim"]))},
    ]
    return draw(st.sampled_from(forms))


@st.composite
def _broken(draw: st.DrawFn) -> object:
    """Make a chunk with a field less, or one of another type."""
    chunk = draw(_chunks())
    assert isinstance(chunk, dict)
    name = draw(st.sampled_from(sorted(chunk)))
    rest = {key: value for key, value in chunk.items() if key != name}
    return draw(st.sampled_from([rest, rest | {name: 7}, chunk | {"more": 1}]))


YIELDS = st.lists(st.one_of(_chunks(), _chunks(), _chunks(), _broken(), _GARBAGE), max_size=14)
"""What a foreign agent may take into its head to yield."""


def disordered(rng: Random, chunks: Sequence[Chunk]) -> list[Chunk]:
    """Take a good stream, and lose, repeat or move some of its chunks."""
    told = list(chunks)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(told))
        match rng.randrange(3):
            case 0 if len(told) > 1:
                del told[at]
            case 1:
                told.insert(at, told[at])
            case _:
                told.insert(rng.randrange(len(told)), told.pop(at))
    return told
