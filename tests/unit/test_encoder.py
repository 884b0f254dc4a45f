import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai import CallToolsNode, ModelRequestNode, ModelRetry
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import (
    AgentStreamEvent,
    FinishReason,
    FunctionToolResultEvent,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponseState,
    NativeToolCallPart,
    NativeToolReturnPart,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
    ToolReturnPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.usage import RunUsage

from decopilot.agent import Agent, AgentError, AgentRequest
from decopilot.contracts.chunks import Chunk, encode_chunk
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot_runner.default_agent import STEPS, adapt
from decopilot_runner.default_agent.encoder import UNFINISHED, Encoder
from support.demo import demo_agent

Said = str | dict[int, DeltaToolCall] | dict[int, DeltaThinkingPart]

DIRECTIVES = ["hello", "/count 7", "/think of rain", "/weather Oslo", "/length", "/steps 3", "/slowtool 0"]
FAILURES = ["/fail", "/fail 3"]

CALL_STATES = {
    "tool-input-start": (None, "typed", "toolName"),
    "tool-input-delta": ("typed", "typed", "inputTextDelta"),
    "tool-input-available": ("typed", "called", "input"),
    "tool-input-error": ("typed", "done", "input"),
    "tool-output-available": ("called", "done", "output"),
    "tool-output-error": ("called", "done", "errorText"),
}


def asked(text: str) -> AgentRequest:
    question = UIMessage(id=MessageId("m1"), role="user", parts=[{"type": "text", "text": text}])
    ids = OrgId("org"), ThreadId("thread"), RunId("run"), MessageId("m2")
    return AgentRequest(*ids, history=[question], config=RunConfig())


def says(*steps: Sequence[Said | Exception]) -> FunctionModel:
    """Make a model that goes through what it is told, step by step; an exception is raised."""

    async def stream(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[Said]:
        for delta in steps[sum(isinstance(message, ModelResponse) for message in messages)]:
            if isinstance(delta, Exception):
                raise delta
            yield delta

    return FunctionModel(stream_function=stream)


def calls(name: str, args: str = "{}", call: str = "c0", index: int = 0) -> dict[int, DeltaToolCall]:
    return {index: DeltaToolCall(name, args, tool_call_id=call)}


def agent_of(*steps: Sequence[Said | Exception], tools: Sequence[Callable[..., Any]] = ()) -> Agent:
    return adapt(PydanticAgent[None, str](says(*steps), tools=tools))


async def answers(agent: Agent, text: str = "go") -> list[Chunk]:
    chunks = [chunk async for chunk in agent(asked(text))]
    keeps_order(chunks)
    assert [chunk["type"] for chunk in chunks].count("finish") == 1
    assert chunks[-1]["type"] == "finish"
    return chunks


async def fails(agent: Agent, error: type[Exception], text: str = "go") -> tuple[list[Chunk], Exception]:
    chunks: list[Chunk] = []

    async def listen() -> None:
        async for chunk in agent(asked(text)):
            chunks.append(chunk)  # noqa: PERF401  what came before the exception is looked at

    with pytest.raises(error) as raised:
        await listen()
    keeps_order(chunks)
    assert not of(chunks, "finish")
    return chunks, raised.value


def of(chunks: list[Chunk], *types: str) -> list[Chunk]:
    return [chunk for chunk in chunks if chunk["type"] in types]


def text_of(chunks: list[Chunk], kind: str = "text-delta") -> str:
    return "".join(chunk["delta"] for chunk in of(chunks, kind))


def keeps_order(chunks: list[Chunk]) -> None:
    """Check what the AI SDK's clients need, whatever was streamed."""
    step: list[Chunk] | None = None
    for chunk in chunks:
        encode_chunk(chunk)
        assert not [key for key, value in chunk.items() if value is None and key not in {"input", "output"}]
        if chunk["type"] == "start-step":
            assert step is None
            step = []
        elif chunk["type"] == "finish-step":
            assert step
            assert step.pop()["type"] == "message-metadata"
            closes_prose(step)
            closes_calls(step)
            step = None
        elif chunk["type"] != "finish":
            assert step is not None
            step.append(chunk)
    assert step is None
    ids = [chunk["id"] for chunk in of(chunks, "text-start", "reasoning-start")]
    assert len(ids) == len(set(ids))


def closes_prose(step: list[Chunk]) -> None:
    spoken = None
    for chunk in of(step, *(f"{kind}-{what}" for kind in ("text", "reasoning") for what in ("start", "delta", "end"))):
        kind, _, what = chunk["type"].partition("-")
        assert spoken == (None if what == "start" else (kind, chunk["id"]))
        assert what != "delta" or chunk["delta"]
        spoken = None if what == "end" else (kind, chunk["id"])
    assert spoken is None


def closes_calls(step: list[Chunk]) -> None:
    states: dict[str, str | None] = {}
    for chunk in step:
        if not chunk["type"].startswith("tool-"):
            continue
        before, after, key = CALL_STATES[chunk["type"]]
        assert states.get(chunk["toolCallId"]) == before
        assert key in chunk
        states[chunk["toolCallId"]] = after
    assert set(states.values()) <= {"done"}


@pytest.mark.parametrize("text", DIRECTIVES)
async def test_every_answer_of_the_demo_model_keeps_the_order_of_the_protocol(text: str) -> None:
    await answers(demo_agent(delay_ms=0), text)


@pytest.mark.parametrize("text", FAILURES)
async def test_a_failing_provider_leaves_nothing_open(text: str) -> None:
    chunks, _ = await fails(demo_agent(delay_ms=0), AgentError, text)

    assert chunks[-1] == {"type": "finish-step"}


@pytest.mark.parametrize("text", DIRECTIVES)
async def test_the_same_run_has_the_same_chunks_so_that_part_ids_are_not_random(text: str) -> None:
    agent = demo_agent(delay_ms=0)

    assert await answers(agent, text) == await answers(agent, text)


async def test_reasoning_ends_before_the_text_starts() -> None:
    chunks = await answers(
        agent_of([{0: DeltaThinkingPart(content="hm")}, {0: DeltaThinkingPart(content=", so")}, "Yes"])
    )

    assert chunks[:8] == [
        {"type": "start-step"},
        {"type": "reasoning-start", "id": "reasoning-0"},
        {"type": "reasoning-delta", "id": "reasoning-0", "delta": "hm"},
        {"type": "reasoning-delta", "id": "reasoning-0", "delta": ", so"},
        {"type": "reasoning-end", "id": "reasoning-0"},
        {"type": "text-start", "id": "text-0"},
        {"type": "text-delta", "id": "text-0", "delta": "Yes"},
        {"type": "text-end", "id": "text-0"},
    ]


async def test_outputs_of_parallel_calls_stand_in_the_step_that_called() -> None:
    def double(number: int) -> int:
        return number * 2

    two = [calls("double", '{"number": 1}', "a", 0), calls("double", '{"number": 2}', "b", 1)]
    chunks = await answers(agent_of([*two], ["2 and ", "4"], tools=[double]))

    tools = of(chunks, "start-step", "tool-input-available", "tool-output-available", "finish-step", "text-start")
    assert [chunk["type"] for chunk in tools] == [
        "start-step",
        "tool-input-available",
        "tool-input-available",
        "tool-output-available",
        "tool-output-available",
        "finish-step",
        "start-step",
        "text-start",
        "finish-step",
    ]
    assert {chunk["toolCallId"]: chunk["output"] for chunk in of(chunks, "tool-output-available")} == {"a": 2, "b": 4}
    assert text_of(chunks) == "2 and 4"


async def test_no_tool_runs_before_every_call_of_its_step_was_taken_and_no_model_before_the_step_was_finished() -> None:
    happened: list[str] = []

    def act(name: str) -> str:
        happened.append(f"tool {name}")
        return name

    model = says([calls("act", '{"name": "a"}', "a", 0), calls("act", '{"name": "b"}', "b", 1)], ["done"])
    original = model.stream_function
    assert original is not None

    def observed(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        happened.append("model")
        return original(messages, info)

    model.stream_function = observed
    async for chunk in adapt(PydanticAgent[None, str](model, tools=[act]))(asked("go")):
        # Whatever may run beside the consumer gets the time to do so while it holds the chunk.
        for _ in range(20):
            await asyncio.sleep(0)
        happened.append(f"took {chunk['type']}")

    assert happened[0] == "took start-step"
    assert happened.index("tool a") > [n for n, what in enumerate(happened) if what == "took tool-input-available"][1]
    models = [n for n, what in enumerate(happened) if what == "model"]
    assert happened.index("took start-step") < models[0] < happened.index("took finish-step") < models[1]
    assert happened[models[1] - 1] == "took start-step"


async def test_a_tool_that_returns_nothing_has_the_output_null() -> None:
    def shrug() -> None:
        return None

    chunks = await answers(agent_of([calls("shrug")], ["ok"], tools=[shrug]))

    assert of(chunks, "tool-output-available") == [
        {"type": "tool-output-available", "toolCallId": "c0", "output": None}
    ]


async def test_what_a_tool_returns_becomes_json_whatever_it_is() -> None:
    def look() -> dict[str, object]:
        return {"bytes": b"\xff", "set": {1}, "not a number": float("nan")}

    chunks = await answers(agent_of([calls("look")], ["ok"], tools=[look]))

    (output,) = of(chunks, "tool-output-available")
    assert encode_chunk(output).endswith(b'"output":{"bytes":"_w==","set":[1],"not a number":null}}')


async def test_a_tool_that_ends_the_run_leaves_nothing_open() -> None:
    error = AgentError("quota", "secret")

    def explode() -> None:
        raise error

    chunks, raised = await fails(agent_of([calls("explode")], tools=[explode]), AgentError)

    assert raised is error
    assert of(chunks, "tool-output-error") == [
        {"type": "tool-output-error", "toolCallId": "c0", "errorText": UNFINISHED}
    ]
    assert "secret" not in str(chunks)


async def test_a_tool_that_asks_for_another_try_ends_its_call_with_an_error() -> None:
    def fussy(number: int) -> str:
        if number < 2:
            message = "take a larger number"
            raise ModelRetry(message)
        return "good"

    first, second = calls("fussy", '{"number": 1}', "a"), calls("fussy", '{"number": 2}', "b")
    chunks = await answers(agent_of([first], [second], ["done"], tools=[fussy]))

    (error,) = of(chunks, "tool-output-error")
    assert error["toolCallId"] == "a"
    assert "take a larger number" in error["errorText"]
    assert of(chunks, "tool-output-available") == [
        {"type": "tool-output-available", "toolCallId": "b", "output": "good"}
    ]


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        ('{"number": "many"}', {"number": "many"}),
        ("[1]", [1]),
        ('{"number": ', '{"number": '),
        ("null", None),
    ],
)
async def test_a_call_with_invalid_input_is_shown_as_it_was_made_and_ends_with_an_error(
    args: str, shown: object
) -> None:
    def double(number: int) -> int:
        return number * 2

    chunks = await answers(agent_of([calls("double", args)], ["sorry"], tools=[double]))

    assert [shown] == [chunk["input"] for chunk in of(chunks, "tool-input-available")]
    assert [chunk["toolCallId"] for chunk in of(chunks, "tool-output-error")] == ["c0"]


async def test_a_model_that_keeps_calling_wrongly_fails_the_run_as_the_tools_fault() -> None:
    def double(number: int) -> int:
        return number * 2

    wrong = [[calls("double", "{}", f"c{number}")] for number in range(5)]
    _, error = await fails(agent_of(*wrong, tools=[double]), AgentError)

    assert isinstance(error, AgentError)
    assert error.category == "tool_error"


async def test_input_that_a_failing_provider_left_half_is_closed_with_an_error() -> None:
    failure = ModelHTTPError(503, "m", "https://internal.example/?key=abc")
    chunks, error = await fails(agent_of([calls("double", '{"num'), failure]), AgentError)

    assert of(chunks, "tool-input-error") == [
        {
            "type": "tool-input-error",
            "toolCallId": "c0",
            "toolName": "double",
            "input": '{"num',
            "errorText": UNFINISHED,
        }
    ]
    assert "internal" not in str(error)


async def test_a_call_in_one_piece_is_shown_without_deltas() -> None:
    def greet(name: str) -> str:
        return f"Hello {name}"

    chunks = await answers(adapt(PydanticAgent[None, str](TestModel(), tools=[greet])))

    assert [chunk["type"] for chunk in chunks if chunk["type"].startswith("tool-")] == [
        "tool-input-start",
        "tool-input-available",
        "tool-output-available",
    ]
    assert json.loads(text_of(chunks)) == {"greet": "Hello a"}


async def test_usage_adds_up_over_the_steps() -> None:
    def shrug() -> None:
        return None

    chunks = await answers(agent_of([calls("shrug")], ["one two three"], tools=[shrug]))

    called, first, second = [chunk["messageMetadata"]["usage"] for chunk in of(chunks, "message-metadata")]
    # Behind its call an attempt may end, and what was used would be lost.
    assert called == first
    assert {"inputTokens", "outputTokens", "totalTokens"} == set(first)
    assert first["inputTokens"] < second["inputTokens"]
    assert second["inputTokens"] + second["outputTokens"] == second["totalTokens"]


async def test_a_model_that_never_stops_calling_is_stopped_after_its_last_step() -> None:
    def again() -> str:
        return "again"

    chunks = await answers(agent_of(*[[calls("again", call=f"c{n}")] for n in range(STEPS + 1)], tools=[again]))

    assert len(of(chunks, "tool-output-available")) == STEPS
    assert chunks[-1] == {"type": "finish", "finishReason": "tool-calls"}
    # A last step with a finished call makes clients of `sendAutomaticallyWhen` post again and again.
    assert [chunk["type"] for chunk in chunks[-4:]] == ["start-step", "message-metadata", "finish-step", "finish"]


async def test_an_agent_that_is_closed_early_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    for taken in range(1, 12):
        answer = demo_agent(delay_ms=0)(asked("/weather Oslo"))
        for _ in range(taken):
            await anext(answer)
        await answer.aclose()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    assert caplog.records == []


async def test_an_exception_while_an_agent_is_closed_hands_on_no_more_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    error, agent = OSError("connection lost"), PydanticAgent[None, str](says(["one", " two"]))
    iterate = agent.iter

    @asynccontextmanager
    async def broken(*args: Any, **options: Any) -> AsyncGenerator[Any, None]:  # noqa: ANN401  as the original's
        async with iterate(*args, **options) as run:
            try:
                yield run
            finally:
                raise error

    monkeypatch.setattr(agent, "iter", broken)
    answer = adapt(agent)(asked("go"))
    while (await anext(answer))["type"] != "text-delta":
        pass

    with pytest.raises(OSError, match="connection lost"):
        await answer.aclose()


async def test_a_cancelled_run_raises_the_cancellation_only() -> None:
    seen = asyncio.Event()

    async def consume() -> None:
        async for chunk in demo_agent(delay_ms=0)(asked("/count 5 60000")):
            if chunk["type"] == "start-step":
                seen.set()

    task = asyncio.create_task(consume())
    await asyncio.wait_for(seen.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_spans_tell_of_the_model_and_the_tools_but_not_of_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)

    await answers(demo_agent(delay_ms=0), "/weather Xanadu")

    spans = exporter.get_finished_spans()
    assert {"chat", "execute_tool"} == {span.name.split()[0] for span in spans}
    assert "Xanadu" not in " ".join(span.to_json() for span in spans)


@pytest.mark.parametrize(
    ("reason", "state", "told"),
    [
        ("stop", "complete", "stop"),
        ("length", "complete", "length"),
        ("content_filter", "complete", "content-filter"),
        ("tool_call", "complete", "tool-calls"),
        ("error", "complete", "error"),
        (None, "complete", "stop"),
        (None, "incomplete", "other"),
    ],
)
def test_the_reason_to_finish_is_the_providers(
    reason: FinishReason | None, state: ModelResponseState, told: str
) -> None:
    encoder = Encoder(RunUsage())
    encoder.enter(CallToolsNode(ModelResponse(parts=[TextPart("x")], finish_reason=reason, state=state)))

    assert told == encoder.finish_reason


def encoded(*events: AgentStreamEvent, response: ModelResponse, results: Sequence[ToolReturnPart] = ()) -> list[Chunk]:
    """Encode one step as the agent does."""
    encoder, calling = Encoder(RunUsage()), CallToolsNode[None, str](response)
    chunks = encoder.enter(ModelRequestNode[None, str](ModelRequest(parts=[])))
    chunks += [chunk for event in events for chunk in encoder.event(event)]
    chunks += encoder.enter(calling)
    chunks += [chunk for result in results for chunk in encoder.event(FunctionToolResultEvent(result))]
    chunks += encoder.leave(calling)
    keeps_order(chunks)
    return chunks


def test_deltas_of_a_part_that_was_closed_open_a_new_one() -> None:
    call = ToolCallPart("act", "{}", "c0")
    chunks = encoded(
        PartStartEvent(index=0, part=TextPart("a")),
        PartEndEvent(index=0, part=TextPart("a")),
        PartStartEvent(index=1, part=call),
        PartDeltaEvent(index=0, delta=TextPartDelta("b")),
        PartEndEvent(index=1, part=call),
        response=ModelResponse(parts=[TextPart("ab"), call]),
        results=[ToolReturnPart("act", None, "c0")],
    )

    assert [chunk["id"] for chunk in of(chunks, "text-start")] == ["text-0", "text-1"]


def test_two_texts_are_two_parts_even_if_the_end_of_the_first_is_not_told() -> None:
    texts = [TextPart("a"), TextPart("b")]
    starts = [PartStartEvent(index=index, part=text) for index, text in enumerate(texts)]

    assert len(of(encoded(*starts, response=ModelResponse(parts=texts)), "text-end")) == 2


def test_a_call_that_changed_its_id_while_it_was_typed_is_closed_under_the_first_and_made_under_the_last() -> None:
    chunks = encoded(
        PartStartEvent(index=0, part=ToolCallPart("act", '{"a":', "guessed")),
        PartDeltaEvent(index=0, delta=ToolCallPartDelta(args_delta=" 1}", tool_call_id="real")),
        response=ModelResponse(parts=[ToolCallPart("act", '{"a": 1}', "real")]),
        results=[ToolReturnPart("act", 1, "real")],
    )

    assert [chunk["toolCallId"] for chunk in of(chunks, "tool-input-error")] == ["guessed"]
    assert [chunk["input"] for chunk in of(chunks, "tool-input-available")] == [{"a": 1}]


def test_tools_that_the_provider_executed_are_marked() -> None:
    call = NativeToolCallPart("web_search", {"query": "x"}, "s0")
    result = NativeToolReturnPart("web_search", ["y"], "s0")
    chunks = encoded(
        PartStartEvent(index=0, part=call),
        PartEndEvent(index=0, part=call),
        PartStartEvent(index=1, part=result),
        PartStartEvent(index=2, part=NativeToolReturnPart("web_search", ["y"], "never called")),
        response=ModelResponse(parts=[call, result]),
    )

    assert chunks[1:4] == [
        {"type": "tool-input-start", "toolCallId": "s0", "toolName": "web_search", "providerExecuted": True},
        {
            "type": "tool-input-available",
            "toolCallId": "s0",
            "toolName": "web_search",
            "input": {"query": "x"},
            "providerExecuted": True,
        },
        {"type": "tool-output-available", "toolCallId": "s0", "output": ["y"], "providerExecuted": True},
    ]
