"""Many runs through one process's pumps, beside as many raw publishers: `python tests/bench/pump.py [--json FILE]`.

Each run gives so many chunks a second, whether or not those before are stored. Latency is from when a chunk was due to
when it is stored. The raw client publishes each chunk by itself into the same stream and awaits its acknowledgement
before the next one: what is due meanwhile waits. Both write to one broker with its data on the disk, in turns.
"""

import argparse
import asyncio
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import uvloop

from decopilot.contracts import subjects
from decopilot.contracts.frames import Outcome
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.pump import Pump
from decopilot.log.store import EXPECTED, Store
from decopilot.log.topology import provision
from support.brokers import be_operator, embedded

ORG = OrgId("bench")
WARM_UP_S = 2.0
"""What is stored of the first seconds is not counted."""


def main() -> None:
    """Measure, and print or write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--pace", type=float, default=50.0, help="chunks a second of each run")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    be_operator()
    with tempfile.TemporaryDirectory() as folder, embedded(Path(folder)) as broker:
        load = Load(asked.runs, asked.pace, asked.seconds, asked.seed)
        found = uvloop.run(measure(broker.url, load, asked.turns))
    text = json.dumps(found, indent=1)
    if asked.json is not None:
        asked.json.write_text(text + "\n")
    print(text)  # noqa: T201


@dataclass(frozen=True, slots=True)
class Load:
    """So many runs, of so many chunks a second each, for so long; when each begins is drawn from the seed."""

    runs: int
    pace: float
    seconds: float
    seed: int


async def measure(url: str, load: Load, turns: int) -> dict[str, object]:
    """Have both write to a broker, in turns; returns what each turn came to."""
    found: dict[str, list[dict[str, float]]] = {"pump": [], "raw": []}
    async with connected(Settings(nats_url=url, instance="bench"), "bench") as nc, Store(nc) as store:
        await provision(nc)
        for turn in range(turns):
            for name, way in (("pump", _pumped), ("raw", _raw)):
                found[name].append(await _turn(way, store, f"{name}-{turn}", load))
    return {**asdict(load), **found}


class _Times:
    """When chunks were stored that were due at some time."""

    def __init__(self, begun: float) -> None:
        self.counted_from = begun + WARM_UP_S
        self.late_s: list[float] = []
        self.writes = 0

    def note(self, due: float) -> None:
        if due >= self.counted_from:
            self.late_s.append(time.perf_counter() - due)


class _TimedPump(Pump):
    """A pump that tells when what it took is stored."""

    times: _Times
    due: deque[float]

    async def _store_frame(self, lines: list[bytes]) -> None:
        await super()._store_frame(lines)
        self.times.writes += 1
        for _ in range(min(len(lines), len(self.due))):
            self.times.note(self.due.popleft())


def _chunk(number: int) -> dict[str, str]:
    return {"type": "text-delta", "id": "text-0", "delta": f" word{number}"}


async def _pumped(store: Store, run: str, dues: list[float], times: _Times) -> None:
    async with _TimedPump(store, ORG, ThreadId(run), RunId(run), attempt=1, previous=0) as pump:
        pump.times, pump.due = times, deque()
        for number, due in enumerate(dues):
            await asyncio.sleep(due - time.perf_counter())
            pump.due.append(due)
            await pump.write(_chunk(number))
        await pump.close([{"type": "finish"}], Outcome(status="completed", finish_reason="stop"))


async def _raw(store: Store, run: str, dues: list[float], times: _Times) -> None:
    subject, last = subjects.chunks(ORG, ThreadId(run), RunId(run)), 0
    # It can't keep this pace for ever: what it has not written in twice the time is not waited for.
    ends = dues[-1] + (dues[-1] - dues[0])
    for number, due in enumerate(dues):
        await asyncio.sleep(due - time.perf_counter())
        if time.perf_counter() > ends:
            return
        body = json.dumps(_chunk(number), separators=(",", ":")).encode()
        ack = await store.js.publish(
            subject, body, timeout=30, stream=subjects.CHUNKS_STREAM, headers={EXPECTED: str(last)}
        )
        last = ack.seq
        times.writes += 1
        times.note(due)


async def _turn(
    way: Callable[[Store, str, list[float], _Times], Coroutine[Any, Any, None]], store: Store, name: str, load: Load
) -> dict[str, float]:
    chance = random.Random(load.seed)
    begun, cpu = time.perf_counter() + 0.5, _cpu_s()
    times = _Times(begun)
    async with asyncio.TaskGroup() as group:
        for number in range(load.runs):
            first = begun + chance.random() / load.pace
            dues = [first + nth / load.pace for nth in range(int((WARM_UP_S + load.seconds) * load.pace))]
            group.create_task(way(store, f"{name}-{number}", dues, times))
    taken = time.perf_counter() - begun
    late_ms = sorted(1000 * late for late in times.late_s)
    return {
        "chunks": len(late_ms),
        "p50_ms": round(statistics.median(late_ms), 2),
        "p99_ms": round(late_ms[len(late_ms) * 99 // 100], 2),
        "worst_ms": round(late_ms[-1], 2),
        "writes_per_s": round(times.writes / taken),
        "seconds": round(taken, 2),
        "cpu": round((_cpu_s() - cpu) / taken, 2),
    }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
