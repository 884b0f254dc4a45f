"""Streams: what many viewers share, what a slow or unlucky one is shown, and the form on the wire."""

import asyncio
import json
from urllib.request import urlopen

import aiohttp
import pytest
from nats.aio.msg import Msg

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts.frames import Frame
from decopilot.contracts.ids import ThreadId
from decopilot.log.chunklog import ChunkLog
from decopilot.log.feed import Feed
from decopilot.log.store import Store
from decopilot.log.tail import Stretch
from decopilot_gateway import sse
from support.gateways import ORG, Run, read_run, running_gateway, until, whole_run

THREAD = "t1"
PAGE = "x" * 200_000


async def test_the_viewers_of_a_thread_share_one_subscription_which_ends_with_the_last_of_them(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    del store
    async with running_gateway(own_broker.url, linger_s=0) as gateway:
        tasks = len(asyncio.all_tasks())
        async with gateway.viewer(THREAD).attached():
            for _ in range(20):
                async with gateway.viewer(THREAD).attached(), gateway.viewer("other").attached():
                    assert 2 == len(await _tail_subscriptions(own_broker))
            await until(lambda: _is_alone(own_broker))
        await until(lambda: _is_forgotten(own_broker))
        # What the gateway did for them ended too, not only the connections.
        await until(lambda: len(asyncio.all_tasks()) <= tasks)


async def test_a_frame_is_encoded_once_however_many_read_it(
    own_broker: EmbeddedBroker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = sse.chunk_events

    def counting(frame: Frame) -> bytes:
        encoded.append(frame.sequence)
        return encode(frame)

    monkeypatch.setattr(sse, "chunk_events", counting)
    async with running_gateway(own_broker.url) as gateway, asyncio.TaskGroup() as readers:
        attached = asyncio.Barrier(21)

        async def read() -> None:
            viewer = gateway.viewer(THREAD)
            async with viewer.attached() as chunks:
                await attached.wait()
                await read_run(chunks)
            assert "abc" == viewer.text

        for _ in range(20):
            readers.create_task(read())
        await attached.wait()
        await whole_run(store, THREAD, "a b c")
    assert [1, 2, 3, 4, 5] == sorted(encoded)


async def test_live_messages_that_are_lost_are_healed_whether_or_not_another_follows(
    own_broker: EmbeddedBroker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = {"2", "3", "5"}
    hear = Feed._heard  # noqa: SLF001  where the broker's messages come in

    async def hard_of_hearing(self: Feed[Frame, Stretch], msg: Msg) -> None:
        if (msg.headers or {})["Nats-Sequence"] not in lost:
            await hear(self, msg)

    monkeypatch.setattr(Feed, "_heard", hard_of_hearing)
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run:
        viewer = gateway.viewer(THREAD)
        async with asyncio.timeout(10), viewer.attached() as chunks:
            await run.start("a")
            for letter in "bcde":
                await run.say(letter)
            async for chunk in chunks:
                if chunk.get("delta") == "e":  # the last one was lost, and nothing follows it
                    break
            await run.finish()
            await read_run(chunks)
    assert "abcde" == viewer.text
    assert [] == [chunk for chunk in viewer.chunks if chunk["type"] == "data-thread-reset"]


async def test_a_slow_reader_whose_run_is_purged_meanwhile_is_reset_and_goes_on(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with running_gateway(own_broker.url, memory_bytes=1 << 20) as gateway, Run(store, THREAD) as run:
        slow, quick = gateway.viewer(THREAD), gateway.viewer(THREAD)
        async with slow.attached() as slowly, quick.attached() as quickly:
            await run.record_request()
            await run.start("a")
            assert "start" == (await anext(slowly))["type"]
            for _ in range(100):
                await run.write({"type": "text-delta", "id": "t", "delta": PAGE})
            end = await run.finish()
            await run.record_end()
            await read_run(quickly)
            await ChunkLog(store).purge(ORG, ThreadId(THREAD), run.run_id)
            async with asyncio.timeout(20):
                async for chunk in slowly:
                    if chunk["type"] == "data-thread-reset":
                        break
            await whole_run(store, THREAD, "next", 2, previous=end)
            await read_run(slowly)
    assert 100 * len(PAGE) + 1 == len(quick.text)
    assert f"{end}-0" == next(c["data"]["cursor"] for c in slow.chunks if c["type"] == "data-thread-reset")
    assert slow.text.endswith("xnext")
    assert len(slow.text) < len(quick.text)


async def test_a_stream_begins_at_once_is_kept_alive_by_comments_and_names_no_events(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with running_gateway(own_broker.url, keepalive_s=0.05) as gateway:
        viewer = gateway.viewer(THREAD)
        async with viewer.attached() as chunks:
            reading = asyncio.create_task(read_run(chunks))
            await until(lambda: viewer.raw.count(b": keepalive\n\n") > 2)
            assert viewer.raw.startswith(b"retry: 1000\n\n")
            await whole_run(store, THREAD, "ab")
            await reading
    lines = bytes(viewer.raw).splitlines()
    assert {b"retry", b"", b"id", b"data"} == {line.split(b":")[0] for line in lines if line}
    assert b"[DONE]" not in viewer.raw


async def test_the_headers_of_a_stream_speak_to_proxies_and_ai_sdks(own_broker: EmbeddedBroker, store: Store) -> None:
    del store
    async with running_gateway(own_broker.url) as gateway, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {gateway.api.token}"}
        async with session.get(gateway.api.path(f"decopilot/attach/{THREAD}"), headers=headers) as response:
            given = response.headers
    wanted = {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
        "X-Vercel-AI-UI-Message-Stream": "v1",
    }
    assert wanted == {name: given[name] for name in wanted}


async def _tail_subscriptions(broker: EmbeddedBroker) -> list[str]:
    def look() -> list[str]:
        with urlopen(f"{broker.monitor_url}/connz?subs=1") as answer:
            connections = json.load(answer)["connections"]
        found = [subject for connection in connections for subject in connection.get("subscriptions_list", [])]
        return [subject for subject in found if subject.startswith("decopilot.tail.")]

    return await asyncio.to_thread(look)


async def _is_alone(broker: EmbeddedBroker) -> bool:
    return await _tail_subscriptions(broker) == [f"decopilot.tail.{ORG}.{THREAD}.>"]


async def _is_forgotten(broker: EmbeddedBroker) -> bool:
    return await _tail_subscriptions(broker) == []
