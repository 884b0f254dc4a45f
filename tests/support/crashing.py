"""Runs whose attempts die: what each writes, in frames cut at random, until one ends the run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from decopilot.contracts.chunks import Chunk, encode_chunk
from decopilot.contracts.events import RunRequested
from decopilot.contracts.frames import Frame, Outcome, Ranges
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.fold import Fold
from decopilot.domain.margins import closing, opening, rewind_chunk, run_chunk
from decopilot.domain.resuming import resume_point
from support.streams import valid_stream

COMPLETED = Outcome(status="completed", finish_reason="stop")


@dataclass(slots=True)
class RunLog:
    """A run's frames, as a pump stores them; one at a time, each of one attempt."""

    frames: list[Frame] = field(default_factory=list)
    void: Ranges = ()

    @property
    def index(self) -> int:
        """Where the next frame begins."""
        return self.frames[-1].index + len(self.frames[-1].lines) if self.frames else 0

    def store(
        self, attempt: int, chunks: Sequence[Chunk], *, rewinds: bool = False, outcome: Outcome | None = None
    ) -> None:
        """Store one frame."""
        number = len(self.frames) + 1
        frame = Frame(
            org=OrgId("org"),
            thread=ThreadId("thread"),
            run=RunId("r1"),
            sequence=number,
            frame_id=f"f{number}",
            attempt=attempt,
            index=self.index,
            previous=number - 1,
            body=b"\n".join(map(encode_chunk, chunks)),
            outcome=outcome,
            void=self.void,
            rewinds=rewinds,
        )
        self.frames.append(frame)


@dataclass(slots=True)
class CrashingRun:
    """A run of several attempts: `before` are the frames that each but the first found, its own fence the last.

    `fold` is what its writers folded, each going on behind its resume point.
    """

    log: RunLog
    fold: Fold
    before: list[list[Frame]] = field(default_factory=list)


def crashing_run(rng: Random, requested: RunRequested, crashes: int, continued: UIMessage | None = None) -> CrashingRun:
    """Make a run up whose first attempts die at any chunk, and whose last one ends it."""
    run = CrashingRun(RunLog(), Fold(requested.assistant_id))
    begun = opening(requested, 1, continued)
    run.log.store(1, begun)
    _fold(run.fold, begun)
    for attempt in range(1, crashes + 1):
        said = _answer(rng, run.fold)
        _write(rng, run, attempt, said[: rng.randint(0, len(said))])
        _take_over(rng, run, requested, attempt + 1)
    _write(rng, run, crashes + 1, _answer(rng, run.fold))
    chunks = closing(requested, COMPLETED, {})
    run.log.store(crashes + 1, chunks, outcome=COMPLETED)
    _fold(run.fold, chunks)
    return run


def _take_over(rng: Random, run: CrashingRun, requested: RunRequested, attempt: int) -> None:
    fence = run_chunk(requested, attempt)
    run.log.store(attempt, [fence])
    point = resume_point(requested.assistant_id, run.log.frames)
    run.before.append(list(run.log.frames))
    run.fold = point.fold
    if point.void == run.log.void:
        return
    if rng.random() < 0.15:
        # It dies between its fence and the frame that says what is void.
        run.before.pop()
        _take_over(rng, run, requested, attempt)
        return
    run.log.void = point.void
    run.log.store(attempt, [rewind_chunk(requested, attempt, point.fold.message())], rewinds=True)


def _write(rng: Random, run: CrashingRun, attempt: int, chunks: list[Chunk]) -> None:
    _fold(run.fold, chunks)
    while chunks:
        size = rng.choice((1, 1, 2, 3, 8))
        run.log.store(attempt, chunks[:size])
        chunks = chunks[size:]


def _fold(fold: Fold, chunks: Sequence[Chunk]) -> None:
    for chunk in chunks:
        fold.add(chunk)


def _answer(rng: Random, begun: Fold) -> list[Chunk]:
    """Say what is still missing: outputs of calls that have none, the rest of an open step, then more steps."""
    chunks: list[Chunk] = []
    for part in begun.message().parts:
        is_open = part.get("state") in {"input-available", "approval-responded"} or part.get("preliminary")
        if "toolCallId" in part and is_open and part.get("approval", {}).get("approved") is not False:
            flags = {"dynamic": True} if part["type"] == "dynamic-tool" else {}
            output = {"toolCallId": part["toolCallId"], "output": rng.choice((None, 1, {"a": [1]}))} | flags
            chunks.append({"type": "tool-output-available"} | output)
    if begun.in_step:
        chunks.append({"type": "finish-step"})
    steps = valid_stream(rng, begun.message().id)
    return [*chunks, *(chunk for chunk in steps if chunk["type"] not in {"start", "finish"})]
