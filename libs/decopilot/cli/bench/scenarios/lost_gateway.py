"""From the death of a gateway to the next chunk at those who viewed over it, beside a first attach to the other one."""

import asyncio
import signal
import time
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import ClassVar

from decopilot.cli.bench.ground import Ground
from decopilot.cli.bench.latency import Latency, latency
from decopilot.cli.bench.results import Block, Row, curves, latency_rows
from decopilot.cli.bench.rounds import hearing
from decopilot.cli.bench.services import Copy, services
from decopilot.cli.bench.watching import Watcher, counted, http, post, watching, words_of

DELAY_MS = 20
FIRST_WORDS, WORDS = 10, 200
DEADLINE_S = 60.0
BESIDE = "a first attach"
WHAT = "kill -9 → next chunk"


@dataclass(frozen=True, slots=True)
class LostGateway:
    """So many viewers of one run of 50 chunks a second; their gateway is killed, and they go to the other one."""

    name: ClassVar[str] = "gateway-killed"
    version: ClassVar[int] = 1
    limit_s: ClassVar[float] = 600.0
    is_pinned: ClassVar[bool] = False
    kills: int = 20
    viewers: int = 20

    @property
    def connections(self) -> int:
        """Return how many are open at once."""
        return 3 * self.viewers

    async def measure(self, ground: Ground) -> AsyncIterator[Block]:
        """Measure; what there is is told after each kill."""
        taken, beside = array("q"), array("q")
        viewers, troubles = 0, list[str]()
        async with services(ground, {"gateway": 2}) as stack, http() as session, hearing(ground) as ends:
            for number in range(self.kills):
                ground.progress.step(f"{number} of {self.kills} gateways killed", self.kills)
                ground.progress.done(number)
                here = number % 2
                victim, doors = stack.of("gateway")[here], [stack.doors[here], stack.doors[1 - here]]
                thread = f"gateway-{number}"
                watchers = [Watcher(session, doors, thread) for _ in range(self.viewers)]
                late = Watcher(session, doors[1:], thread)
                async with watching(watchers, DEADLINE_S):
                    await post(session, doors[1], thread, f"/count {WORDS} {DELAY_MS}")
                    for watcher in watchers:
                        await watcher.until(lambda seen: words_of(seen) >= FIRST_WORDS, DEADLINE_S)
                    beside.append(await _attach(late))
                    taken.extend(await _lose(victim, watchers))
                await ends.of([thread])
                await victim.ready()
                viewers += len(watchers)
                troubles += [f"{seen.thread}: {trouble}" for seen in watchers if (trouble := _trouble(seen))]
                yield self._block(latency(taken), latency(beside), viewers, troubles)

    def _block(self, ours: Latency | None, first: Latency | None, viewers: int, troubles: list[str]) -> Block:
        beside = {BESIDE: first}
        longest = Row(measure=f"longest {WHAT}", unit="ms", value=None if ours is None else ours.max_ms)
        return Block(
            scenario=self.name,
            title=f"{self.viewers} viewers, two gateways",
            ours="ours",
            timed=WHAT,
            rows=(*latency_rows(WHAT, ours, beside), longest),
            viewers=viewers,
            exact=viewers - len(troubles),
            troubles=tuple(troubles[:5]),
            curves=curves({"ours": ours} | beside),
        )


async def _attach(watcher: Watcher) -> int:
    began = time.monotonic_ns()
    viewing = asyncio.create_task(watcher.run())
    try:
        await watcher.until(lambda seen: bool(seen.seen), DEADLINE_S)
    finally:
        viewing.cancel()
        await asyncio.wait([viewing])
    return watcher.seen[0].at_ns - began


async def _lose(victim: Copy, watchers: list[Watcher]) -> list[int]:
    """Kill it; returns how long each of its viewers then waited for the next chunk."""
    lost_ns = time.monotonic_ns()
    replacing = asyncio.create_task(victim.replace(signal.SIGKILL))
    await replacing
    came = []
    for watcher in watchers:
        await watcher.until(lambda seen: bool(_later(seen)), DEADLINE_S)
        came.append(_later(watcher)[0] - lost_ns)
    return came


def _later(watcher: Watcher) -> list[int]:
    """Return when chunks came over another connection than the first."""
    return [seen.at_ns for seen in watcher.seen if seen.connection > 1]


def _trouble(watcher: Watcher) -> str | None:
    positions = [seen.position for seen in watcher.seen if seen.position is not None]
    if positions != sorted(set(positions)):
        return "chunks came twice, or out of order"
    return None if watcher.text == counted(WORDS) else "its answer is not what the model said"
