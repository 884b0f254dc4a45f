"""What is measured of a peer that nothing happens to: fan-out, replay, the first bytes of an attach."""

import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers.peer import Peer, attached
from bench.peers.reading import RefusedError, Seen, rush
from bench.peers.results import Counted, FanOut, Replay, Spread
from bench.peers.saying import Work
from bench.peers.tally import NOTHING, tally
from decopilot.cli.bench.procfs import cpu_s

UNMEASURED = 25
"""So many chunks of each reader don't count for its latencies."""
AT_ONCE = 64
PATIENCE_S = 15.0
POLL_S = 0.05
ENOUGH_CHARS = 300


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done."""

    readers: tuple[int, ...] = (1, 100, 500)
    rate: float = 50.0
    fanout_chunks: int = 300
    replay_chunks: int = 20_000
    reads: int = 5
    attaches: int = 50
    drops: int = 20
    kills: int = 3
    kill_chunks: int = 500
    silence_s: float = 25.0


@dataclass(slots=True)
class Stage:
    """A peer that runs, and a folder for its gates; streams have names of their own."""

    peer: Peer
    folder: Path
    sizes: Sizes
    _streams: int = field(default=0)

    def stream(self, what: str) -> str:
        """Name a new stream."""
        self._streams += 1
        return f"{what}-{self._streams}"

    def work(self, stream: str, *, rush_chunks: int = 0, chunks: int = 0, burst: int = 1, rate: float = 0.0) -> Work:
        """Make a run's work; it waits at its gate behind `rush_chunks`."""
        return Work(
            rush=rush_chunks, chunks=chunks, rate=rate or self.sizes.rate, burst=burst, gate=str(self._gate(stream))
        )

    def open_gate(self, stream: str) -> None:
        """Let a run go on."""
        self._gate(stream).touch()

    def _gate(self, stream: str) -> Path:
        return self.folder / f"{stream}.gate"


async def fan_out(stage: Stage, readers: int) -> FanOut:
    """Measure chunk said → chunk there, at so many readers of one run."""
    stream, sizes = stage.stream("fanout"), stage.sizes
    await stage.peer.begin(stream, stage.work(stream, chunks=sizes.fanout_chunks))
    everyone = [Seen() for _ in range(readers)]
    room = asyncio.Semaphore(AT_ONCE)

    async def one(seen: Seen) -> None:
        async with room:
            await attached(stage.peer.attaching(stream), seen)

    await asyncio.gather(*map(one, everyone))
    await asyncio.sleep(1.0)  # whoever has attached last is as warm as the others
    began, used, ours = time.monotonic(), _cpu_s(stage.peer), cpu_s(os.getpid()) or 0.0
    stage.open_gate(stream)
    await finished(everyone, sizes.fanout_chunks)
    took_s = time.monotonic() - began
    counted = sum((tally(seen.numbers, sizes.fanout_chunks) for seen in everyone), NOTHING)
    return FanOut(
        readers=readers,
        rate=sizes.rate,
        latency_ms=Spread.of([ns / 1e6 for seen in everyone for ns in seen.latencies[UNMEASURED:]]),
        cpu_percent=100 * (_cpu_s(stage.peer) - used) / took_s,
        client_cpu_percent=100 * ((cpu_s(os.getpid()) or 0.0) - ours) / took_s,
        counted=Counted.of(counted),
    )


async def replays(stage: Stage) -> list[Replay]:
    """Measure a long run: followed as it is written, then read while it is open, then once it has ended."""
    stream, chunks = stage.stream("replay"), stage.sizes.replay_chunks
    seen, began = Seen(), time.monotonic()
    await stage.peer.begin(stream, stage.work(stream, rush_chunks=chunks))
    await attached(stage.peer.attaching(stream), seen)
    await reached(seen, chunks)
    speed = chunks / (seen.arrived_at - began) if seen.arrived_at else 0.0
    counted = Counted.of(tally(seen.numbers, chunks))
    found = [Replay(chunks=chunks, when="written", chunks_s=(speed,), first_event_ms=(), counted=counted)]
    found.append(await _read(stage, stream, "open"))
    stage.open_gate(stream)
    if "replay_ended" not in stage.peer.about.cant:
        await finished([seen], chunks)
        found.append(await _read(stage, stream, "ended"))
    return found


async def first_events(stage: Stage) -> Spread | None:
    """Measure an attach to a short run that is open: request → its first event."""
    stream, few = stage.stream("attach"), 20
    await stage.peer.begin(stream, stage.work(stream, rush_chunks=few))
    seen = Seen()
    await attached(stage.peer.attaching(stream), seen)
    await reached(seen, few)
    taken = []
    for _ in range(stage.sizes.attaches):
        reader, _ = await rush(stage.peer.attaching(stream), few - 1, PATIENCE_S)
        taken.append(reader.first_event_s * 1000)
    stage.open_gate(stream)
    return Spread.of(taken)


async def finished(everyone: list[Seen], chunks: int) -> None:
    """Wait until all have the end of a run, or nothing comes any more."""
    had, since = -1, time.monotonic()
    while not all(seen.finished for seen in everyone) and time.monotonic() < since + PATIENCE_S:
        has = sum(min(len(seen.numbers), chunks) + seen.finished for seen in everyone)
        if has != had:
            had, since = has, time.monotonic()
        await asyncio.sleep(POLL_S)


async def reached(seen: Seen, chunks: int) -> None:
    """Wait until a reader has the last of so many chunks, or nothing comes any more."""
    had, since = -1, time.monotonic()
    while (not seen.numbers or seen.numbers[-1] < chunks - 1) and time.monotonic() < since + PATIENCE_S:
        if len(seen.numbers) != had:
            had, since = len(seen.numbers), time.monotonic()
        await asyncio.sleep(POLL_S)


async def _read(stage: Stage, stream: str, when: str) -> Replay:
    chunks = stage.sizes.replay_chunks
    speeds, firsts, counted, trouble = [], [], NOTHING, ""
    for _ in range(stage.sizes.reads):
        try:
            reader, took_s = await rush(stage.peer.attaching(stream), chunks - 1, PATIENCE_S * 2)
        except (RefusedError, OSError, TimeoutError) as error:
            trouble = str(error)[:ENOUGH_CHARS] or f"no last chunk within {PATIENCE_S * 2:g} s"
            break
        speeds.append(chunks / took_s)
        firsts.append(reader.first_event_s * 1000)
        counted += tally(reader.seen().numbers, chunks)
    return Replay(
        chunks=chunks,
        when=when,
        chunks_s=tuple(speeds),
        first_event_ms=tuple(firsts),
        counted=Counted.of(counted),
        trouble=trouble,
    )


def _cpu_s(peer: Peer) -> float:
    return sum(cpu_s(pid) or 0.0 for pid in peer.pids())
