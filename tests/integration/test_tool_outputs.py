"""Tools in the runner: whatever one returns, its run, its log, and the stream that viewers see stay sound."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from decopilot.contracts.configuration import AgentEntry, Configuration
from decopilot.contracts.events import RunCompleted
from decopilot.contracts.files import output_blob
from decopilot.contracts.ids import MessageId, RunId, ThreadId
from decopilot.domain.fold import fold
from decopilot.kit.settings import Settings
from decopilot.log.blobs import Blobs
from decopilot_runner.app import build
from decopilot_runner.settings import RunnerSettings
from support import own_tools
from support.brokers import login
from support.services import ORG, Record, running
from support.stack import free_port

TOOLS = ("large", "odd", "hangs_in_its_thread", "raises", "returns_nothing")
_names = itertools.count()


@pytest.fixture(autouse=True)
def gate() -> Iterator[None]:
    own_tools.gate.clear()
    yield
    own_tools.gate.set()


@asynccontextmanager
async def runner(settings: Settings, folder: Path, *, timeout_s: float = 60.0) -> AsyncIterator[None]:
    port = free_port()
    told = {"nats_url": settings.nats_url, "instance": f"runner-{next(_names)}", "health_port": port} | login("runner")
    entry = AgentEntry(tools=tuple(f"support.own_tools:{name}" for name in TOOLS), tool_timeout_s=timeout_s)
    program = build(
        RunnerSettings.model_validate({**told, "demo_delay_ms": 0, "demo_dir": folder}),
        Configuration(agents={"default": entry}),
    )
    async with running(program, port):
        yield


async def called(record: Record, text: str, message: str = "m1", thread: str = "t1") -> dict[str, Any]:
    """Have a tool called; returns the part of its call, once the log was compared with the message."""
    run = await record.send(thread, f"/tool {text}", message)
    end = await record.end_of(thread, run, 60)
    assert isinstance(end, RunCompleted), end
    assert fold(MessageId(f"answer-{thread}-{message}"), await record.chunks_of(thread, run)) == end.message
    (part,) = [part for part in end.message.parts if "toolCallId" in part]
    return part


async def test_forty_megabytes_are_kept_and_read_back_by_lines_in_a_later_run(
    settings: Settings, record: Record, tmp_path: Path
) -> None:
    async with runner(settings, tmp_path):
        part = await called(record, 'large {"mb": 40}')
        output, call = part["output"], part["toolCallId"]
        assert (40_000_000, 400_000, call) == (output["bytes"], output["lines"], output["tool_call_id"])
        assert output["preview"].startswith("0000000 xxx")
        assert "\n[…]\n" in output["preview"]
        kept = await Blobs(record.store).read(ORG, ThreadId("t1"), output_blob(call))
        assert 40_000_000 == len(kept)

        arguments = f'{{"tool_call_id": "{call}", "pattern": "^0399{{2}}8"}}'
        read = await called(record, f"read_tool_output {arguments}", "m2")
        line = f"399981: 0399980 {'x' * 91}"
        assert f"10 of 400000 lines match.\n{line}" == read["output"][: 26 + len(line)]

        elsewhere = await called(record, f"read_tool_output {arguments}", "m1", "t2")
        assert "There is no large output of this call." == elsewhere["errorText"]
        evil = await called(record, f'read_tool_output {{"tool_call_id": "{call}", "pattern": "("}}', "m3")
        assert evil["errorText"].startswith("The pattern can't be searched for")


async def test_rows_are_kept_as_lines(settings: Settings, record: Record, tmp_path: Path) -> None:
    async with runner(settings, tmp_path):
        output = (await called(record, 'large {"mb": 2, "kind": "rows"}'))["output"]
    assert 80_002 == output["lines"]
    assert '[\n  {\n    "row": 0,' == output["preview"][:19]


async def test_what_can_not_be_kept_is_shown_in_part_all_the_same(
    settings: Settings, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def put(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(Blobs, "put", put)
    async with runner(settings, tmp_path):
        output = (await called(record, 'large {"mb": 2}'))["output"]
    assert output["hint"].endswith("The rest could not be kept.")


@pytest.mark.parametrize("what", ["bytes", "set", "nan", "huge", "half", "object", "deep", "partial"])
async def test_what_is_hardly_json_does_no_harm(settings: Settings, record: Record, tmp_path: Path, what: str) -> None:
    async with runner(settings, tmp_path):
        part = await called(record, f'odd {{"what": "{what}"}}')
    assert ("output-error" if what == "deep" else "output-available") == part["state"]


async def test_a_tool_that_returns_nothing_one_that_raises_and_one_that_hangs(
    settings: Settings, record: Record, tmp_path: Path
) -> None:
    async with runner(settings, tmp_path):
        nothing = await called(record, "returns_nothing", "m1")
        raises = await called(record, "raises", "m2")
    async with runner(settings, tmp_path, timeout_s=0.5):
        hangs = await called(record, "hangs_in_its_thread", "m3")
    assert ("output-available", None) == (nothing["state"], nothing["output"])
    assert ("output-error", "The tool failed unexpectedly.") == (raises["state"], raises["errorText"])
    assert "output-error" == hangs["state"]
    assert "did not finish within 0.5 s" in hangs["errorText"]
    frames = await record.frames_of("t1", RunId("run-t1-m2"))
    assert not [frame for frame in frames if own_tools.SECRET.encode() in frame.body]
