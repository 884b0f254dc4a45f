"""Files, through everything: from a person's disk to the model, as slowly as anybody likes, gone with the thread."""

import asyncio
import os
import random
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from decopilot.client import ApiError, Client, UIMessage
from decopilot.contracts import subjects
from decopilot.contracts.ids import MessageId, OrgId, ThreadId
from decopilot.kit.connection import connected
from decopilot.log.blobs import Blobs
from decopilot.log.objects import chunks_of
from decopilot.log.store import Store
from support.services import until
from support.stack import DECOPILOT, Stack
from support.viewer import Api

LIMIT = 25 << 20
ROOM_BYTES = 12 << 20
"""Far less than the file, more than what chance allocates."""
PNG = b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(200_000)


@asynccontextmanager
async def client_of(api: Api, org: str = "local", token: str | None = None) -> AsyncIterator[Client]:
    async with Client(api.url, token or api.token, org) as client:
        yield client


def asked(text: str, *parts: dict[str, str]) -> UIMessage:
    return UIMessage(id=MessageId(os.urandom(8).hex()), role="user", parts=[{"type": "text", "text": text}, *parts])


def status_bytes(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def forget_peak(pid: int) -> int:
    """Let the process's peak begin anew; returns what it has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return status_bytes(pid, "VmRSS")


async def test_the_largest_file_comes_and_goes_through_a_gateway_that_never_has_it_whole(
    stack: Stack, api: Api, thread: str, tmp_path: Path
) -> None:
    gateway = stack.pid("gateway")
    path = tmp_path / "large.png"
    path.write_bytes(random.Random(2).randbytes(LIMIT))
    async with client_of(api) as client:
        await client.upload(thread, PNG, name="first.png")
        with pytest.raises(ApiError) as refused:
            await client.upload(thread, bytes(LIMIT + 1))
        assert "body_too_large" == refused.value.code
        before = forget_peak(gateway)
        file = await client.upload(thread, path)
        assert (LIMIT, "image/png", "large.png") == (file.size, file.media_type, file.filename)
        assert status_bytes(gateway, "VmHWM") < before + ROOM_BYTES
        headers = {"Authorization": f"Bearer {api.token}"}
        before = forget_peak(gateway)
        read = b""
        async with (
            aiohttp.ClientSession(headers=headers, read_bufsize=1024) as session,
            session.get(api.url + file.url) as slow,
            session.get(api.url + file.url) as quick,
        ):
            # One takes its time: nothing waits for it in the gateway, and nobody waits for it.
            read += await slow.content.readexactly(1000)
            assert path.read_bytes() == await quick.read()
            read += await slow.content.read()
        assert path.read_bytes() == read
        assert status_bytes(gateway, "VmHWM") < before + ROOM_BYTES


async def test_the_model_is_given_what_was_attached_and_other_orgs_are_not(stack: Stack, api: Api, thread: str) -> None:
    async with client_of(api) as client:
        file = await client.upload(thread, PNG, name="cat.png")
        result = await client.run_and_wait(thread, asked("Look at this", file.part))
        assert result.message is not None
        assert f"I got a file of **{len(PNG)}** bytes, `image/png`." in result.message.text
        again = await client.run_and_wait(thread, "And without one?")
        assert again.message is not None
        assert "I got a file" not in again.message.text
    async with client_of(api, "other", await asyncio.to_thread(stack.token, "other")) as stranger:
        with pytest.raises(ApiError) as refused:
            await stranger.run_and_wait("theirs", asked("Look at this", file.part))
        assert "file_not_found" == refused.value.code


async def test_what_is_named_on_the_command_line_is_attached(stack: Stack, thread: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.write_text("# Ten chars")
    command = [*DECOPILOT, "run", "--data-dir", str(stack.data_dir), "--thread", thread, "--file", str(path), "Read it"]
    ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert "I got a text of **11** characters." in ran.stdout


async def test_a_deleted_threads_files_are_gone(stack: Stack, api: Api, thread: str) -> None:
    async with client_of(api) as client:
        file = await client.upload(thread, PNG, name="cat.png")
        await client.run_and_wait(thread, asked("Look at this", file.part))
        await client.delete(thread)
    async with connected(stack.operator, "test") as nc, Store(nc) as store:

        async def is_gone() -> bool:
            filter_ = chunks_of(OrgId("local"), ThreadId(thread))
            found = (await store.js.stream_info(subjects.BLOBS_STREAM, subjects_filter=filter_)).state.subjects
            return not found and await Blobs(store).info(OrgId("local"), ThreadId(thread), file.id) is None

        await until(is_gone)
    status, problem = await api.call("GET", api.url + file.url)
    assert (404, "file_not_found") == (status, problem["code"])
