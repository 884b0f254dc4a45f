"""Whether a killed node forgets purges (nats-server 2.15.1 does): `.venv/bin/python tests/bench/replicas_disagree.py`.

About a minute a round (`--rounds`); prints after each kill how many messages each node of three holds. Three different
numbers at the end, with nothing under way any more, are replicas that disagree.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import structlog

from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.store import Store
from support.brokers import be_operator
from support.cluster import clustered, insistently
from support.losing import STREAM, made
from support.powered import Powered

RUNS, FRAMES, FRAME_S = 3, 12, 0.01
KILLS, AWAY_S, PAUSE_S = 2, 9.0, 3.0


async def _round(folder: Path) -> None:
    with clustered(folder) as cluster:
        servers = Powered(cluster.nodes, {})
        async with connected(Settings(nats_url=cluster.url), "purges") as nc:
            store = Store(nc)
            await made(store, 3)
            is_over = asyncio.Event()
            written: deque[str] = deque()

            async def write(runner: int) -> None:
                """Write run after run, as runners do."""
                number = 0
                while not is_over.is_set():
                    number += 1
                    subject = f"s.{runner}-{number}"
                    for _ in range(FRAMES):
                        await insistently(lambda subject=subject: store.publish(STREAM, subject, b"x" * 500))  # type: ignore[misc]
                        await asyncio.sleep(FRAME_S)
                    written.append(subject)

            async def purge() -> None:
                """Leave the last frame of each, as reactors do."""
                while written or not is_over.is_set():
                    if written:
                        subject = written.popleft()
                        await insistently(
                            lambda subject=subject: store.js.purge_stream(STREAM, subject=subject, keep=1)  # type: ignore[misc]
                        )
                    await asyncio.sleep(0.05)

            async def disturb() -> None:
                await asyncio.sleep(PAUSE_S)
                for _ in range(KILLS):
                    await cluster.step_down(store, STREAM)
                    await asyncio.sleep(PAUSE_S)
                    leader = await cluster.leader_of(store, STREAM)
                    await cluster.kill(leader)
                    await asyncio.sleep(AWAY_S)
                    await cluster.start(leader)
                    await asyncio.sleep(PAUSE_S)
                is_over.set()

            await asyncio.gather(*(write(runner) for runner in range(RUNS)), purge(), disturb())
            await cluster.is_whole()
            await asyncio.sleep(PAUSE_S)
            print(json.dumps(await asyncio.to_thread(servers.holdings, STREAM)))  # noqa: T201


def main() -> None:
    """Do it some times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    be_operator()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(_round(Path(folder)))


if __name__ == "__main__":
    main()
