"""What `sync_interval` costs: publishes a second and how long each takes, on the plain disk."""

import asyncio
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.brokers import embedded
from support.cluster import clustered
from support.losing import BODY_BYTES, STREAM, made, reaching

SECONDS = 8.0
WRITERS = (1, 50)
SYNCS = 200
PAGE_BYTES = 4096


async def price(folder: Path, sync_interval: str, replicas: int) -> list[dict[str, object]]:
    """Publish as fast as it goes, each writer awaiting every acknowledgement."""
    rows: list[dict[str, object]] = []
    with _servers(folder, sync_interval, replicas) as url:
        async with reaching(url) as store:
            await made(store, replicas)
            for writers in WRITERS:
                took: list[float] = []
                until = time.perf_counter() + SECONDS

                async def write(writer: int, took: list[float] = took, until: float = until) -> None:
                    while (began := time.perf_counter()) < until:
                        await store.publish(STREAM, f"s.{writer}", b"x" * BODY_BYTES, timeout_s=30)
                        took.append(time.perf_counter() - began)

                await asyncio.gather(*(write(writer) for writer in range(writers)))
                percentiles = statistics.quantiles(took, n=100)
                rows.append(
                    {
                        "replicas": replicas,
                        "sync_interval": sync_interval,
                        "writers": writers,
                        "acknowledged_per_s": round(len(took) / SECONDS),
                        "p50_ms": round(1000 * percentiles[49], 2),
                        "p99_ms": round(1000 * percentiles[98], 2),
                    }
                )
    return rows


def raw_sync_ms(folder: Path) -> float:
    """How long the disk itself takes for a page and an fsync: the median."""
    took = []
    with (folder / "raw").open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            file.write(b"x" * PAGE_BYTES)
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return round(1000 * statistics.median(took), 3)


@contextmanager
def _servers(folder: Path, sync_interval: str, replicas: int) -> Iterator[str]:
    """Run one server, or three that are a cluster; yield where they are."""
    if replicas == 1:
        config = {"jetstream": {"sync_interval": sync_interval}}
        with embedded(folder / "n0", config=config) as broker:
            yield broker.url
    else:
        each = {"jetstream": {"sync_interval": sync_interval}}
        with clustered(folder, lambda _: each) as cluster:
            yield cluster.url
