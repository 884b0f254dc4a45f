"""Runners as processes over fakes of providers: what viewers see of retries, and what a batch of calls survives."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts.events import RunCompleted, RunFailed, RunRequiresAction
from decopilot.contracts.ids import RunId
from decopilot.contracts.interactions import Approval
from decopilot.contracts.messages import UIMessage
from decopilot.domain.interactions import pending_in
from support.crew_files import HANGING, acts
from support.driven import calls_of, of
from support.providers import Rig, file_of, rig, roles
from support.services import Record, Service, Services, until

RESULTS = ["user", "thought", "call", "call", "call", "result", "result", "result"]


@pytest.fixture
def services(own_broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setenv("CREW_FOLDER", str(tmp_path))
    started = Services(tmp_path, own_broker.url)
    yield started
    started.end()


async def runner(services: Services, at: Rig, **settings: object) -> Service:
    config = services.folder / "decopilot.toml"
    config.write_text(file_of(at.configuration))
    service = services.start("runner", config=config, **settings)
    await service.ready()
    return service


async def test_the_log_tells_that_a_call_is_tried_again_and_then_the_answer(record: Record, services: Services) -> None:
    async with rig("openai") as at:
        service = await runner(services, at)
        run = await record.send("t1", "busy")
        end = await record.end_of("t1", run)

        chunks = await record.chunks_of("t1", run)
        assert isinstance(end, RunCompleted)
        assert "At last." == (end.message.text if end.message else "")
        assert (100, 7) == (end.usage.input_tokens, end.usage.output_tokens)
        assert [2, 3] == [chunk["data"]["attempt"] for chunk in of(chunks, "data-retry")]
        assert [] == service.complaints()


async def test_a_provider_that_fails_ends_its_run_only(record: Record, services: Services) -> None:
    async with rig("anthropic") as at:
        service = await runner(services, at)
        told = {}
        for thread, script in enumerate(("breaks off", "no money")):
            end = await record.end_of(f"t{thread}", await record.send(f"t{thread}", script))
            assert isinstance(end, RunFailed)
            told[script] = (end.reason, end.error_category)
        other = await record.end_of("other", await record.send("other", "say"))

        assert {"breaks off": ("error", "model_error"), "no money": ("error", "insufficient_funds")} == told
        assert isinstance(other, RunCompleted)
        assert [] == service.complaints()


async def until_b_hangs(folder: Path) -> None:
    async def has_begun() -> bool:
        return acts(folder) == ["a", "b"]

    await until(has_begun)


async def killed_in_the_batch(record: Record, services: Services, at: Rig, agent: str) -> RunId:
    """Kill the runner while of three calls one is done, one hangs, and one is not begun; start another one."""
    (services.folder / HANGING).touch()
    first = await runner(services, at, agent=agent)
    run = await record.send("t1", "batch")
    await until_b_hangs(services.folder)
    first.send(signal.SIGKILL)
    await first.ended()
    await asyncio.to_thread((services.folder / HANGING).unlink)
    await runner(services, at, agent=agent)
    return run


def outputs(message: UIMessage | None) -> list[str]:
    return [part.get("output", part["state"]) for part in calls_of(message)] if message else []


async def test_a_call_that_is_done_is_not_repeated_and_the_model_is_asked_again_with_all_results_only(
    record: Record, services: Services
) -> None:
    async with rig("anthropic") as at:
        run = await killed_in_the_batch(record, services, at, "support.crew:acting")
        waits = await record.end_of("t1", run)

        # What may have happened is asked about, and what is behind it too: nobody can know but who died.
        assert isinstance(waits, RunRequiresAction)
        assert waits.message is not None
        assert ["a done", "approval-requested", "approval-requested"] == outputs(waits.message)
        assert (["a", "b"], 1) == (acts(services.folder), len(at.fake.requests))
        asked = [Approval(approval_id=found.id, approved=True) for found in pending_in(waits.message)]
        end = await record.end_of("t1", await record.resolve("t1", "r2", *asked))

        assert isinstance(end, RunCompleted)
        assert ["a done", "b done", "c done"] == outputs(end.message)
        assert ["a", "b", "b", "c"] == acts(services.folder)
        assert [["user"], RESULTS] == [roles(body) for body in at.fake.requests]
        assert (210, 14) == (end.usage.input_tokens, end.usage.output_tokens)


async def test_calls_that_only_read_are_made_again_by_whoever_takes_the_run_over(
    record: Record, services: Services
) -> None:
    async with rig("openai") as at:
        end = await record.end_of("t1", await killed_in_the_batch(record, services, at, "support.crew:reading"))

        assert isinstance(end, RunCompleted)
        assert ["a done", "b done", "c done"] == outputs(end.message)
        assert ["a", "b", "b", "c"] == acts(services.folder)
        assert [["user"], RESULTS] == [roles(body) for body in at.fake.requests]
