"""A gateway as a process: how it comes, waits for its broker, and goes."""

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
from nats.aio.msg import Msg

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.commands import SEND_MESSAGE, Accepted
from decopilot.contracts.ids import MessageId, RunId, ThreadId
from decopilot.kit.connection import flushed
from decopilot.log.store import Store
from support.brokers import login_environment
from support.gateways import ORG, Run, gateway_process, read_run, running_gateway, until
from support.viewer import Viewer

THREAD = "t1"
READ_BUFFER_BYTES = 16 * 1024


async def test_without_a_broker_a_gateway_lives_is_not_ready_and_refuses_until_the_broker_comes(
    own_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    url = own_broker.url
    own_broker.kill()
    async with gateway_process(url, tmp_path) as gateway:
        assert 503 == await gateway.status("/readyz")
        assert 200 == await gateway.status("/openapi.json")
        assert 401 == await gateway.status("/?token=nonsense")
        status, problem = await gateway.api.get("decopilot/threads")
        assert (503, "broker_unavailable") == (status, problem["code"])
        status, problem = await gateway.api.post(THREAD, "hello")
        assert (503, "broker_unavailable") == (status, problem["code"])
        own_broker.restart()
        await _provision(url)
        await until(lambda: gateway.answers(200))
        assert 200 == await gateway.status(f"/{ORG}/decopilot/threads")
        assert 1 == gateway.log.read_text().count("nats_error")
        assert 0 == await gateway.end()


async def test_a_gateway_that_still_waits_for_its_broker_ends_when_told_to(
    own_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    own_broker.kill()
    async with gateway_process(own_broker.url, tmp_path) as gateway:
        assert 0 == await gateway.end(deadline_s=3)


async def test_sigterm_ends_every_stream_at_a_chunk_answers_what_is_in_flight_and_others_go_on_elsewhere(
    own_broker: EmbeddedBroker, store: Store, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        leaving = await stack.enter_async_context(gateway_process(own_broker.url, tmp_path))
        staying = await stack.enter_async_context(running_gateway(own_broker.url))
        run = await stack.enter_async_context(Run(store, THREAD))
        asked = await _slow_command(store)
        await until(lambda: leaving.answers(200))
        await run.start("ab")
        viewers = [leaving.viewer(THREAD) for _ in range(200)]
        reading = [asyncio.create_task(_read_to_the_end(viewer)) for viewer in viewers]
        await until(lambda: all(viewer.text == "ab" for viewer in viewers))
        posting = asyncio.create_task(leaving.api.post(THREAD, "hello"))
        await asked.wait()
        ending = asyncio.create_task(leaving.end())
        await until(lambda: leaving.answers(None))
        await asyncio.gather(*reading)
        await run.say("cd")
        assert 0 == await ending
        assert 202 == (await posting)[0]

        retries = [int(viewer.raw.split(b"retry: ")[-1].split(b"\n")[0]) for viewer in viewers]
        assert all(500 <= retry <= 5000 for retry in retries)
        assert len(set(retries)) > 100
        assert all(viewer.raw.endswith(b"\n\ndata: [DONE]\n\n") for viewer in viewers)
        await run.finish()
        for viewer in viewers:
            viewer.url = staying.url
        await asyncio.gather(*(viewer.watch_run() for viewer in viewers))
    assert {"abcd"} == {viewer.text for viewer in viewers}
    assert all(viewer.seen == viewers[0].seen for viewer in viewers)


async def test_a_viewer_that_does_not_read_holds_neither_memory_nor_the_others_nor_the_end(
    own_broker: EmbeddedBroker, store: Store, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(gateway_process(own_broker.url, tmp_path, memory_bytes=4 << 20))
        run = await stack.enter_async_context(Run(store, THREAD))
        await until(lambda: gateway.answers(200))
        session = await stack.enter_async_context(aiohttp.ClientSession(read_bufsize=READ_BUFFER_BYTES))
        headers = {"Authorization": f"Bearer {gateway.api.token}"}
        for _ in range(40):
            url = gateway.api.path(f"decopilot/attach/{THREAD}")
            await stack.enter_async_context(session.get(url, headers=headers))
        quick = gateway.viewer(THREAD)
        chunks = await stack.enter_async_context(quick.attached())
        before_kib = _resident_kib(gateway.process.pid)
        await run.start()
        page = "x" * 250_000
        for _ in range(160):
            await run.write({"type": "text-delta", "id": "t", "delta": page})
        await run.finish()
        await read_run(chunks)
        grown_kib = _resident_kib(gateway.process.pid) - before_kib
        assert 160 * len(page) == len(quick.text)
        assert 0 == await gateway.end()
    # 40 times what was missed would be 1.6 GB; what the kernel does not take of a write is less than 1 MiB each.
    assert grown_kib < 40 * 1024


async def test_when_the_broker_restarts_a_hundred_viewers_go_on_and_the_wait_costs_no_processor(
    own_broker: EmbeddedBroker, store: Store, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(gateway_process(own_broker.url, tmp_path))
        run = await stack.enter_async_context(Run(store, THREAD))
        await until(lambda: gateway.answers(200))
        await run.start("ab")
        viewers = [gateway.viewer(THREAD) for _ in range(100)]
        reading = [asyncio.create_task(viewer.watch_run()) for viewer in viewers]
        await until(lambda: all(viewer.text == "ab" for viewer in viewers))
        own_broker.kill()
        await until(lambda: gateway.answers(503))
        before_s = _processor_s(gateway.process.pid)
        await asyncio.sleep(2)  # what is measured is a stretch of time
        spent_s = _processor_s(gateway.process.pid) - before_s
        own_broker.restart()
        await run.say("cd")
        await run.finish()
        assert [True] * 100 == await asyncio.gather(*reading)
    assert {"abcd"} == {viewer.text for viewer in viewers}
    assert spent_s < 0.2


async def _read_to_the_end(viewer: Viewer) -> None:
    async with viewer.attached() as chunks:
        async for _ in chunks:
            pass


async def _slow_command(store: Store) -> asyncio.Event:
    """Answer a message, half a second after it was asked for."""
    asked = asyncio.Event()

    async def answer(msg: Msg) -> None:
        asked.set()
        await asyncio.sleep(0.5)
        accepted = Accepted(
            thread=ThreadId(THREAD), run_id=RunId("r"), message_id=MessageId("m"), status="in_progress", cursor="0-0"
        )
        await msg.respond(accepted.model_dump_json().encode())

    await store.nc.subscribe(subjects.command(SEND_MESSAGE), cb=answer)
    await flushed(store.nc)
    return asked


async def _provision(url: str) -> None:
    command = [sys.executable, "-m", "decopilot.cli", "provision"]
    ran = await asyncio.create_subprocess_exec(*command, env=os.environ | login_environment(url, "provision"))
    assert 0 == await ran.wait()


def _resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
