"""Plans, subtasks and what tools show, as a runner drives them: the log has all of it, whoever cancels or kills."""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.events import RunCompleted, RunFailed, RunRequiresAction, RunStarted
from decopilot.contracts.ids import MessageId, RunId
from decopilot.contracts.interactions import Answer
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot.domain.fold import fold
from decopilot.kit.settings import Settings
from decopilot_runner.app import build
from decopilot_runner.settings import RunnerSettings
from support.brokers import login
from support.driven import noted
from support.services import Record, Services, running, until
from support.stack import free_port


@pytest.fixture
def services(own_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Services]:
    started = Services(tmp_path, own_broker.url)
    yield started
    started.end()


@asynccontextmanager
async def runner(settings: Settings, folder: Path) -> AsyncIterator[None]:
    """A runner with the demo model in this process, whose tools write into the folder."""
    port = free_port()
    told = {"nats_url": settings.nats_url, "instance": "modes-1", "health_port": port, "demo_delay_ms": 0}
    program = build(RunnerSettings.model_validate(told | login("runner") | {"demo_dir": folder}), Configuration())
    async with running(program, port):
        yield


async def shows(record: Record, run: RunId, text: str) -> list[Chunk]:
    """Wait until a tool of the run shows this; returns what the log has then."""

    async def look() -> list[Chunk]:
        chunks = await record.chunks_of("t1", run)
        return chunks if any(chunk.get("preliminary") and text in chunk["output"] for chunk in chunks) else []

    return await until(look)


async def folded(record: Record, *runs: RunId) -> UIMessage:
    return fold(MessageId("answer-t1-m1"), [chunk for run in runs for chunk in await record.chunks_of("t1", run)])


async def test_a_plan_that_is_approved_is_carried_out_in_the_same_message(
    settings: Settings, record: Record, tmp_path: Path
) -> None:
    async with runner(settings, tmp_path):
        run = await record.send("t1", "/plan milk", config=RunConfig(mode="plan"))
        asked = await record.end_of("t1", run)
        assert isinstance(asked, RunRequiresAction)
        assert [] == noted(tmp_path)

        answer = Answer(tool_call_id=asked.pending[0].tool_call_id, output={"approved": True})
        second = await record.resolve("t1", "r2", answer)
        end = await record.end_of("t1", second)

    assert isinstance(end, RunCompleted)
    assert ["milk"] == noted(tmp_path)
    assert end.message is not None
    assert ["tool-propose_plan", "tool-note"] == [part["type"] for part in end.message.parts if "toolCallId" in part]
    assert end.message == await folded(record, run, second)


async def test_a_subtask_is_shown_as_it_works_and_cancelled_with_its_run(
    settings: Settings, record: Record, tmp_path: Path
) -> None:
    async with runner(settings, tmp_path):
        run = await record.send("t1", "/subtask /slowtool 600")
        await shows(record, run, "→ take_time")
        await record.cancel("t1", run)
        await record.wake(run)
        end = await record.end_of("t1", run)

    assert isinstance(end, RunFailed)
    assert "cancelled" == end.reason
    assert end.message is not None
    assert ["output-error"] == [part["state"] for part in end.message.parts if "toolCallId" in part]
    assert end.message == await folded(record, run)


async def test_a_subtask_that_only_reads_and_whose_runner_is_killed_is_repeated_by_the_next_one(
    record: Record, services: Services
) -> None:
    pair = [services.start("runner", demo_delay_ms=0) for _ in range(2)]
    for service in pair:
        await service.ready()
    readonly = RunConfig(tool_approval_level="readonly")
    run = await record.send("t1", "/subtask /slowtool 3", config=readonly)
    await shows(record, run, "→ take_time")
    started = next(one.event for one in await record.events("t1") if isinstance(one.event, RunStarted))
    driving = next(service for service in pair if service.name == started.runner_id)
    driving.send(signal.SIGKILL)
    end = await record.end_of("t1", run)

    assert isinstance(end, RunCompleted)
    assert end.message is not None
    assert ["The tool took 3 s."] == [part["output"] for part in end.message.parts if "toolCallId" in part]
    assert 2 == sum(isinstance(one.event, RunStarted) for one in await record.events("t1"))
