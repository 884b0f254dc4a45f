"""Acknowledged messages that a killed nats-server loses, by persist mode: `python tests/bench/persist_mode.py`."""

import argparse
import asyncio
import contextlib
import tempfile
from pathlib import Path

import nats
from nats.js import JetStreamContext
from nats.js.api import PersistMode, StorageType, StreamConfig

from decopilot.cli.broker import EmbeddedBroker

KILLS = 8
WRITING_S = 0.7


async def lost_by_a_kill(mode: PersistMode | None) -> tuple[int, int]:
    """Write until the server is killed; returns how many were acknowledged, and how many of them it lost."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker(Path(folder) / "nats") as broker:
        nc = await nats.connect(broker.url, max_reconnect_attempts=-1)
        js = nc.jetstream()
        await js.add_stream(StreamConfig(name="S", subjects=["s"], storage=StorageType.FILE, persist_mode=mode))
        acknowledged = [0]
        writing = asyncio.create_task(_write(js, acknowledged))
        await asyncio.sleep(WRITING_S)
        broker.kill()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        with contextlib.suppress(OSError):
            await nc.close()
        broker.start()
        nc = await nats.connect(broker.url)
        kept = (await nc.jetstream().stream_info("S")).state.last_seq
        await nc.close()
        return acknowledged[0], max(0, acknowledged[0] - kept)


async def _write(js: JetStreamContext, acknowledged: list[int]) -> None:
    while True:
        acknowledged[0] = (await js.publish("s", b"x" * 100, timeout=1)).seq


async def main() -> None:
    """Kill and count, for both modes."""
    for mode in (PersistMode.ASYNC, None):
        results = [await lost_by_a_kill(mode) for _ in range(KILLS)]
        print(mode, "acknowledged, lost:", results)  # noqa: T201


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    asyncio.run(main())
