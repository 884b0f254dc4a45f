"""One viewer that hardly reads: it holds no memory, costs nobody anything, and has everything in the end."""

import asyncio

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts.ids import ThreadId
from decopilot.kit.settings import Settings
from decopilot.log.chunklog import ChunkLog
from decopilot.log.store import Store
from support.gateways import ORG, Run, read_run, running_gateway, until
from support.measuring import measured
from support.reactors import reactors

THREAD = "t1"
PAGE = "x" * 200_000
PAGES = 60
MEMORY_BYTES = 1 << 20


@pytest.mark.parametrize("waits", [True, False])
async def test_what_a_slow_viewer_has_yet_to_read_is_not_purged_before_it_has(
    settings: Settings, own_broker: EmbeddedBroker, store: Store, *, waits: bool
) -> None:
    async with (
        asyncio.timeout(60),
        running_gateway(own_broker.url, memory_bytes=MEMORY_BYTES) as gateway,
        reactors(settings, purge_grace_s=4, look_s=0.5, **({} if waits else {"purge_wait_s": 0})),
        Run(store, THREAD) as run,
    ):
        slow, quick = gateway.viewer(THREAD), gateway.viewer(THREAD)
        async with slow.attached() as slowly, quick.attached() as quickly:
            await run.record_request()
            await run.start("a")
            assert "start" == (await anext(slowly))["type"]
            for _ in range(PAGES):
                await run.write({"type": "text-delta", "id": "t", "delta": PAGE})
            await run.finish()
            await run.record_end()
            await read_run(quickly)

            async def is_purged() -> bool:
                first = await ChunkLog(store).first_of_run(ORG, ThreadId(THREAD), run.run_id)
                return first is not None and first.outcome is not None

            if waits:
                await asyncio.sleep(6)  # longer than the grace: what is looked for is that nothing happens
                assert not await is_purged()
                await read_run(slowly)
                assert quick.seen == slow.seen
            else:
                await until(is_purged, deadline_s=20)
                async for chunk in slowly:
                    if chunk["type"] == "data-thread-reset":
                        break
                assert len(slow.seen) < len(quick.seen)


async def test_a_slow_viewer_reads_what_all_others_have_already_at_its_own_pace_and_misses_nothing(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with (
        asyncio.timeout(60),
        running_gateway(own_broker.url, memory_bytes=MEMORY_BYTES) as gateway,
        Run(store, THREAD) as run,
    ):
        slow = gateway.viewer(THREAD)
        others = [gateway.viewer(THREAD) for _ in range(5)]
        with measured() as counted:
            async with slow.attached() as slowly, asyncio.TaskGroup() as group:
                reading = [group.create_task(other.watch_run()) for other in others]
                await run.start("a")
                for number in range(PAGES):
                    await run.write({"type": "text-delta", "id": "t", "delta": PAGE})
                    if number % 10 == 0:
                        await anext(slowly)
                await run.finish()
                await asyncio.gather(*reading)
                await read_run(slowly)
    for other in others:
        assert other.seen == slow.seen
    assert 1 + PAGES * len(PAGE) == len(slow.text)
    assert 1 <= counted["decopilot.viewer.fallbacks"][""]
    assert 1 <= counted["decopilot.chunk.delivery.duration"][""]
    assert PAGES <= counted["decopilot.chunk.store.duration"][""]
