"""The run inspector: what a gateway tells of the runs of a thread, from the log alone."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlencode

import pytest
from openapi_schema_validator import OAS31Validator

from decopilot.client import ApiError, Client
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId, UserId
from decopilot.contracts.messages import Usage
from decopilot.domain.commands import CompleteStep, Delete, Start
from decopilot.domain.fold import fold
from decopilot.domain.resuming import is_void
from decopilot.log import inspection
from decopilot.log.chunklog import ChunkLog
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.views import Views
from support.gateways import ORG, Gateway, Run, make_token, running_gateway, whole_run
from support.viewer import Api

THREAD = ThreadId("t1")
RUNS = "/{org}/decopilot/threads/{thread}/runs"
RUN, CHUNKS = f"{RUNS}/{{run}}", f"{RUNS}/{{run}}/chunks"
TRACE = "0af7651916cd43dd8448eb211c80319c"
STEP: Chunk = {"type": "start-step"}
END_STEP: Chunk = {"type": "finish-step"}


@dataclass(frozen=True)
class Door:
    """Reads of a gateway; what it answers is held against what its OpenAPI document says."""

    api: Api
    document: dict[str, Any]

    @classmethod
    async def of(cls, gateway: Gateway) -> Self:
        _, document = await gateway.api.call("GET", f"{gateway.url}/openapi.json")
        return cls(gateway.api, document)

    async def get(
        self, path: str, thread: str = THREAD, run: str = "run_1", org: str = ORG, **query: object
    ) -> tuple[int, dict[str, Any]]:
        url = f"{self.api.url}{path.format(org=org, thread=thread, run=run)}?{urlencode(query)}"
        status, body = await self.api.call("GET", url)
        declared = self.document["paths"][path]["get"]["responses"][str(status)]
        if "code" in body:
            assert body["code"] in declared["description"].removeprefix("Refused: ").split(", ")
        (content,) = declared["content"].values()
        OAS31Validator(content["schema"] | {"components": self.document["components"]}).validate(body)
        return status, body

    async def code(self, path: str, **more: Any) -> tuple[int, str]:  # noqa: ANN401  as `get` takes it
        status, body = await self.get(path, **more)
        return status, body.get("code", "")

    async def chunks(self, **query: Any) -> list[dict[str, Any]]:  # noqa: ANN401  a query
        """Read all chunks of the run, page by page."""
        found: list[dict[str, Any]] = []
        while True:
            status, page = await self.get(CHUNKS, **query)
            assert 200 == status
            found += page["chunks"]
            if page["next"] is None:
                return found
            query["from"] = page["next"]


@pytest.fixture
async def gateway(store: Store, broker_url: str) -> AsyncIterator[Gateway]:
    assert store.nc.is_connected
    async with running_gateway(broker_url, trace_url="https://traces.test/{trace_id}") as running:
        yield running


@pytest.fixture
async def door(gateway: Gateway) -> Door:
    return await Door.of(gateway)


def journal_of(store: Store) -> Journal:
    return Journal(store, Views(store))


async def start(store: Store, run: Run, attempt: int) -> None:
    """Append that a runner takes the run up."""
    wish = Start(now=datetime.now(UTC), run_id=run.run_id, attempt=attempt, runner_id=f"runner-{attempt}")
    await journal_of(store).execute(ORG, THREAD, wish)


async def step(store: Store, run: Run, attempt: int, number: int) -> None:
    usage = Usage(input_tokens=10 * number, output_tokens=number)
    wish = CompleteStep(now=datetime.now(UTC), run_id=run.run_id, attempt=attempt, step=number, usage=usage)
    await journal_of(store).execute(ORG, THREAD, wish)


def text(name: str, *deltas: str, ends: bool = True) -> list[Chunk]:
    end: list[Chunk] = [{"type": "text-end", "id": name}] if ends else []
    said: list[Chunk] = [{"type": "text-delta", "id": name, "delta": delta} for delta in deltas]
    return [{"type": "text-start", "id": name}, *said, *end]


async def resumed_run(store: Store) -> None:
    """Write a run whose first runner died in its second step: in the middle of one frame and all of the next."""
    async with Run(store, THREAD) as run:
        run.requested = run.requested.model_copy(update={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"})
        await run.record_request()
        await start(store, run, 1)
        await run.open()
        await run.frame(STEP, *text("a", "kept ", ends=False))
        await run.frame({"type": "text-end", "id": "a"}, END_STEP, STEP, *text("b", "void", ends=False))
        await step(store, run, 1, 1)
        await run.frame(
            {"type": "text-delta", "id": "b", "delta": " void"}, {"type": "text-delta", "id": "b", "delta": "!"}
        )
        await start(store, run, 2)
        await run.take_over()
        await run.frame(STEP, *text("z", "the", " end"), END_STEP)
        await step(store, run, 2, 2)
        await run.close()
        await run.record_end("kept the end")


async def test_a_resumed_run_is_told_with_its_attempts_and_what_of_its_log_counts_no_more(
    door: Door, store: Store
) -> None:
    await resumed_run(store)
    status, run = await door.get(RUN)
    assert 200 == status
    assert ("completed", 2, 2, "u1", "a1", TRACE) == tuple(
        run[name] for name in ("status", "attempts", "steps", "messageId", "answerId", "traceId")
    )
    assert {"id": TRACE, "url": f"https://traces.test/{TRACE}"} == run["trace"]
    assert run["requestedAt"] <= run["startedAt"] <= run["endedAt"]
    assert [
        "run_requested",
        "run_started",
        "step_completed",
        "run_started",
        "step_completed",
        "run_completed",
    ] == [event["type"] for event in run["events"]]
    assert sorted(event["sequence"] for event in run["events"]) == [event["sequence"] for event in run["events"]]
    assert ["runner-1", "runner-2"] == [event["runner_id"] for event in run["events"] if "runner_id" in event]

    stored = await ChunkLog(store).of_run(ORG, THREAD, RunId("run_1"), until=0)
    assert [(frame.sequence, frame.attempt, frame.index, len(frame.body)) for frame in stored] == [
        (frame["sequence"], frame["attempt"], frame["firstIndex"], frame["bytes"]) for frame in run["frames"]
    ]
    by_void = [(frame["void"], frame["voidChunks"], frame["chunks"]) for frame in run["frames"]]
    # The opening and the first step are kept; of the third frame all behind its `finish-step` is void, and the fourth.
    assert [False, False, False, True] == [is_whole for is_whole, *_ in by_void[:4]]
    assert (3, 5) == by_void[2][1:]
    assert [False] * (len(by_void) - 1) + [True] == [frame["closing"] for frame in run["frames"]]
    assert {"text-delta": 2} == run["frames"][3]["kinds"]
    assert sum(frame["chunks"] for frame in run["frames"]) == run["chunks"]
    assert (False, None) == (run["chunksGone"], run["next"])
    assert all(frame["at"] is not None for frame in run["frames"])


async def test_a_frame_tells_which_of_its_chunks_take_a_tool_call_one_state_further(door: Door, store: Store) -> None:
    call = {"toolCallId": "c1"}
    async with Run(store, THREAD) as run:
        await run.record_request()
        await start(store, run, 1)
        await run.open()
        await run.frame(
            STEP,
            {"type": "tool-input-start", "toolName": "note"} | call,
            {"type": "tool-input-delta", "inputTextDelta": "{}"} | call,
            {"type": "tool-input-available", "toolName": "note", "input": {}} | call,
        )
        await run.frame({"type": "tool-output-available", "output": "half", "preliminary": True} | call)
        await run.frame({"type": "tool-output-available", "output": "all"} | call, END_STEP)
        await run.close()
        await run.record_end("")
    _, told = await door.get(RUN)
    told_by_frame = [
        [
            (one["index"] - frame["firstIndex"], one["type"], one["toolCallId"], one["toolName"])
            for one in frame["tools"]
        ]
        for frame in told["frames"]
    ]
    assert [
        [(1, "tool-input-start", "c1", "note"), (3, "tool-input-available", "c1", "note")],
        [],
        [(0, "tool-output-available", "c1", None)],
    ] == told_by_frame[1:4]
    assert not any(told_by_frame[:1] + told_by_frame[4:])


async def test_chunks_are_read_page_by_page_each_once_and_those_that_count_fold_to_the_message(
    door: Door, store: Store
) -> None:
    await resumed_run(store)
    stored = await ChunkLog(store).of_run(ORG, THREAD, RunId("run_1"), until=0)
    expected = [
        (f"{frame.sequence}-{place}", frame.index + place, frame.attempt, is_void(frame.index + place, stored[-1].void))
        for frame in stored
        for place, _ in enumerate(frame.lines)
    ]
    for limit in (1, 2, 3, 1000):
        found = await door.chunks(limit=limit)
        assert expected == [(one["cursor"], one["index"], one["attempt"], one["void"]) for one in found]
    living = [one["chunk"] for one in found if not one["void"]]
    said = [part["text"] for part in fold(MessageId("a1"), living).parts if part["type"] == "text"]
    assert ["kept ", "the end"] == said
    third = stored[2]
    of_frame = await door.chunks(limit=2, frame=third.sequence)
    assert third.chunks == [one["chunk"] for one in of_frame]
    assert [] == await door.chunks(frame=10**17)
    assert [] == await door.chunks(**{"from": str(stored[-1].end)})


async def test_what_is_purged_is_said_to_be_gone_and_events_stay(door: Door, store: Store) -> None:
    await whole_run(store, THREAD, "some words")
    await ChunkLog(store).purge(ORG, THREAD, RunId("run_1"))
    _, run = await door.get(RUN)
    assert (True, 1, ["run_requested", "run_completed"]) == (
        run["chunksGone"],
        len(run["frames"]),
        [event["type"] for event in run["events"]],
    )
    assert run["frames"][0]["closing"]
    assert run["chunks"] > run["frames"][0]["chunks"]
    _, page = await door.get(CHUNKS)
    assert (True, ["finish"]) == (page["chunksGone"], [one["chunk"]["type"] for one in page["chunks"]])


async def test_runs_are_listed_the_newest_first_and_page_by_page(door: Door, store: Store) -> None:
    end = 0
    for number in range(1, 6):
        end = await whole_run(store, THREAD, "words", number, previous=end)
    await whole_run(store, "t2", "of another thread")
    async with Run(store, THREAD, 6, previous=end) as run:
        await run.record_request()
    newest = [f"run_{number}" for number in range(6, 0, -1)]
    _, whole = await door.get(RUNS)
    assert (newest, None) == ([one["runId"] for one in whole["runs"]], whole["next"])
    assert ("in_progress", None, 0) == tuple(whole["runs"][0][name] for name in ("status", "startedAt", "attempts"))
    _, page = await door.get(RUNS, limit=4)
    _, rest = await door.get(RUNS, limit=4, before=page["next"])
    assert newest == [one["runId"] for one in (*page["runs"], *rest["runs"])]
    assert rest["next"] is None
    _, going = await door.get(RUN, run="run_6")
    assert (0, False, [], None) == (going["chunks"], going["chunksGone"], going["frames"], going["trace"])
    assert {"chunks": [], "next": None, "chunksGone": False} == (await door.get(CHUNKS, run="run_6"))[1]


async def test_a_run_of_more_than_fits_one_answer_is_told_page_by_page(
    door: Door, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "FRAMES_MAX", 3)
    monkeypatch.setattr(inspection, "CHUNKS_BYTES", 1000)
    await whole_run(store, THREAD, " ".join(["words"] * 8))
    frames: list[dict[str, Any]] = []
    run: dict[str, Any] = {"next": 0}
    pages = 0
    while run["next"] is not None:
        _, run = await door.get(RUN, after=run["next"])
        frames, pages = frames + run["frames"], pages + 1
    assert (10, 4) == (len(frames), pages)
    assert sum(frame["chunks"] for frame in frames) == run["chunks"]
    _, page = await door.get(CHUNKS, limit=1000)
    assert 1000 <= sum(len(str(one["chunk"])) for one in page["chunks"]) < 2000
    assert run["chunks"] == len(await door.chunks(limit=1000))


async def test_nobody_is_told_of_runs_that_are_not_there_or_not_theirs(door: Door, store: Store) -> None:
    await whole_run(store, THREAD, "words")
    viewer = Door(Api(door.api.url, make_token(sub="bob", orgs={ORG: "viewer"}), ORG), door.document)
    stranger = Door(Api(door.api.url, make_token(orgs={"other": "owner"}), ORG), door.document)
    for path in (RUNS, RUN, CHUNKS):
        assert 200 == (await viewer.get(path))[0]
        assert (403, "forbidden") == await stranger.code(path)
        assert (404, "thread_not_found") == await stranger.code(path, org="other")
        assert (404, "thread_not_found") == await door.code(path, thread="t9")
        assert (400, "invalid_id") == await door.code(path, thread="a.b")
    for path in (RUN, CHUNKS):
        assert (404, "run_not_found") == await door.code(path, run="run_9")
        assert (400, "invalid_id") == await door.code(path, run="a.b")
    wish = Delete(now=datetime.now(UTC), user_id=UserId("ann"), role="member")
    await journal_of(store).execute(OrgId(ORG), THREAD, wish)
    for path in (RUNS, RUN, CHUNKS):
        assert (404, "thread_not_found") == await door.code(path)


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        (RUNS, {"limit": 0}, "invalid_query"),
        (RUNS, {"limit": 1001}, "invalid_query"),
        (RUNS, {"before": "run_9"}, "invalid_query"),
        (RUN, {"after": "-1"}, "invalid_query"),
        (RUN, {"after": 10**18}, "invalid_query"),
        (CHUNKS, {"limit": 1001}, "invalid_query"),
        (CHUNKS, {"frame": "x"}, "invalid_query"),
        (CHUNKS, {"from": "7"}, "invalid_cursor"),
        (CHUNKS, {"from": ""}, "invalid_cursor"),
    ],
)
async def test_a_malformed_question_is_refused(
    door: Door, store: Store, path: str, query: dict[str, Any], code: str
) -> None:
    await whole_run(store, THREAD, "words")
    assert (400, code) == await door.code(path, **query)


async def test_the_python_client_reads_runs(gateway: Gateway, store: Store) -> None:
    await resumed_run(store)
    async with Client(gateway.url, make_token(), ORG) as client:
        (run,) = await client.runs(THREAD, limit=5)
        inspected = await client.run(THREAD, run.run_id)
        assert () == await client.runs(THREAD, before=run.run_id)
        with pytest.raises(ApiError) as refused:
            await client.run(THREAD, "run_9")
    assert ("run_1", "completed", 2, TRACE) == (run.run_id, run.status, run.attempts, run.trace_id)
    assert inspected.trace is not None
    assert f"https://traces.test/{TRACE}" == inspected.trace.url
    assert inspected.chunks == sum(frame.chunks for frame in inspected.frames)
    assert 6 == len(inspected.events)
    assert (404, "run_not_found") == (refused.value.status, refused.value.code)
