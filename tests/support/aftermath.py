"""What people see of a power cut: threads whose messages were accepted and answers seen, before it and after it."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from decopilot.log.permissions import OPERATOR
from decopilot.log.topology import Sizes, provision
from support.brokers import login_environment
from support.cluster import insistently
from support.gateways import ORG, SECRET, make_token
from support.losing import reaching
from support.powered import Powered, powered_servers
from support.services import Services, health
from support.stack import free_port
from support.viewer import Api, Viewer

READY_S = 180.0
PATIENCE_S = 30.0
STILL_S = 3.0
SHORT, LONG = "/count 10 20", "/count 600 20"
SEEN = 50
FAILURES = (aiohttp.ClientError, ConnectionError, TimeoutError, AssertionError)


@dataclass(slots=True)
class Thread:
    """A thread, its viewer, and what was accepted there."""

    name: str
    viewer: Viewer
    messages: dict[str, str] = field(default_factory=dict)
    """Runs of accepted messages, by the messages' ids."""

    async def post(self, api: Api, id_: str, text: str) -> str:
        """Post until there is an answer; returns how it was answered."""
        code = ""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        status, body = await api.post(self.name, text, message_id=id_)
                    except FAILURES as error:
                        code = type(error).__name__
                    else:
                        code = f"{status} {body.get('code', '')}".strip()
                        if status == 202:
                            is_known = self.messages.setdefault(id_, body["runId"]) == body["runId"]
                            return code if is_known else f"{code}, as another run"
                        if status != 503:
                            return code
                    await asyncio.sleep(0.1)
        return f"{code} for {PATIENCE_S:g} s"


async def aftermath(folder: Path, sync_interval: str, age_s: float, replicas: int = 1) -> dict[str, object]:
    """Have people write and watch, cut the power of all servers at once, and tell what they see afterwards."""
    with powered_servers(folder, sync_interval, replicas) as servers:
        async with reaching(servers.url) as store:
            await insistently(lambda: provision(store.nc, Sizes(replicas=replicas)))
            async with _running(folder, servers.url) as (services, api):
                threads = {name: _thread(api, name) for name in ("old", "ended", "running", "accepted")}
                watching = [asyncio.create_task(_watch(thread.viewer)) for thread in threads.values()]
                try:
                    await _before(api, threads, age_s)
                    await asyncio.to_thread(_cut, servers)
                    found: dict[str, object] = {name: await _told(api, thread) for name, thread in threads.items()}
                finally:
                    for task in watching:
                        task.cancel()
                    await asyncio.gather(*watching, return_exceptions=True)
                ready = [
                    service.name for service in services.started if await health(service.health_port, "/readyz") == 200
                ]
                return found | {"ready": ready, "doctor": await _doctor(servers)}


async def _before(api: Api, threads: dict[str, Thread], age_s: float) -> None:
    """Have one answer long before the cut, one right before it, one that is being written, and one asked for."""
    aging = asyncio.create_task(asyncio.sleep(age_s))
    await _answered(api, threads["old"])
    await aging
    await threads["running"].post(api, "m1", LONG)
    async with asyncio.timeout(PATIENCE_S):
        while len(threads["running"].viewer.seen) < SEEN:
            await asyncio.sleep(0.02)
    await _answered(api, threads["ended"])
    await threads["accepted"].post(api, "m1", SHORT)


def _cut(servers: Powered) -> None:
    servers.halt(*servers.nodes)
    servers.boot(*servers.nodes)


async def _answered(api: Api, thread: Thread) -> None:
    await thread.post(api, "m1", SHORT)
    await api.settled(thread.name)
    async with asyncio.timeout(PATIENCE_S):
        while not any(chunk["type"] == "finish" for chunk in thread.viewer.chunks):
            await asyncio.sleep(0.02)


async def _told(api: Api, thread: Thread) -> dict[str, object]:
    """Tell whether what was accepted is known, what a next message does, and what the viewer sees meanwhile."""
    before = len(thread.viewer.seen)
    found: dict[str, object] = {"history": await _history(api, thread)}
    found["same message again"] = await thread.post(api, "m1", LONG if thread.name == "running" else SHORT)
    found["next message"] = await thread.post(api, "m2", SHORT)
    try:
        found["then"] = (await api.settled(thread.name, deadline_s=6 * PATIENCE_S))["status"]
    except FAILURES as error:
        found["then"] = f"{type(error).__name__}: {error!s:.200}"
    await asyncio.sleep(STILL_S)  # what is to come to the viewer has come
    kinds = Counter(chunk["type"] for chunk in thread.viewer.chunks[before:])
    found["history then"] = await _history(api, thread)
    found["viewer"] = {
        "resets": kinds["data-thread-reset"],
        "rewinds": kinds["data-run-rewind"],
        "chunks": kinds.total(),
    } | await _held(api, thread)
    return found


async def _watch(viewer: Viewer) -> None:
    """Watch until cancelled, coming back whenever the connection ends or fails."""
    while True:
        with suppress(*FAILURES):
            async with viewer.attached() as chunks:
                async for _ in chunks:
                    pass
        await asyncio.sleep(0.2)


async def _history(api: Api, thread: Thread) -> list[str]:
    try:
        messages, _ = await api.messages(thread.name)
    except FAILURES as error:
        return [f"{type(error).__name__}: {error!s:.120}"]
    return [
        f"{message['role']} {message['id'] if message['role'] == 'user' else _length(message)}" for message in messages
    ]


async def _held(api: Api, thread: Thread) -> dict[str, int]:
    """Compare the answers that the viewer holds with those of the history; a reset lets go of all before it."""
    try:
        messages, _ = await api.messages(thread.name)
    except FAILURES:
        return {}
    there = {message["id"]: _text(message) for message in messages if message["role"] == "assistant"}
    held = {id_: _text(message.model_dump()) for id_, message in thread.viewer.messages.items()}
    return {
        "answers as in the history": sum(there.get(id_) == text for id_, text in held.items()),
        "answers unlike the history": sum(id_ in there and there[id_] != text for id_, text in held.items()),
        "answers that are in no history": sum(id_ not in there for id_ in held),
        "answers never seen": sum(id_ not in held for id_ in there),
    }


def _text(message: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for part in message["parts"] if part["type"] == "text")


def _length(message: dict[str, Any]) -> int:
    return len(_text(message))


def _thread(api: Api, name: str) -> Thread:
    return Thread(name, Viewer(api.url, api.token, name, ORG, cursor="0-0", rewind=True))


@asynccontextmanager
async def _running(folder: Path, url: str) -> AsyncIterator[tuple[Services, Api]]:
    services = Services(folder, url)
    port = free_port()
    try:
        for name in ("command", "runner", "reactor"):
            services.start(name)
        gateway = services.start("gateway", http_port=port, jwt_secret=SECRET)
        gateway.health_port = port
        for service in services.started:
            await service.ready(READY_S)
        yield services, Api(f"http://127.0.0.1:{port}", make_token(), ORG)
    finally:
        services.end()


async def _doctor(servers: Powered) -> object:
    node = next(iter(servers.nodes.values()))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "decopilot.cli", "doctor", "--json", "--monitor", node.monitor_url),
        env={**os.environ, **login_environment(servers.url, OPERATOR)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    try:
        told = json.loads(out)
    except ValueError:
        return (out + err).decode()[-400:]
    return [f"{one['level']} {one['check']}: {one['what']}" for one in told["findings"] if one["level"] != "ok"]
