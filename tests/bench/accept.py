"""What accepting a message costs, step by step, in turns: `python tests/bench/accept.py [--nodes 3] [--json FILE]`.

Each step holds the one before it: a request that nobody works on, an acknowledged append, the same wish asked of
`command` directly, and the POST over a connection that is kept, as browsers keep theirs. `bare_post` is the raw limit
of such a way: the same processes and the same write, by `bare_path.py`, and nothing else. The services are at rest
before each turn, and in a second round they are not. With three nodes every stream is on each of them, as in
production.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import aiohttp
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.bare_path import guarded
from decopilot.cli.chaos.evidence import Limits
from decopilot.contracts import subjects
from decopilot.contracts.commands import SEND_MESSAGE, SendMessage
from decopilot.contracts.ids import MessageId, OrgId, ThreadId, UserId
from decopilot.contracts.messages import AskedConfig, UIMessage
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.store import Store
from support.brokers import be_operator
from support.cluster import clustered
from support.disturbed import ground
from support.services import UNLIMITED
from support.stack import free_port, running_stack
from support.viewer import Api, Viewer

ORG = OrgId("local")
WARM_UP = 20
Step = Callable[[str], Awaitable[float]]
"""Does a thing with a thread of this name; returns how long it took, in seconds."""


def main() -> None:
    """Measure, and print or write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(asyncio.run(_measure(Path(folder), asked.nodes, asked.turns)), indent=1)
    if asked.json is not None:
        asked.json.write_text(text + "\n")
    print(text)  # noqa: T201


@dataclass(frozen=True, slots=True)
class _Running:
    """Where it runs, and who may do everything there."""

    api: Api
    operator: Settings


@asynccontextmanager
async def _one_node(folder: Path) -> AsyncIterator[_Running]:
    with running_stack(folder) as stack:
        yield _Running(Api(stack.url, stack.token()), stack.operator)


@asynccontextmanager
async def _three_nodes(folder: Path) -> AsyncIterator[_Running]:
    be_operator()
    with clustered(folder / "nats") as cluster:
        await cluster.provisioned()
        one_each = dict.fromkeys(("command", "runner", "reactor", "gateway"), 1)
        async with ground(cluster, folder, Limits(), one_each, UNLIMITED) as running:
            [gateway] = [process for process in running.processes() if process.service == "gateway"]
            url = f"http://127.0.0.1:{gateway.port}"
            yield _Running(Api(url, running.token(ORG, "me")), running.operator)


async def _measure(folder: Path, nodes: int, turns: int) -> dict[str, object]:
    async with (
        (_one_node if nodes == 1 else _three_nodes)(folder) as running,
        connected(running.operator, "bench") as nc,
        connected(running.operator, "bench-echo") as echo,
        Store(nc) as store,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {running.api.token}"}) as session,
        AsyncExitStack() as ending,
    ):
        api = running.api
        await _answer_at_once(store, echo)
        door = free_port()
        await ending.enter_async_context(_bare(running.operator, "desk"))
        await ending.enter_async_context(_bare(running.operator, "door", str(door)))
        steps = _steps(store, api, session, f"http://127.0.0.1:{door}/")
        rest = await _in_turns(steps, turns, lambda thread: _settle(api, thread))
        busy = await _in_turns({name: steps[name] for name in ("append", "bare_post", "post")}, turns, None)
    return {"nodes": nodes, "at_rest": _told(rest), "busy": _told(busy)}


@asynccontextmanager
async def _bare(operator: Settings, *role: str) -> AsyncIterator[None]:
    password = "" if operator.nats_password is None else operator.nats_password.get_secret_value()
    told = {"URL": operator.nats_url, "USER": str(operator.nats_user), "PASSWORD": password}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("bare_path.py")),
        *role,
        env=os.environ | {f"DECOPILOT_NATS_{name}": value for name, value in told.items()},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert b"ready\n" == await process.stdout.readline()
        yield
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _answer_at_once(store: Store, echo: Client) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(b"{}")

    await echo.subscribe("bench.echo", cb=answer)
    await store.nc.flush()


def _steps(store: Store, api: Api, session: aiohttp.ClientSession, door: str) -> dict[str, Step]:
    async def request(_: str) -> float:
        began = time.perf_counter()
        await store.nc.request("bench.echo", b"{}")
        return time.perf_counter() - began

    async def append(thread: str) -> float:
        subject, headers = guarded(ThreadId(thread))
        began = time.perf_counter()
        await store.publish(subjects.EVENTS_STREAM, subject, b"{}", headers)
        return time.perf_counter() - began

    async def command(thread: str) -> float:
        wish = SendMessage(
            org=ORG,
            thread=ThreadId(thread),
            user=UserId("me"),
            role="owner",
            message=UIMessage(id=MessageId("m"), role="user", parts=[{"type": "text", "text": "/count 1 0"}]),
            config=AskedConfig(),
        )
        body = wish.model_dump_json().encode()
        began = time.perf_counter()
        answer = await store.nc.request(subjects.command(SEND_MESSAGE), body, timeout=5)
        taken = time.perf_counter() - began
        assert b'"accepted"' in answer.data, answer.data
        return taken

    async def bare_post(thread: str) -> float:
        began = time.perf_counter()
        async with session.post(door, data=thread) as response:
            await response.read()
            taken = time.perf_counter() - began
            assert 202 == response.status
        return taken

    async def post(thread: str) -> float:
        body = {"messages": [{"role": "user", "parts": [{"type": "text", "text": "/count 1 0"}]}]}
        began = time.perf_counter()
        async with session.post(api.path(f"decopilot/threads/{thread}/messages"), json=body) as response:
            await response.read()
            taken = time.perf_counter() - began
            assert 202 == response.status
        return taken

    async def first_chunk(thread: str) -> float:
        viewer = Viewer(api.url, api.token, thread)
        async with viewer.attached() as chunks:
            began = time.perf_counter()
            posting = asyncio.create_task(post(thread))
            await anext(aiter(chunks))
            taken = time.perf_counter() - began
            await posting
        return taken

    steps: tuple[Step, ...] = (request, append, bare_post, command, post, first_chunk)
    return {step.__name__: step for step in steps}


async def _settle(api: Api, thread: str) -> None:
    await api.settled(thread)
    # What follows an end (views, acknowledgements) is some milliseconds' work.
    await asyncio.sleep(0.03)


async def _in_turns(
    steps: dict[str, Step], turns: int, settle: Callable[[str], Awaitable[None]] | None
) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in steps}
    pace = "rest" if settle else "busy"
    for turn in range(-WARM_UP, turns):
        for name, step in steps.items():
            thread = f"bench-{pace}-{name}-{turn + WARM_UP}"
            seconds = await step(thread)
            if turn >= 0:
                taken[name].append(seconds * 1000)
            if settle is not None and name not in {"request", "append", "bare_post"}:
                await settle(thread)
    return taken


def _told(taken: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    found = {}
    base = sorted(taken["append"])[len(taken["append"]) // 2]
    for name, times in taken.items():
        ordered = sorted(times)
        p50, p95 = ordered[len(ordered) // 2], ordered[len(ordered) * 95 // 100]
        found[name] = {
            "p50_ms": round(p50, 2),
            "p95_ms": round(p95, 2),
            "least_ms": round(ordered[0], 2),
            "ratio": round(p50 / base, 2),
        }
    return found


if __name__ == "__main__":
    main()
