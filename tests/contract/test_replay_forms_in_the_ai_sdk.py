"""Every form of a run that a client may ask for, folded by the real AI SDKs, which begin with nothing."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from decopilot.contracts.chunks import Chunk
from decopilot.contracts.events import RunRequested
from decopilot.contracts.frames import Outcome
from decopilot.contracts.ids import MessageId, RunId, UserId
from decopilot.contracts.interactions import Answer, Approval, Resolution
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot.domain.fold import fold
from decopilot.domain.interactions import pending_in, resolution_chunks
from decopilot.domain.margins import closing, opening
from decopilot.domain.replaying import DENIED, RunSoFar, for_sdk5, whole_message_opening
from decopilot.domain.resuming import living_chunks
from support.aisdk import VERSIONS, Folded, Job, fold_with_sdk
from support.crashing import crashing_run
from support.deciding import NOW
from support.demo import demo_agent
from support.driven import ANSWER, READONLY, Driven, Toolbox, agent_of, call, says, verdicts
from support.replaying import WAITED, as_told, stock
from support.streams import valid_stream
from support.versions import as_known_to, shown

pytestmark = [pytest.mark.node, pytest.mark.timeout(300)]

ID = WAITED.id
KNOW_APPROVALS, OF_5 = VERSIONS[2:], VERSIONS[:2]
# A file's suffix says who takes its chunks; without one, everybody.
READERS = {".v6": VERSIONS[2:], ".v7": VERSIONS[4:], ".newest": VERSIONS[5:]}
CORPUS = sorted((Path(__file__).parents[1] / "corpus").glob("*.ndjson"))
EXCEPT = {
    "approval-comes-while-input-streams.newest": "no agent of ours asks for approval of half an input",
    "message-id-changes.newest": "a run has one message",
}
NOT_OF_5 = {
    "dynamic-is-said-at-the-start-only.v6": "no output of a dynamic call is taken that does not say so",
    "metadata-named-like-a-prototype-is-not-merged.v6": "it is merged",
}
COMPLETED = Outcome(status="completed", finish_reason="stop")
RUNS = 25

Results = Mapping[tuple[str, str], Folded]


@dataclass(frozen=True, slots=True)
class Run:
    """The living chunks of a run: its first frame, and the rest."""

    id: str
    first: Sequence[Chunk]
    rest: Sequence[Chunk]
    versions: tuple[str, ...] = VERSIONS

    @property
    def chunks(self) -> list[Chunk]:
        return [*self.first, *self.rest]

    def compact(self, cut: int) -> list[Chunk]:
        """Tell the run as far as to this chunk compactly, the rest as it is."""
        run = RunSoFar()
        for chunk in self.chunks[:cut]:
            run.add(chunk)
        return [*run.compacted(), *self.chunks[cut:]]

    def whole(self) -> list[Chunk]:
        return [*whole_message_opening(self.first), *self.rest]


@dataclass(frozen=True, slots=True)
class Form:
    """One form of a run, as its chunks go over the wire, and the message that they are to make, if that is one."""

    run: Run
    name: str
    chunks: list[Chunk]
    wanted: UIMessage | None
    versions: tuple[str, ...] = field(default=VERSIONS)

    @property
    def job(self) -> Job:
        return Job(f"{self.run.id}: {self.name}", self.chunks, versions=self.versions)


def corpus_runs() -> Iterator[Run]:
    for path in CORPUS:
        if path.stem not in EXCEPT:
            chunks = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
            yield Run(path.stem, chunks[:2], chunks[2:], READERS.get(Path(path.stem).suffix, VERSIONS))


def made_up_runs() -> Iterator[Run]:
    """Make runs that go on with an answer, and runs that were taken over."""
    resolutions: list[Resolution] = [
        Approval(approval_id="a1", approved=True),
        Approval(approval_id="a2", approved=False, reason="No."),
        Approval(approval_id="a5", approved=True),
        Answer(tool_call_id="c3", output={"choice": None}),
        Answer(tool_call_id="c4", error_text="It is off."),
    ]
    requested = RunRequested(
        at=NOW,
        run_id=RunId("r2"),
        user_id=UserId("ann"),
        assistant_id=ID,
        config=RunConfig(),
        continues=RunId("r1"),
        resolutions=tuple(resolutions),
    )
    first = opening(requested, 1, WAITED)
    done: list[Chunk] = [
        *resolution_chunks(fold(ID, first), resolutions),
        {"type": "tool-output-available", "toolCallId": "c1", "output": "deleted"},
        {"type": "tool-output-error", "toolCallId": "c5", "errorText": "It broke."},
    ]
    for seed in range(RUNS):
        said = [chunk for chunk in valid_stream(Random(seed), ID) if chunk["type"] not in {"start", "finish"}]
        yield Run(f"continuation {seed}", first, [*done, *said, *closing(requested, COMPLETED, {"usage": {}})])
        resumed = [chunk for _, chunk in living_chunks(crashing_run(Random(seed), requested, 2, WAITED).log.frames)]
        if _names_calls_once(resumed):
            yield Run(f"resumed continuation {seed}", first, resumed[len(first) :])
        fresh = requested.model_copy(update={"continues": None, "resolutions": ()})
        living = [chunk for _, chunk in living_chunks(crashing_run(Random(seed), fresh, 2).log.frames)]
        if _names_calls_once(living):
            yield Run(f"resumed {seed}", living[:2], living[2:])


def _names_calls_once(chunks: Sequence[Chunk]) -> bool:
    """Tell whether no call goes by the id of one of another step: versions differ in which of them an output is of."""
    step, steps = 0, dict[str, int]()
    for chunk in chunks:
        step += chunk["type"] == "start-step"
        if chunk["type"].startswith("tool-input-") and steps.setdefault(chunk["toolCallId"], step) != step:
            return False
    return True


async def driven_runs(folder: Path) -> list[Run]:
    """Let agents ask, and go on once it is approved, denied and answered."""
    runs = []
    tools = [Toolbox().tool(name) for name in ("act", "other")]
    model = says([call("act", 0), call("other", 1)], ["done"])
    for is_approved in (True, False):
        asks = Driven(agent_of(model, *tools), "go", config=READONLY)
        await asks.attempt()
        goes_on = asks.gone_on_with(*verdicts(asks.message, approved=is_approved))
        await goes_on.attempt()
        runs += [_run("asks", asks), _run(f"approved {is_approved}", goes_on)]
    asks = Driven(demo_agent(delay_ms=0, demo_dir=folder), "/ask Which")
    await asks.attempt()
    answer = Answer(tool_call_id=pending_in(asks.message)[0].tool_call_id, output={"response": "this"})
    goes_on = asks.gone_on_with(answer)
    await goes_on.attempt()
    return [*runs[1:], _run("asks a question", asks), _run("answered", goes_on)]


def _run(name: str, driven: Driven) -> Run:
    first, *rest = driven.frames
    said = [chunk for frame in rest for chunk in frame.chunks]
    return Run(name, first.chunks, [*said, {"type": "finish", "finishReason": "stop"}])


def forms(run: Run) -> Iterator[Form]:
    # A client that sees a verdict in the stream, as only `ai` 7 can, knows more than what was compacted tells.
    judged = any(chunk["type"] == "tool-approval-response" for chunk in run.chunks)
    wanted = None if judged else as_told(fold(ID, run.chunks))
    last = len(run.chunks)
    cuts = {*Random(run.id).sample(range(len(run.first), last + 1), min(4, last + 1 - len(run.first))), last}
    told = {f"compact {cut}": run.compact(cut) for cut in sorted(cuts)} | {"message": run.whole()}
    knowing = tuple(version for version in run.versions if version in KNOW_APPROVALS)
    for name, chunks in told.items():
        yield Form(run, name, chunks, wanted, knowing)
        if run.versions in {VERSIONS, KNOW_APPROVALS} and run.id not in NOT_OF_5:
            of_5 = [given for chunk in chunks for given in for_sdk5(chunk)]
            yield Form(run, f"{name} for ai 5", of_5, fold(ID, stock(of_5)), OF_5)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[Form]:
    driven = asyncio.run(driven_runs(tmp_path_factory.mktemp("demo")))
    return [form for run in [*corpus_runs(), *made_up_runs(), *driven] for form in forms(run)]


@pytest.fixture(scope="module")
def results(told: list[Form]) -> Results:
    return {(folded.id, folded.version): folded for folded in fold_with_sdk(form.job for form in told)}


def check(told: list[Form], results: Results, version: str) -> int:
    checked = 0
    for form in told:
        if version not in form.versions:
            continue
        theirs, checked = results[form.job.id, version], checked + 1
        refused = {chunk["toolCallId"] for chunk in form.chunks if chunk["type"] == "tool-input-error"}
        assert [] == theirs.errors, form.job.id
        if form.wanted is not None:
            assert shown(theirs.message) == shown(as_known_to(version, form.wanted, refused)), form.job.id
    return checked


@pytest.mark.parametrize("version", KNOW_APPROVALS)
def test_the_ai_sdk_folds_every_form_of_a_run_to_its_message(told: list[Form], results: Results, version: str) -> None:
    assert check(told, results, version) > 5 * RUNS


@pytest.mark.parametrize("version", OF_5)
def test_ai_5_takes_every_run_in_the_form_for_it(told: list[Form], results: Results, version: str) -> None:
    assert check(told, results, version) > 5 * RUNS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("run", ["approved True", "answered"])
def test_what_was_approved_or_answered_is_a_valid_message(
    told: list[Form], results: Results, run: str, version: str
) -> None:
    valid = [results[form.job.id, version].is_valid for form in told if form.run.id == run and version in form.versions]

    assert valid
    assert all(valid)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_denied_is_a_valid_message_in_ai_5_only(told: list[Form], results: Results, version: str) -> None:
    denied = [form for form in told if form.run.id == "approved False" and version in form.versions]

    assert denied
    for form in denied:
        assert results[form.job.id, version].is_valid == (version in OF_5)
        assert form.wanted is not None
        calls = [part for part in form.wanted.parts if "toolCallId" in part]
        assert {part.get("errorText") for part in calls} == ({DENIED} if version in OF_5 else {None})


FULL: Sequence[Chunk] = (
    {"type": "tool-input-start", "toolCallId": "c", "toolName": "x", "title": "X", "inputEncoding": "text"},
    {"type": "tool-input-start", "toolCallId": "c", "toolName": "x", "providerMetadata": {"a": {}}, "toolMetadata": {}},
    {"type": "tool-input-available", "toolCallId": "c", "toolName": "x", "input": 1, "title": "X", "toolMetadata": {}},
    {"type": "tool-input-available", "toolCallId": "c", "toolName": "x", "input": 1, "providerMetadata": {"a": {}}},
    {
        "type": "tool-output-available",
        "toolCallId": "c",
        "output": 1,
        "providerMetadata": {"a": {}},
        "preliminary": True,
    },
    {
        "type": "tool-output-error",
        "toolCallId": "c",
        "errorText": "",
        "toolMetadata": {},
        "providerMetadata": {"a": {}},
    },
    {"type": "tool-input-error", "toolCallId": "c", "toolName": "x", "input": 1, "errorText": "", "title": "X"},
    {"type": "tool-input-error", "toolCallId": "c", "toolName": "x", "input": 1, "errorText": "", "toolMetadata": {}},
    {"type": "tool-approval-request", "approvalId": "a", "toolCallId": "c", "signature": "s"},
    {"type": "tool-approval-response", "approvalId": "a", "approved": True},
    {"type": "tool-output-denied", "toolCallId": "c"},
    {"type": "text-start", "id": "t", "providerMetadata": {"a": {}}},
    {"type": "text-end", "id": "t", "citations": [], "providerMetadata": {"a": {}}},
    {"type": "reasoning-start", "id": "t", "providerMetadata": {"a": {}}},
    {"type": "reasoning-end", "id": "t", "providerMetadata": {"a": {}}},
    {"type": "source-url", "sourceId": "s", "url": "", "title": "X", "providerMetadata": {"a": {}}},
    {"type": "source-document", "sourceId": "s", "mediaType": "", "title": "X", "filename": "", "providerMetadata": {}},
    {"type": "file", "url": "", "mediaType": "", "providerMetadata": {"a": {}}},
    {"type": "reasoning-file", "url": "", "mediaType": ""},
    {"type": "custom", "kind": "a.b"},
    {"type": "steering-message", "id": "s", "parts": []},
    {"type": "reset-step"},
    {"type": "data-x", "id": "d", "data": None, "transient": False},
    {"type": "message-metadata", "messageMetadata": {"a": None}},
    {"type": "abort", "reason": "stopped"},
    {"type": "finish", "finishReason": "interrupted", "messageMetadata": {}},
    {"type": "finish", "finishReason": "other"},
)


def test_the_schema_of_ai_5_takes_every_field_that_is_left() -> None:
    begun: list[Chunk] = [{"type": "start", "messageId": MessageId(ANSWER), "messageMetadata": {}}]
    chunks = [*begun, *(given for chunk in FULL for given in for_sdk5(chunk))]
    refused = [Job(f"as it was {number}", [*begun, chunk]) for number, chunk in enumerate(FULL)]
    *as_they_were, strict = fold_with_sdk([*refused, Job("for ai 5", chunks, versions=OF_5[:1])])

    assert [] == strict.errors
    # That version's schema can refuse: it does so with what is changed for it, and with nothing else.
    for chunk, folded in zip(FULL, (one for one in as_they_were if one.version == OF_5[0]), strict=True):
        is_refused = any(error.startswith("refused chunk") for error in folded.errors)
        assert is_refused == (for_sdk5(chunk) != [chunk]), chunk
