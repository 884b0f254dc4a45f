"""From a chunk's being stored to a viewer that has it over the gateway, beside a bare subscription to its frames."""

import time
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import ClassVar

from nats.aio.msg import Msg

from decopilot.cli.bench.ground import Ground
from decopilot.cli.bench.latency import latency
from decopilot.cli.bench.results import Block, curves, latency_rows
from decopilot.cli.bench.services import services
from decopilot.cli.bench.watching import Watcher, counted, http, post, watching
from decopilot.cli.bench.writing import ORG
from decopilot.contracts import subjects
from decopilot.contracts.ids import ThreadId
from decopilot.log.store import Stored

THREAD = "live"
DELAY_MS = 20
DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Live:
    """One run of so many chunks, 50 a second, with one viewer. The broker's own stamp says when a frame was stored."""

    name: ClassVar[str] = "live"
    version: ClassVar[int] = 1
    limit_s: ClassVar[float] = 120.0
    is_pinned: ClassVar[bool] = False
    connections: ClassVar[int] = 4
    chunks: int = 1_000

    async def measure(self, ground: Ground) -> AsyncIterator[Block]:
        """Measure."""
        heard: dict[int, tuple[int, int]] = {}
        offset_ns = time.time_ns() - time.monotonic_ns()

        async def hear(msg: Msg) -> None:
            now_ns = time.monotonic_ns()
            stored = Stored(int((msg.headers or {})["Nats-Sequence"]), msg.subject, msg.headers or {}, msg.data)
            if (at := stored.stored_at) is not None:
                whole = round(at.timestamp() * 1_000_000) * 1_000
                heard[stored.sequence] = (whole - offset_ns, now_ns)

        async with services(ground) as stack, http() as session:
            subscription = await ground.nc.subscribe(subjects.tail_of(ORG, ThreadId(THREAD)), cb=hear)
            watcher = Watcher(session, [stack.door], THREAD)
            telling = ground.progress.running(f"{self.chunks:,} chunks", self.chunks * DELAY_MS / 1000)
            async with telling, watching([watcher], DEADLINE_S):
                await post(session, stack.door, THREAD, f"/count {self.chunks} {DELAY_MS}")
            await subscription.unsubscribe()
        first_seen: dict[int, int] = {}
        for seen in watcher.seen:
            if seen.position is not None:
                first_seen.setdefault(seen.position[0], seen.at_ns)
        both = [(first_seen[sequence], *heard[sequence]) for sequence in sorted(first_seen.keys() & heard.keys())]
        ours = latency(array("q", [seen_ns - stored_ns for seen_ns, stored_ns, _ in both]))
        bare = latency(array("q", [heard_ns - stored_ns for _, stored_ns, heard_ns in both]))
        later = latency(array("q", [max(0, seen_ns - heard_ns) for seen_ns, _, heard_ns in both]))
        yield Block(
            scenario=self.name,
            title="one run, 50 chunks/s, one viewer",
            ours="ours",
            timed="stored → viewer",
            rows=(
                *latency_rows("stored → viewer", ours, {"bare NATS": bare}),
                *latency_rows("later than bare NATS", later, {}),
            ),
            viewers=1,
            exact=int(watcher.text == counted(self.chunks)),
            curves=curves({"ours": ours, "bare NATS": bare}),
        )
