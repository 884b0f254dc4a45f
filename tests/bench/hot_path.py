"""The hot path, each figure beside the raw limit of the same run: `python tests/bench/hot_path.py`."""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import aiohttp
from aiohttp import web
from nats.aio.msg import Msg

from decopilot.contracts import subjects
from decopilot.contracts.frames import Outcome
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.kit.connection import connected
from decopilot.log.pump import Pump
from decopilot.log.store import Store
from support.stack import Stack, running_stack
from support.viewer import Api, Viewer

ORG = OrgId("local")
POSTS = 100
PUBLISHES = 2_000
CHUNKS = 20_000
LIVE_CHUNKS = 300


def main() -> None:
    """Run every measurement and print the table."""
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
        rows = asyncio.run(_measure(stack))
    print("| what | ours | raw limit of the same run | ratio |\n|---|---|---|---|")  # noqa: T201
    for row in rows:
        print("| " + " | ".join(row) + " |")  # noqa: T201


async def _measure(stack: Stack) -> list[tuple[str, str, str, str]]:
    api = Api(stack.url, stack.token())
    async with connected(stack.operator, "bench") as nc, Store(nc) as store:
        rows = [await _pumping(store), await _accepting(store, api), await _first_chunk(store, api)]
        rows += [await _live(store, api)]
        rows += [await _replaying(store, api, every) for every in (1, 16)]
    return rows


async def _pumping(store: Store) -> tuple[str, str, str, str]:
    """Chunks a second through the pump, beside awaited publishes of single chunks."""
    subject = subjects.chunks(ORG, ThreadId("bench-raw"), RunId("raw"))
    body = b'{"type":"text-delta","id":"text-0","delta":" 4711"}'
    began = time.perf_counter()
    for _ in range(PUBLISHES):
        await store.js.publish(subject, body, stream=subjects.CHUNKS_STREAM)
    raw = PUBLISHES / (time.perf_counter() - began)
    began = time.perf_counter()
    await _fill(store, "bench-pump", every=0)
    ours = CHUNKS / (time.perf_counter() - began)
    return "chunks/s, one run: pump → stored", f"{ours:,.0f}", f"{raw:,.0f} awaited publishes/s", f"{ours / raw:.1f}"


async def _fill(store: Store, thread: str, *, every: int) -> None:
    """Pump a run; `every` so many chunks wait for their acknowledgement, and so make a frame (0: as it comes)."""
    async with Pump(store, ORG, ThreadId(thread), RunId("run"), attempt=1, previous=0) as pump:
        await pump.write({"type": "start", "messageId": "m"})
        await pump.write({"type": "text-start", "id": "text-0"})
        for number in range(CHUNKS):
            await pump.write({"type": "text-delta", "id": "text-0", "delta": f" {number}"})
            if every and number % every == 0:
                await pump.barrier()
            elif number % 16 == 0:
                await asyncio.sleep(0)
        closing = [{"type": "text-end", "id": "text-0"}, {"type": "finish", "finishReason": "stop"}]
        await pump.close(closing, Outcome(status="completed", finish_reason="stop"))


async def _accepting(store: Store, api: Api) -> tuple[str, str, str, str]:
    """POST → 202, beside one guarded append."""

    async def post(number: int) -> None:
        assert 202 == (await api.post(f"bench-accept-{number}", "/count 1 0"))[0]

    async def append(number: int) -> None:
        subject = f"{subjects.EVENT_PREFIX}.bench.raw-{number}.noted"
        await store.js.publish(subject, b"{}", headers={"Nats-Expected-Last-Subject-Sequence": "0"})

    return _compare("POST → 202, ms", await _timed(post), await _timed(append), "one guarded append")


async def _first_chunk(store: Store, api: Api) -> tuple[str, str, str, str]:
    """POST → first chunk at an attached viewer, beside event → waiting subscriber."""

    async def first(number: int) -> None:
        viewer = Viewer(api.url, api.token, f"bench-first-{number}")
        async with viewer.attached() as chunks:
            await api.post(viewer.thread, "/count 1 0")
            await anext(aiter(chunks))

    async def event(number: int) -> None:
        inbox = store.nc.new_inbox()
        subscription = await store.nc.subscribe(inbox)
        await store.js.publish(f"{subjects.EVENT_PREFIX}.bench.first-{number}.noted", b"{}")
        await store.nc.publish(inbox, b"")
        await subscription.next_msg()
        await subscription.unsubscribe()

    return _compare("POST → first chunk at a viewer, ms", await _timed(first), await _timed(event), "append + message")


async def _live(store: Store, api: Api) -> tuple[str, str, str, str]:
    """Stored chunk → viewer over the gateway, beside a bare subscription to the same re-published frames."""
    thread = ThreadId("bench-live")
    heard: dict[int, float] = {}
    seen: dict[int, float] = {}

    async def hear(msg: Msg) -> None:
        heard[int((msg.headers or {})["Nats-Sequence"])] = time.perf_counter()

    await store.nc.subscribe(subjects.tail_of(ORG, thread), cb=hear)
    viewer = Viewer(api.url, api.token, thread)
    async with viewer.attached() as chunks:
        await api.post(thread, f"/count {LIVE_CHUNKS} 10")
        async for chunk in chunks:
            seen.setdefault(int(viewer.seen[-1][0].partition("-")[0]), time.perf_counter())
            if chunk["type"] == "finish":
                break
    later = sorted((seen[sequence] - heard[sequence]) * 1000 for sequence in seen.keys() & heard.keys())
    p50, p99 = later[len(later) // 2], later[len(later) * 99 // 100]
    return "stored → viewer, later than a bare subscription, ms", f"p50 {p50:.2f} · p99 {p99:.2f}", "0", ""


async def _replaying(store: Store, api: Api, every: int) -> tuple[str, str, str, str]:
    """Replay of a long run over the gateway, beside bare aiohttp writing the same bytes."""
    await _fill(store, f"bench-replay-{every}", every=every)
    headers = {"Authorization": f"Bearer {api.token}"}
    url = api.path(f"decopilot/attach/bench-replay-{every}?cursor=0-0")
    ours = min([await _read(url, headers) for _ in range(3)])
    body = b"".join(
        b'id: %d-%d\ndata: {"type":"text-delta","id":"text-0","delta":" %d"}\n\n' % (n, n, n) for n in range(CHUNKS)
    )
    async with _bare(body + b'data: {"type":"finish"}\n\n') as bare:
        raw = min([await _read(bare, {}) for _ in range(3)])
    return (
        f"replay, {every} chunk{'s' * (every > 1)} a frame, chunks/s",
        f"{CHUNKS / ours:,.0f}",
        f"{CHUNKS / raw:,.0f} bare aiohttp, in the client's process",
        f"{raw / ours:.2f}",
    )


async def _read(url: str, headers: dict[str, str]) -> float:
    began = time.perf_counter()
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        tail = b""
        async for data in response.content.iter_any():
            tail = (tail + data)[-200:]
            if b'"type":"finish"' in tail:
                break
    return time.perf_counter() - began


@asynccontextmanager
async def _bare(body: bytes) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for start in range(0, len(body), 1 << 18):
            await response.write(body[start : start + (1 << 18)])
        return response

    app = web.Application()
    app.add_routes([web.get("/", handle)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def _timed(work: Callable[[int], Awaitable[None]]) -> list[float]:
    taken = []
    for number in range(POSTS):
        began = time.perf_counter()
        await work(number)
        taken.append((time.perf_counter() - began) * 1000)
    return sorted(taken)


def _compare(what: str, ours: list[float], raw: list[float], raw_name: str) -> tuple[str, str, str, str]:
    mine, theirs = statistics.median(ours), statistics.median(raw)
    p95 = ours[len(ours) * 95 // 100]
    return what, f"p50 {mine:.2f} · p95 {p95:.2f}", f"p50 {theirs:.2f} ({raw_name})", f"{mine / theirs:.1f}"


if __name__ == "__main__":
    main()
