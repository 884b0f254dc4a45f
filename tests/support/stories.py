"""Threads made up at random, as a gateway tells them: the chunks of their runs, and what history has after each."""

from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from decopilot.contracts.chunks import RUN_END, RUN_REWIND, USER_MESSAGE, Chunk, transient
from decopilot.contracts.ids import MessageId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.fold import Fold, fold
from support.streams import valid_stream

Json = dict[str, Any]


@dataclass(slots=True)
class Frame:
    """One frame of the chunk log: its place, and its chunks. What a later attempt takes back is void."""

    seq: int
    chunks: list[Chunk]
    is_void: bool = False


@dataclass(slots=True)
class ToldRun:
    """One run: what begins it, what it says, and all that history has once it has ended."""

    id: str
    answer: str
    question: Json | None
    """The message that it answers; none where it goes on with an answer."""
    approval: str | None = None
    """What it ends with waiting for."""
    status: str = "completed"
    frames: list[Frame] = field(default_factory=list)
    history: list[Json] = field(default_factory=list)


def story(seed: int) -> Json:
    """Make up a thread of one to four runs; the same seed is the same thread."""
    rng = Random(seed)
    runs: list[ToldRun] = []
    history: list[Json] = []
    seq = rng.randint(1, 50)
    last = rng.randint(1, 4)
    for number in range(1, last + 1):
        before = runs[-1] if runs and runs[-1].approval else None
        run = _continued(before, number, history) if before else _asked(number)
        chunks, voids = _said(rng, run, history[-1] if before else None, may_ask=number < last)
        seq = _framed(rng, run, chunks, voids, seq)
        answer = fold(MessageId(run.answer), chunks).model_dump(mode="json", exclude_none=True)
        if run.question:
            history = [*history, run.question]
        history = [*(one for one in history if one["id"] != run.answer), answer]
        run.history = history
        runs.append(run)
    return {"seed": seed, "runs": [asdict(run) for run in runs]}


def _asked(number: int) -> ToldRun:
    question = {"id": f"msg_{number}", "role": "user", "parts": [{"type": "text", "text": f"question {number}"}]}
    return ToldRun(f"run_{number}", f"ans_{number}", question)


def _continued(before: ToldRun, number: int, history: list[Json]) -> ToldRun:
    assert history[-1]["id"] == before.answer
    return ToldRun(f"run_{number}", before.answer, None)


def _said(rng: Random, run: ToldRun, waiting: Json | None, *, may_ask: bool) -> tuple[list[Chunk], list[int]]:
    """Say what a run says, and at which places in it what is void stands."""
    start, *body, finish = [chunk for chunk in valid_stream(rng, run.answer) if chunk["type"] != "data-run"]
    run_chunk = transient("data-run", {"runId": run.id, "attempt": 1})
    if waiting:
        # Ids of its own: a call of an earlier run may not be meant.
        body = [{"type": "start-step"}, *_text(f"{run.id}-more"), {"type": "finish-step"}]
        verdict = _answered(waiting)
        rewind = transient(RUN_REWIND, {"runId": run.id, "attempt": 1, "message": verdict})
        call = verdict["parts"][-1]["toolCallId"]
        output = {"type": "tool-output-available", "toolCallId": call, "output": {"done": rng.randint(0, 9)}}
        head: list[Chunk] = [{"type": "start", "messageId": run.answer}, run_chunk, rewind, output]
    else:
        head = [start, run_chunk, transient(USER_MESSAGE, {"message": run.question})]
    end = _end(rng, run, finish)
    if may_ask and not waiting and rng.random() < 0.3:
        run.approval, run.status = f"ap_{run.id}", "requires_action"
        body += _ask(run)
        end = [transient(RUN_END, {"runId": run.id, "status": run.status}), {**finish, "finishReason": "tool-calls"}]
    chunks = [*head, *body, *end]
    return _died(rng, run, chunks, len(head)) if rng.random() < 0.35 else (chunks, [])


def _text(name: str) -> list[Chunk]:
    return [
        {"type": "text-start", "id": name},
        *({"type": "text-delta", "id": name, "delta": word} for word in ("and ", "so ", "on")),
        {"type": "text-end", "id": name},
    ]


def _ask(run: ToldRun) -> list[Chunk]:
    call = {"toolCallId": f"call-{run.id}"}
    return [
        {"type": "start-step"},
        {"type": "tool-input-available", "toolName": "delete", "input": {"n": 1}} | call,
        {"type": "tool-approval-request", "approvalId": run.approval} | call,
        {"type": "finish-step"},
    ]


def _answered(waiting: Json) -> Json:
    *parts, asked = waiting["parts"]
    approval = asked["approval"] | {"approved": True}
    return waiting | {"parts": [*parts, asked | {"state": "approval-responded", "approval": approval}]}


def _end(rng: Random, run: ToldRun, finish: Chunk) -> list[Chunk]:
    if rng.random() < 0.8:
        return [transient(RUN_END, {"runId": run.id, "status": run.status}), finish]
    run.status, reason = "failed", rng.choice(("error", "cancelled", "crashed"))
    told: Chunk = {"type": "abort"} if reason == "cancelled" else {"type": "error", "errorText": "it broke"}
    why = {"finishReason": "error", "failureReason": reason, "errorText": "it broke"}
    end = transient(RUN_END, {"runId": run.id, "status": "failed", "reason": reason})
    return [end, told, {"type": "finish", "finishReason": "error", "messageMetadata": why}]


def _died(rng: Random, run: ToldRun, chunks: list[Chunk], head: int) -> tuple[list[Chunk], list[int]]:
    """Have an attempt die behind the head: what it said behind a cut is void, and said anew by another."""
    growing, cuts = Fold(MessageId(run.answer)), list[tuple[int, UIMessage]]()
    for index, chunk in enumerate(chunks[:-2], 1):
        growing.add(chunk)
        if growing.is_settled and index >= head:
            cuts.append((index, growing.message()))
    if not cuts:
        return chunks, []
    cut, message = rng.choice(cuts)
    died = rng.randint(cut, len(chunks) - 2)
    told = message.model_dump(mode="json", exclude_none=True)
    again = [
        transient("data-run", {"runId": run.id, "attempt": 2}),
        transient(RUN_REWIND, {"runId": run.id, "attempt": 2, "message": told}),
    ]
    return [*chunks[:died], *again, *chunks[cut:]], list(range(cut, died))


def _framed(rng: Random, run: ToldRun, chunks: list[Chunk], voids: list[int], seq: int) -> int:
    rest = list(enumerate(chunks))
    while rest:
        many = rng.randint(1, 5)
        is_void = rest[0][0] in voids
        # A frame is of one attempt.
        alike = [pair for pair in rest[:many] if (pair[0] in voids) == is_void]
        alike = alike if rest[: len(alike)] == alike else rest[:1]
        run.frames.append(Frame(seq, [chunk for _, chunk in alike], is_void))
        rest = rest[len(alike) :]
        seq += rng.randint(1, 3)
    return seq
