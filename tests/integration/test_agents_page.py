"""The agents in docs/agents.md, exactly as they stand there: through the real runner, and killed anywhere."""

import asyncio
import importlib.util
import json
import re
import signal
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from decopilot.agent import Agent, AgentRequest
from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.events import RunCompleted, RunRequiresAction, RunStarted
from decopilot.contracts.ids import MessageId
from decopilot.contracts.interactions import Approval
from decopilot.contracts.messages import RunConfig
from decopilot.domain.fold import fold
from support.driven import Driven, KilledError, calls_of
from support.services import Record, Services, until

PAGE = Path(__file__).parents[2] / "docs" / "agents.md"
MARK = "<!-- run by tests/integration/test_agents_page.py -->\n```python\n"
SEATS = [1, 2, 3, 4]
SAID = "\n".join(f"I book seat {seat}. " for seat in SEATS)


def blocks() -> list[str]:
    """The programs of the page, in their order."""
    return [block.partition("```")[0] for block in PAGE.read_text(encoding="utf-8").split(MARK)[1:]]


def modules() -> dict[str, str]:
    """The programs of the page that are modules of their own, by their files."""
    return dict(
        re.findall(rf"{MARK.partition(' -->')[0]}: (\w+\.py) -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the page's agents in it."""
    (tmp_path / "my_bots.py").write_text("\n\n".join(blocks()), encoding="utf-8")
    for file, text in modules().items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def my_bots(folder: Path) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("my_bots_of_the_page", folder / "my_bots.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    module.DB.close()


@pytest.fixture
def services(own_broker: EmbeddedBroker, folder: Path) -> Iterator[Services]:
    started = Services(folder, own_broker.url)
    yield started
    started.end()


def booked(folder: Path) -> list[tuple[str, int]]:
    """What was booked, by which call."""
    if not (folder / "bookings.db").exists():
        return []
    with closing(sqlite3.connect(folder / "bookings.db")) as db:
        return [(str(call), int(seat)) for call, seat in db.execute("select call, seat from bookings order by rowid")]


def test_the_example_is_short() -> None:
    assert 3 == len(blocks())
    assert len(blocks()[0].splitlines()) <= 15
    assert len(blocks()[1].splitlines()) <= 30


async def test_a_runner_that_is_killed_behind_an_effect_leaves_each_effect_once(
    record: Record, services: Services, folder: Path
) -> None:
    first = services.start("runner", agent="my_bots:clerk")
    await first.ready()
    run = await record.send("t1", "Four seats, please.")

    async def has_begun() -> bool:
        return len(await asyncio.to_thread(booked, folder)) >= 2

    await until(has_begun)
    first.send(signal.SIGKILL)
    await services.start("runner", agent="my_bots:clerk").ready()
    end = await record.end_of("t1", run)
    assert isinstance(end, RunCompleted), end
    assert end.message is not None
    assert SAID == end.message.text
    assert [(f"answer-t1-m1-{seat}", seat) for seat in SEATS] == booked(folder)
    assert [{"booked": seat} for seat in SEATS] == [part["output"] for part in calls_of(end.message)]
    assert 4 == sum(part["type"] == "step-start" for part in end.message.parts)
    assert fold(MessageId("answer-t1-m1"), await record.chunks_of("t1", run)) == end.message
    assert [1, 2] == [r.event.attempt for r in await record.events("t1") if isinstance(r.event, RunStarted)]


async def test_wherever_it_is_killed_the_answer_is_whole_and_each_effect_is_there_once(
    my_bots: ModuleType, folder: Path
) -> None:
    undisturbed = ended(my_bots.clerk, "whole")
    chunks = [chunk async for chunk in counted(undisturbed)]

    async def killed(at: int, loses: int) -> None:
        run = Driven(ended(my_bots.clerk, f"{at}-{loses}"), "Four seats, please.")
        with pytest.raises(KilledError):
            await run.attempt(kill_at=at, loses=loses)
        assert "completed" == (await run.attempt()).status
        assert SAID == run.message.text
        assert ["output-available"] * 4 == [part["state"] for part in calls_of(run.message)]

    cases = [(at, loses) for at in range(1, len(chunks)) for loses in (0, 1)]
    await asyncio.gather(*(killed(*case) for case in cases))
    seats: dict[str, list[int]] = {}
    for call, seat in booked(folder):
        seats.setdefault(call.rpartition("-")[0], []).append(seat)
    assert {"whole", *(f"{at}-{loses}" for at, loses in cases)} == seats.keys()
    assert {tuple(SEATS)} == {tuple(found) for found in seats.values()}


@pytest.mark.parametrize(
    ("approved", "state", "said"),
    [(True, "output-available", "It is clean."), (False, "output-denied", "I left it.")],
)
async def test_what_is_approved_is_done_and_what_is_denied_is_not(
    record: Record, services: Services, *, approved: bool, state: str, said: str
) -> None:
    await services.start("runner", agent="my_bots:caretaker").ready()
    run = await record.send("t1", "Sweep, please.")
    waiting = await record.end_of("t1", run)
    assert isinstance(waiting, RunRequiresAction)
    continued = await record.resolve("t1", "m2", Approval(approval_id="answer-t1-m1-sweep", approved=approved))
    end = await record.end_of("t1", continued)
    assert isinstance(end, RunCompleted), end
    assert end.message is not None
    assert ([state], said) == ([part["state"] for part in calls_of(end.message)], end.message.text)


async def test_wherever_it_is_killed_it_asks_and_goes_on_as_if_nobody_had_died(my_bots: ModuleType) -> None:
    whole = Driven(ended(my_bots.caretaker, "answer"), "Sweep, please.")
    asked = await whole.attempt()
    assert "requires_action" == asked.status
    for at in range(1, len(whole.chunks)):
        run = Driven(ended(my_bots.caretaker, "answer"), "Sweep, please.")
        await run.killed_at(at)
        assert (asked, whole.message) == (await run.attempt(), run.message)
    yes = Approval(approval_id="answer-sweep", approved=True)
    going_on = whole.gone_on_with(yes)
    end = await going_on.attempt()
    for at in range(1, len(going_on.chunks)):
        run = whole.gone_on_with(yes)
        await run.killed_at(at)
        assert (end, going_on.message) == (await run.attempt(), run.message)


def test_the_fields_that_the_page_names_are_those_of_a_request() -> None:
    named = set(re.findall(r"request\.(\w+)", PAGE.read_text(encoding="utf-8")))
    assert {"partial", "in_step", "message_id", "run_id", "history", "config", "tools", "read_file"} == named
    assert named | {"resumed"} <= set(AgentRequest.__slots__)


async def completions(request: web.Request) -> web.StreamResponse:
    """Answer as OpenAI's chat completions do; who brought tools is first asked to call one."""
    body = await request.json()
    said = [message["content"] for message in body["messages"] if message["role"] == "user"][-1]
    choice: dict[str, Any] = {"index": 0, "finish_reason": None}
    deltas: list[dict[str, Any]] = [{"content": word} for word in ("You ", "said: ", said)]
    if "tools" in body and body["messages"][-1]["role"] != "tool":
        call = {"name": body["tools"][0]["function"]["name"], "arguments": '{"word": "cat"}'}
        deltas = [{"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": call}]}]
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for delta in [*deltas, {}]:
        end = {} if delta else {"finish_reason": "tool_calls" if "tool_calls" in deltas[0] else "stop"}
        told = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        chunk = told | {"choices": [choice | {"delta": delta} | end]}
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    return response


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """An endpoint that speaks OpenAI's API, where both agents look for it."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", completions)
    async with TestServer(app) as server:
        for name in ("LLM_URL", "OPENAI_BASE_URL"):
            monkeypatch.setenv(name, str(server.make_url("/v1")))
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        yield


@pytest.mark.usefixtures("endpoint")
async def test_agents_that_are_there_already_answer_as_they_are(record: Record, services: Services) -> None:
    assert {"poet.py", "wrapped.py"} == modules().keys()
    named = {"plain": {"agent": "wrapped:plain"}, "poet": {"agent": "poet:poet"}}
    await services.start("runner", agent="my_bots:support", agents=json.dumps(named)).ready()
    ends = {}
    for agent_id in ("default", "plain", "poet"):
        run = await record.send(agent_id, "Hello there", config=RunConfig(agent_id=agent_id))
        end = await record.end_of(agent_id, run)
        assert isinstance(end, RunCompleted), end
        assert end.message is not None
        ends[agent_id] = end.message
    assert "You asked: Hello there " == ends["default"].text
    assert ["You said: Hello there"] * 2 == [ends[name].text for name in ("plain", "poet")]
    assert [["bat", "dat", "fat"]] == [part["output"] for part in calls_of(ends["poet"])]
    assert [] == services.started[0].complaints()


async def test_wherever_the_shortest_is_killed_its_answer_is_whole(my_bots: ModuleType) -> None:
    whole = Driven(ended(my_bots.support, "answer"), "Why?")
    await whole.attempt()
    for at in range(1, len(whole.chunks)):
        run = Driven(ended(my_bots.support, "answer"), "Why?")
        await run.killed_at(at)
        await run.attempt()
        assert whole.message == run.message


def ended(agent: Agent, message_id: str) -> Agent:
    """The agent with an answer of its own, and the `finish` that the runner would write for it."""

    async def told(request: AgentRequest) -> AsyncGenerator[Chunk, None]:
        async with aclosing(agent(replace(request, message_id=MessageId(message_id)))) as chunks:
            async for chunk in chunks:
                yield chunk
                if chunk["type"] == "finish":
                    return
        yield {"type": "finish", "finishReason": "stop"}

    return told


async def counted(agent: Agent) -> AsyncGenerator[Chunk, None]:
    run = Driven(agent, "Four seats, please.")
    await run.attempt()
    for chunk in run.chunks:
        yield chunk
