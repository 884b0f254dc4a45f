"""What is kept: views rebuilt under running runs, a backup restored to nothing, an erasure that lasts."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from decopilot.client import Client
from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId
from decopilot.kit.connection import connected
from decopilot.log.store import Store
from support.freezing import freeze
from support.stack import DECOPILOT, Stack, running_stack
from support.viewer import Api, Viewer

ORG = OrgId("local")
BUCKETS = (subjects.THREADS_BUCKET, subjects.MESSAGES_BUCKET)
CUT = 20

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of this module's own, whose views and data are lost."""
    with running_stack(tmp_path_factory.mktemp("keeping")) as running:
        yield running


async def operate(stack: Stack, *arguments: str) -> tuple[int, str]:
    """Run an operator's command; returns its exit code and what it printed."""
    command = [*DECOPILOT, *arguments, "--data-dir", str(stack.data_dir)]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("DECOPILOT_NATS_")}
    ran = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, env=environ, timeout=100
    )
    return ran.returncode, ran.stdout + ran.stderr


async def contents(store: Store) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for bucket in BUCKETS:
        async for batch in store.read(f"KV_{bucket}", f"$KV.{bucket}.>", 0):
            found |= {stored.subject: stored.data for stored in batch if stored.data}
    return found


async def read_until(viewer: Viewer, deltas: int) -> None:
    """Read so many pieces of text more, and leave."""
    async with asyncio.timeout(40), viewer.attached() as chunks:
        async for chunk in chunks:
            deltas -= chunk["type"] == "text-delta"
            if not deltas:
                return


async def everything(api: Api) -> dict[str, Any]:
    """What the org's people are shown of all threads."""
    threads = (await api.get("decopilot/threads"))[1]["threads"]
    return {thread["id"]: (thread, await api.messages(thread["id"])) for thread in threads}


async def test_views_that_were_deleted_are_rebuilt_while_runs_go_on_and_are_what_they_were(own: Stack) -> None:
    api = Api(own.url, own.token())
    for number in range(3):
        assert 202 == (await api.post(f"calm-{number}", f"/count {number + 2} 0"))[0]
        await Viewer(own.url, api.token, f"calm-{number}").watch_run()
        await api.settled(f"calm-{number}")
    async with connected(own.operator, "test") as nc, Store(nc) as store:
        busy = Viewer(own.url, api.token, "busy")
        assert 202 == (await api.post("busy", "/count 150 20"))[0]
        await read_until(busy, CUT)
        calm = {key: body for key, body in (await contents(store)).items() if ".calm-" in key}
        histories = [await api.messages(f"calm-{number}") for number in range(3)]
        for bucket in BUCKETS:
            await store.js.purge_stream(f"KV_{bucket}")
        assert histories == [await api.messages(f"calm-{number}") for number in range(3)]
        code, said = await operate(own, "rebuild-views", "--check")
        assert (1, "missing") == (code, json.loads(said.splitlines()[0])["view"])
        assert 0 == (await operate(own, "rebuild-views"))[0]
        await busy.watch_run_through()
        await api.settled("busy")
        found = await contents(store)
        assert calm == {key: body for key, body in found.items() if ".calm-" in key}
        assert histories == [await api.messages(f"calm-{number}") for number in range(3)]
    assert {"busy", "calm-0", "calm-1", "calm-2"} == {*await everything(api)}
    assert (0, True) == ((await operate(own, "rebuild-views", "--check"))[0], busy.text.endswith(" 150"))


async def test_a_backup_restored_to_nothing_gives_back_every_thread_file_and_cursor(own: Stack, tmp_path: Path) -> None:
    api = Api(own.url, own.token())
    assert 202 == (await api.post("asks", "/ask Which colour?"))[0]
    await Viewer(own.url, api.token, "asks").watch_run()
    calm = Viewer(own.url, api.token, "calm-9")
    _, accepted = await api.post("calm-9", "/count 3 0", message_id="m-calm")
    await calm.watch_run()
    await api.settled("calm-9")
    async with Client(own.url, api.token, "local") as client:
        file = await client.upload("calm-9", b"\x89PNG\r\n\x1a\n" + bytes(300_000), name="x.png")
    middle, later = (Viewer(own.url, api.token, "middle", rewind=True) for _ in range(2))
    assert 202 == (await api.post("middle", "/count 300 20"))[0]
    runner = own.pid("runner")
    await read_until(middle, CUT)
    freeze(runner)
    try:
        before = await everything(api)
        code, said = await operate(own, "backup", str(tmp_path / "backup"))
        assert 0 == code, said
        newest = json.loads((tmp_path / "backup" / "manifest.json").read_text())["parts"]["DECOPILOT_CHUNKS"]
    finally:
        os.kill(runner, signal.SIGCONT)
    # What is seen from here on is lost: this cursor is of a frame that no backup has.
    while later.cursor is None or int(later.cursor.partition("-")[0]) <= newest["last_sequence"]:
        await read_until(later, 1)
    assert 202 == (await api.post("lost", "/count 2 0"))[0]
    assert 0 == (await operate(own, "down"))[0]
    shutil.rmtree(own.data_dir / "nats")
    code, said = await operate(own, "restore", str(tmp_path / "backup"))
    assert 0 == code, said

    with running_stack(tmp_path, data_dir=own.data_dir) as again:
        api = Api(again.url, api.token)
        for viewer in (calm, middle, later):
            viewer.url = again.url
        await middle.watch_run_through()
        await api.settled("middle")
        after = await everything(api)
        assert {*before} == {*after}
        assert [before[thread] for thread in before if thread != "middle"] == [
            after[thread] for thread in after if thread != "middle"
        ]
        (_, answer), _ = after["middle"][1]
        assert answer["parts"][-1]["text"].endswith(" 300")
        # Who was in the middle has all of it, by a rewind and no reset; who had seen what is lost is told so.
        assert "data-thread-reset" not in {chunk["type"] for chunk in middle.chunks}
        assert [answer] == [m.model_dump(mode="json", exclude_none=True) for m in middle.messages.values()]
        assert "data-thread-reset" == await next_of(later)
        await go_on(api, calm, accepted["runId"])
        async with Client(again.url, api.token, "local") as client:
            assert 300_008 == len(await client.read_file("calm-9", file.id))
        await erase_for_good(again, api)


async def go_on(api: Api, calm: Viewer, run: str) -> None:
    """Who had seen all there was goes on behind it, and the same message is still the same run."""
    _, repeated = await api.post("calm-9", "/count 3 0", message_id="m-calm")
    assert run == repeated["runId"]
    assert 202 == (await api.post("calm-9", "/count 4 0"))[0]
    count = len(calm.chunks)
    await calm.watch_run()
    assert "data-thread-reset" not in {chunk["type"] for chunk in calm.chunks[count:]}
    assert calm.text.endswith("1 2 3 4")


async def next_of(viewer: Viewer) -> str:
    """Come back, and read the type of one chunk more."""
    async with asyncio.timeout(40), viewer.attached() as chunks:
        async for chunk in chunks:
            return str(chunk["type"])
    return "nothing"


async def erase_for_good(stack: Stack, api: Api) -> None:
    """Erase a thread, and a user of whom there is nothing."""
    command = ("erase", "--org", "local", "--thread", "calm-9")
    code, said = await operate(stack, *command)
    assert (0, "would be erased") == (code, json.loads(said.splitlines()[0])["is"])
    assert 200 == (await api.get("decopilot/threads/calm-9"))[0]
    code, said = await operate(stack, *command, "--yes")
    assert (0, {"org": "local", "thread": "calm-9", "owner": "me", "is": "erased"}) == (
        code,
        json.loads(said.splitlines()[0]),
    )
    assert 404 == (await api.get("decopilot/threads/calm-9"))[0]
    entry = json.loads((await operate(stack, "erased"))[1])
    assert ("local", "calm-9", "operator") == (entry["org"], entry["thread"], entry["by"])
    assert "at" in entry
    assert (0, "0 threads match.\n") == await operate(stack, "erase", "--org", "local", "--user", "nobody", "--yes")
    code, said = await operate(stack, *command, "--yes")
    assert (0, "Thread calm-9 is erased already.") == (code, said.splitlines()[-1])
    code, said = await operate(stack, "erase", "--org", "local", "--thread", "nothing", "--yes")
    assert (1, "There is no thread nothing of that in local.") == (code, said.splitlines()[-1])
