"""From the death of a runner to the next word of its runs, beside the redelivery of a bare work item."""

import asyncio
import random
import signal
import time
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import ClassVar

import aiohttp
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig

from decopilot.cli.bench import rawstream
from decopilot.cli.bench.ground import Ground
from decopilot.cli.bench.latency import latency
from decopilot.cli.bench.results import Block, Row, curves, latency_rows
from decopilot.cli.bench.rounds import post_all
from decopilot.cli.bench.services import Copy, Services, services
from decopilot.cli.bench.watching import Watcher, counted, http, watching, words_of
from decopilot.cli.bench.writing import ORG
from decopilot.contracts import subjects
from decopilot.contracts.chunks import RUN_REWIND
from decopilot.contracts.events import RunStarted
from decopilot.contracts.ids import ThreadId
from decopilot.log.store import Store
from decopilot.log.topology import ACK_WAIT_S

BEAT_S = ACK_WAIT_S / 4
"""Runners say so often that they still work on an item; a kill comes anywhere between two beats."""
DELAY_MS = 25
FIRST_WORDS, WORDS = 10, 150
DEADLINE_S = 60.0
SEED = 1


@dataclass(frozen=True, slots=True)
class _Lost:
    """Runs whose runner is lost, again and again: a run to each runner, then some runners end, and others go on."""

    limit_s: ClassVar[float] = 1_800.0
    is_pinned: ClassVar[bool] = False
    name: ClassVar[str]
    version: ClassVar[int] = 1
    number: ClassVar[signal.Signals]
    what: ClassVar[str]
    kills: int = 100
    runners: int = 6
    at_a_time: int = 3

    @property
    def connections(self) -> int:
        """Return how many are open at once."""
        return 2 * self.runners

    async def measure(self, ground: Ground) -> AsyncIterator[Block]:
        """Measure; what there is is told after each round."""
        found = _Found()
        await rawstream.provide(ground.nc)
        async with services(ground, {"runner": self.runners}) as stack, http() as session:
            number = 0
            while len(found.taken) < self.kills:
                ground.progress.step(f"{len(found.taken)} of {self.kills} runners lost", self.kills)
                ground.progress.done(len(found.taken))
                await self._round(ground, stack, session, f"{self.name}-{number}", found)
                number += 1
                yield self._block(found)

    async def _round(
        self, ground: Ground, stack: Services, session: aiohttp.ClientSession, name: str, found: "_Found"
    ) -> None:
        some = min(self.at_a_time, self.kills - len(found.taken))
        watchers = [Watcher(session, [stack.door], f"{name}-{number}") for number in range(self.runners)]
        async with watching(watchers, DEADLINE_S):
            await post_all(session, stack.door, [watcher.thread for watcher in watchers], f"/count {WORDS} {DELAY_MS}")
            for watcher in watchers:
                await watcher.until(lambda seen: words_of(seen) >= FIRST_WORDS, DEADLINE_S)
            driven = await _driven(ground.store, stack, watchers)
            # One at least goes on: what is measured is not how soon a process starts.
            victims = list(driven)[: min(some, self.runners - 1)]
            try:
                async with asyncio.TaskGroup() as tasks:
                    for victim in victims:
                        tasks.create_task(self._lose(ground, victim, driven[victim], found))
            except ExceptionGroup as group:
                raise group.exceptions[0] from group
        for copy in stack.of("runner"):
            await copy.ready()
        found.runs += len(watchers)
        for watcher in watchers:
            if watcher.text != counted(WORDS):
                found.troubles.append(f"{watcher.thread}: its answer is not what the model said")

    async def _lose(self, ground: Ground, victim: Copy, watchers: list[Watcher], found: "_Found") -> None:
        pause_s = found.chance.uniform(0, BEAT_S)
        bare = asyncio.create_task(redelivered(ground.nc, pause_s))
        await asyncio.sleep(pause_s)
        places = [len(watcher.seen) for watcher in watchers]
        lost_ns = time.monotonic_ns()
        replacing = asyncio.create_task(victim.replace(self.number))
        came_ns = [await _goes_on(watcher, place) for watcher, place in zip(watchers, places, strict=True)]
        found.taken.append(max(came_ns) - lost_ns)
        await replacing
        found.bare.append(round(await bare * 1e9))

    def _block(self, found: "_Found") -> Block:
        ours, bare = latency(found.taken), latency(found.bare)
        is_kill = self.number is signal.SIGKILL
        beside = {"bare redelivery": bare} if is_kill else {}
        behind = [] if ours is None or not is_kill else [_behind(ours.p99_ms / 1000)]
        longest = Row(measure=f"longest {self.what}", unit="s", value=None if ours is None else ours.max_ms / 1000)
        return Block(
            scenario=self.name,
            title=f"{self.what}, {self.runners} runners",
            ours="ours",
            timed=self.what,
            rows=(
                *latency_rows(self.what, ours, beside, "s"),
                longest,
                *behind,
                Row(measure="runners lost", unit="times", value=len(found.taken)),
            ),
            viewers=found.runs,
            exact=found.runs - len(found.troubles),
            troubles=tuple(found.troubles[:5]),
            curves=curves({"ours": ours} | beside),
            facts={"heartbeat_limit_s": ACK_WAIT_S},
        )


@dataclass(frozen=True, slots=True)
class KilledRunner(_Lost):
    """By `kill -9`."""

    name: ClassVar[str] = "runner-killed"
    number: ClassVar[signal.Signals] = signal.SIGKILL
    what: ClassVar[str] = "kill -9 → next word"


@dataclass(frozen=True, slots=True)
class LeavingRunner(_Lost):
    """By SIGTERM, as in a rollout."""

    name: ClassVar[str] = "runner-leaves"
    number: ClassVar[signal.Signals] = signal.SIGTERM
    what: ClassVar[str] = "SIGTERM → next word"
    kills: int = 30


@dataclass(slots=True)
class _Found:
    taken: "array[int]" = field(default_factory=lambda: array("q"))
    bare: "array[int]" = field(default_factory=lambda: array("q"))
    runs: int = 0
    troubles: list[str] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))  # noqa: S311 - when to kill


async def _driven(store: Store, stack: Services, watchers: list[Watcher]) -> dict[Copy, list[Watcher]]:
    """Tell which runner drives whose run."""
    by_pid = {copy.pid: copy for copy in stack.of("runner")}
    driven: dict[Copy, list[Watcher]] = {}
    for watcher in watchers:
        subject = subjects.event(ORG, ThreadId(watcher.thread), "run_started")
        stored = await store.last(subjects.EVENTS_STREAM, subject)
        if stored is None:
            continue
        runner_id = RunStarted.model_validate_json(stored.data).runner_id
        driven.setdefault(by_pid[int(runner_id.rpartition("-")[2])], []).append(watcher)
    return driven


async def _goes_on(watcher: Watcher, place: int) -> int:
    """Wait for the first word behind a takeover; returns when it came."""

    def words(seen: Watcher) -> list[int]:
        later = seen.seen[place:]
        takeovers = [number for number, one in enumerate(later) if one.chunk["type"] == RUN_REWIND]
        return [one.at_ns for one in later[takeovers[0] :] if one.chunk["type"] == "text-delta"] if takeovers else []

    await watcher.until(lambda seen: bool(words(seen)), DEADLINE_S)
    return words(watcher)[0]


async def redelivered(nc: Client, pause_s: float) -> float:
    """Tell how long a bare work item takes to another worker, from when its first one, which kept it, falls silent."""
    js = nc.jetstream()
    subject = f"{rawstream.PREFIX}.{nc.new_inbox().rpartition('.')[2]}"
    config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_WAIT_S, filter_subject=subject)
    consumer = await js.pull_subscribe(subject, stream=rawstream.STREAM, config=config)
    await js.publish(subject, b"")
    (item,) = await consumer.fetch(1, timeout=DEADLINE_S)
    await item.in_progress()
    await asyncio.sleep(pause_s)
    began = time.monotonic()
    (again,) = await consumer.fetch(1, timeout=DEADLINE_S)
    took_s = time.monotonic() - began
    await again.ack()
    await consumer.unsubscribe()
    return took_s


def _behind(p99_s: float) -> Row:
    return Row(
        measure="p99, above the heartbeat limit",
        unit="s",
        value=p99_s - ACK_WAIT_S,
        note=f"the limit is {ACK_WAIT_S:g} s; promised are 2 s more at most",
    )
