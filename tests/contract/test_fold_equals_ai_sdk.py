import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from decopilot.contracts.chunks import Chunk, encode_chunk, transient
from decopilot.contracts.events import RunRequested
from decopilot.contracts.ids import MessageId, RunId, UserId
from decopilot.contracts.interactions import Answer, Approval, Resolution
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot.domain.fold import Fold, FoldError, fold
from decopilot.domain.interactions import resolution_chunks, with_verdicts
from decopilot.domain.margins import opening
from support.aisdk import VERSIONS, Folded, Job, fold_with_sdk
from support.streams import valid_stream
from support.versions import as_known_to, shown

pytestmark = [pytest.mark.node, pytest.mark.timeout(300)]

ID = MessageId("msg_1")
# A file's suffix says who has to take its chunks; without one, everybody.
READERS = {".v6": VERSIONS[2:], ".v7": VERSIONS[4:], ".newest": VERSIONS[5:]}
FOLDER = Path(__file__).parents[1] / "corpus"
CORPUS = sorted(FOLDER.glob("*.ndjson"), key=lambda path: path.name)
RANDOM_STREAMS = 150
CONTINUATIONS = 50

START: Chunk = {"type": "start", "messageId": ID}
OUT_OF_ORDER: tuple[Chunk, ...] = (
    {"type": "text-delta", "id": "x", "delta": ""},
    {"type": "text-end", "id": "x"},
    {"type": "reasoning-delta", "id": "x", "delta": ""},
    {"type": "reasoning-end", "id": "x"},
    {"type": "tool-input-delta", "toolCallId": "x", "inputTextDelta": ""},
    {"type": "tool-output-available", "toolCallId": "x", "output": 1},
    {"type": "tool-output-error", "toolCallId": "x", "errorText": ""},
)

Results = Mapping[tuple[str, str], Folded]


def read(path: Path) -> Job:
    chunks = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    slug = path.name.removesuffix(".ndjson")
    return Job(slug, chunks, versions=READERS.get(Path(slug).suffix, VERSIONS))


def random_jobs() -> list[Job]:
    """Make streams that ended well, and the same cut anywhere and closed as a cancelled or failed run is."""
    jobs = []
    for seed in range(RANDOM_STREAMS):
        rng = Random(seed)
        chunks = valid_stream(rng, ID)
        growing = Fold(ID)
        cut = chunks[: rng.randint(1, len(chunks) - 1)]
        for chunk in cut:
            growing.add(chunk)
        ended: Chunk = rng.choice(({"type": "abort"}, {"type": "error", "errorText": "The model failed."}))
        closed = [*cut, *growing.closing_chunks("Cancelled."), ended, {"type": "finish", "finishReason": "other"}]
        jobs += [Job(f"random {seed}", chunks), Job(f"open {seed}", cut), Job(f"closed {seed}", closed)]
    return jobs


def captured() -> Job:
    """Write two runs, and what may stand around them, as a client of a long-lived stream receives them."""
    lines = ["retry: 3000\n\n: welcome\n\n"]
    for sequence, name in enumerate(("two-steps-with-a-tool", "text-is-any-unicode")):
        chunks = [json.loads(line) for line in (FOLDER / f"{name}.ndjson").read_bytes().split(b"\n") if line]
        for index, chunk in enumerate(chunks):
            lines.append(f"id: {sequence}-{index}\ndata: {encode_chunk(chunk).decode()}\n\n: keep-alive\n\n")
    lines.append(f"data: {encode_chunk(transient('data-note', 1)).decode()}\n\ndata: [DONE]\n\n")
    return Job("captured", sse="".join(lines))


def continuations() -> list[Job]:
    """Make runs that go on with a message whose calls were approved, denied and answered; `ai` 5 knows no approvals."""
    verdicts: list[Resolution] = [
        Approval(approval_id="a1", approved=True),
        Approval(approval_id="a2", approved=False, reason="No."),
        Answer(tool_call_id="c3", output={"choice": None}),
        Answer(tool_call_id="c4", error_text="It is off."),
    ]
    asked = [("c1", {"id": "a1"}), ("c2", {"id": "a2"})]
    calls: list[dict[str, Any]] = [
        {"type": "tool-delete", "toolCallId": call, "state": "approval-requested", "input": {}, "approval": approval}
        for call, approval in asked
    ]
    calls += [
        {"type": "tool-ask", "toolCallId": "c3", "state": "input-available", "input": {"q": 1}},
        {"type": "dynamic-tool", "toolName": "ask", "toolCallId": "c4", "state": "input-available", "input": {}},
    ]
    said = {"type": "text", "text": "Shall I?", "state": "done"}
    waited = UIMessage(id=ID, role="assistant", parts=[{"type": "step-start"}, said, *calls], metadata={"a": 1})
    begun = with_verdicts(waited, verdicts)
    requested = RunRequested(
        at=datetime(2026, 1, 2, tzinfo=UTC),
        run_id=RunId("r2"),
        user_id=UserId("ann"),
        assistant_id=ID,
        config=RunConfig(),
        continues=RunId("r1"),
        resolutions=tuple(verdicts),
    )
    opened = [*opening(requested, 1, waited), *resolution_chunks(begun, verdicts)]
    done: Chunk = {"type": "tool-output-available", "toolCallId": "c1", "output": "deleted"}
    jobs = []
    for seed in range(CONTINUATIONS):
        rest = [chunk for chunk in valid_stream(Random(seed), ID) if chunk["type"] != "start"]
        message = begun.model_dump(mode="json", exclude_none=True)
        jobs.append(Job(f"continuation {seed}", [*opened, done, *rest], versions=VERSIONS[2:], message=message))
    return jobs


CAPTURED = captured()
UNKNOWN = Job("unknown field", [START | {"private": 1}])
REFUSED = [Job(f"refused {chunk['type']}", [START, chunk]) for chunk in OUT_OF_ORDER]
JOBS = {job.id: job for job in [*map(read, CORPUS), *random_jobs(), *continuations(), *REFUSED, CAPTURED, UNKNOWN]}


@pytest.fixture(scope="module")
def results() -> Results:
    return {(folded.id, folded.version): folded for folded in fold_with_sdk(JOBS.values())}


def ours(job: Job, version: str) -> dict[str, Any]:
    """Fold with our fold, then take back what `version` knew nothing of yet."""
    refused = {chunk["toolCallId"] for chunk in job.chunks if chunk["type"] == "tool-input-error"}
    return as_known_to(version, fold(ID, job.chunks), refused)


@pytest.mark.parametrize(
    ("slug", "version"),
    [pytest.param(job.id, version, id=f"{job.id}-{version}") for job in map(read, CORPUS) for version in job.versions],
)
def test_the_ai_sdk_folds_the_corpus_as_we_do(results: Results, slug: str, version: str) -> None:
    theirs = results[slug, version]

    assert [] == theirs.errors
    assert shown(theirs.message) == shown(ours(JOBS[slug], version))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["random", "open", "closed"])
def test_the_ai_sdk_folds_random_streams_as_we_do(results: Results, kind: str, version: str) -> None:
    for seed in range(RANDOM_STREAMS):
        theirs = results[f"{kind} {seed}", version]

        assert [] == theirs.errors, seed
        assert shown(theirs.message) == shown(ours(JOBS[theirs.id], version)), seed


@pytest.mark.parametrize("version", VERSIONS[2:])
def test_the_ai_sdk_goes_on_with_a_message_as_we_do(results: Results, version: str) -> None:
    for seed in range(CONTINUATIONS):
        theirs = results[f"continuation {seed}", version]

        assert [] == theirs.errors, seed
        # It has the message from before; we were told it by the rewind, which it does not look at.
        assert shown(theirs.message) == shown(ours(JOBS[theirs.id], version)), seed


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("job", REFUSED, ids=lambda job: job.id)
def test_what_our_fold_refuses_the_ai_sdk_refuses(results: Results, job: Job, version: str) -> None:
    with pytest.raises(FoldError):
        fold(ID, job.chunks)

    assert results[job.id, version].errors


@pytest.mark.parametrize("version", VERSIONS)
def test_the_old_schemas_judge_strictly(results: Results, version: str) -> None:
    refuses = version in {"ai5-oldest", "ai6-strict", "ai7-strict"}

    assert refuses == bool(results[UNKNOWN.id, version].errors)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_captured_stream_is_read_run_by_run(results: Results, version: str) -> None:
    theirs = results[CAPTURED.id, version]

    assert [] == theirs.errors
    alone = [results[name, version].message for name in ("two-steps-with-a-tool", "text-is-any-unicode")]
    assert alone == theirs.messages
