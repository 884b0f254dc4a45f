"""What a subject costs the broker that holds a message on it: `python tests/bench/subjects.py [COUNT]`."""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).parents[1]))

from nats.js.api import StorageType, StreamConfig

from decopilot.cli.broker import EmbeddedBroker
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings

BODY = b"x" * 400
"""About what an event is."""
GATHERED = 1_000


async def measure(broker: EmbeddedBroker, count: int) -> dict[str, float]:
    """Store one message on each of so many subjects; tell what the broker's memory grew by, and its disk."""

    def memory() -> int:
        with urlopen(f"{broker.monitor_url}/varz") as answer:
            return int(json.load(answer)["mem"])

    async with connected(Settings(nats_url=broker.url), "subjects") as nc:
        js = nc.jetstream(timeout=30)
        await js.add_stream(StreamConfig(name="S", subjects=["s.>"], storage=StorageType.FILE))
        before = memory()
        for start in range(0, count, GATHERED):
            for number in range(start, min(start + GATHERED, count)):
                await nc.publish(f"s.acme.thread-{number:024d}.run_requested", BODY)
            await js.stream_info("S")  # answered behind what was published
        while (state := (await js.stream_info("S")).state).messages < count:
            await asyncio.sleep(0.1)
        after = memory()
    return {"subjects": count, "bytes_each": (after - before) / count, "disk_bytes_each": state.bytes / count}


def main() -> None:
    """Measure; print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=200_000)
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker(Path(folder), sync_interval=None) as broker:
        found = asyncio.run(measure(broker, count))
    sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
