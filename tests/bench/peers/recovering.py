"""What is measured of a peer that something happens to: readers cut off, parts killed with -9."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from bench.peers.peer import Part, Peer
from bench.peers.reading import Reader, RefusedError, Seen, attach
from bench.peers.results import Counted, Drops, Kill
from bench.peers.scenarios import Stage
from bench.peers.tally import tally

AGAIN_S = 0.05
KILL_AT = 4
"""A part is killed once the reader has a fourth of the run."""
CHUNKS_A_DROP = 30
ANSWER_S = 5.0
POLL_S = 0.02
PACES = {"one by one, 50 a second": (1, 50.0), "bursts of 10, 200 a second": (10, 200.0)}


class Follower:
    """A reader that wants the whole run: whenever its connection ends, it comes back with its cursor."""

    def __init__(self, peer: Peer, stream: str) -> None:
        self.seen = Seen()
        self.refused = ""
        self.drop_after = 0
        """Cut the connection after so many events more; 0: never."""
        self.dropped = 0
        self._peer, self._stream = peer, stream
        self._reader: Reader | None = None
        self._silent_from = time.monotonic()
        self.silence_s = 0.0

    async def follow(self) -> None:
        """Read until the run's end was read."""
        while not self.seen.finished:
            request = self._peer.attaching(self._stream, self.seen)
            try:
                self._reader = await attach(request, self.seen, self._heard, ANSWER_S)
            except (RefusedError, OSError, TimeoutError) as error:
                self.refused = str(error) or type(error).__name__
                await asyncio.sleep(AGAIN_S)
                continue
            await self._reader.ended
            await asyncio.sleep(AGAIN_S)

    def listen_from_now(self) -> None:
        """Let the time without a new chunk run from now."""
        self._silent_from, self.silence_s = time.monotonic(), 0.0

    def silent_s(self) -> float:
        """Tell how long nothing new has come."""
        return time.monotonic() - max(self._silent_from, self.seen.arrived_at)

    def close(self) -> None:
        """Leave for good."""
        if self._reader is not None:
            self._reader.close()

    def _heard(self) -> None:
        if self.seen.arrived_at > self._silent_from:
            self.silence_s = max(self.silence_s, self.seen.arrived_at - self._silent_from)
            self._silent_from = self.seen.arrived_at
        if self.drop_after and self._reader is not None and not self.seen.finished:
            self.drop_after -= 1
            if not self.drop_after:
                self.dropped += 1
                self._reader.close()


@asynccontextmanager
async def following(peer: Peer, stream: str) -> AsyncIterator[Follower]:
    """Follow a stream while the context is open."""
    follower = Follower(peer, stream)
    task = asyncio.create_task(follower.follow())
    try:
        yield follower
    finally:
        follower.close()
        task.cancel()
        await asyncio.wait([task])


async def drops(stage: Stage, pace: str) -> Drops:
    """Cut a reader off at moments drawn by lot, the same ones for everybody."""
    lot, (burst, rate) = Random(pace), PACES[pace]
    chunks = stage.sizes.drops * CHUNKS_A_DROP
    stream = stage.stream("drops")
    await stage.peer.begin(stream, stage.work(stream, chunks=chunks, burst=burst, rate=rate))
    async with following(stage.peer, stream) as follower:
        stage.open_gate(stream)
        while follower.dropped < stage.sizes.drops and not _is_over(stage, follower):
            if not follower.drop_after:
                follower.drop_after = lot.randint(3, 15)
            await asyncio.sleep(POLL_S / 4)
        while not _is_over(stage, follower):
            await asyncio.sleep(POLL_S)
        told = tally(follower.seen.numbers, chunks)
        return Drops(pace=pace, drops=follower.dropped, counted=Counted.of(told), end=_end(stage, follower))


async def killed(stage: Stage, part: Part) -> Kill:
    """Kill a part in mid-run, and see what its reader gets to know."""
    stream, chunks = stage.stream("kill"), stage.sizes.kill_chunks
    await stage.peer.begin(stream, stage.work(stream, chunks=chunks))
    async with following(stage.peer, stream) as follower:
        stage.open_gate(stream)
        while len(follower.seen.numbers) < chunks // KILL_AT and not _is_over(stage, follower):
            await asyncio.sleep(POLL_S)
        had = len(set(follower.seen.numbers))
        follower.listen_from_now()
        await stage.peer.kill(part)
        while not _is_over(stage, follower):
            await asyncio.sleep(POLL_S)
        # What was under way when the part died is no sign of life.
        went_on = len(set(follower.seen.numbers)) > had + stage.sizes.rate / 10
        return Kill(
            silence_s=follower.silence_s if went_on else None,
            counted=Counted.of(tally(follower.seen.numbers, chunks)),
            end=_end(stage, follower),
        )


def _is_over(stage: Stage, follower: Follower) -> bool:
    return follower.seen.finished or follower.silent_s() > stage.sizes.silence_s


def _end(stage: Stage, follower: Follower) -> str:
    if follower.seen.finished:
        return "told"
    why = follower.seen.error or follower.refused
    return f"not told in {stage.sizes.silence_s:g} s" + (f" ({why})" if why else "")
