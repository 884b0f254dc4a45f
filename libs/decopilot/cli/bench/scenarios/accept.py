"""From a message to its 202, and to the first chunk at a viewer, beside one acknowledged publish."""

import time
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import ClassVar

import aiohttp

from decopilot.cli.bench import rawstream
from decopilot.cli.bench.ground import Ground
from decopilot.cli.bench.latency import Latency, latency
from decopilot.cli.bench.results import Block, curves, latency_rows
from decopilot.cli.bench.services import Services, services
from decopilot.cli.bench.watching import Watcher, counted, http, post, watching
from decopilot.log.store import EXPECTED

WORDS = 5
BODY = b"x" * 600
"""As large as the event that a short message becomes."""
DEADLINE_S = 30.0
EVERY = 20


@dataclass(frozen=True, slots=True)
class Accept:
    """So many messages one after the other, each to a thread of its own that somebody views; nothing else goes on.

    Between them: as many guarded publishes to a stream of their own, and a message to a subscriber behind each.
    """

    name: ClassVar[str] = "accept"
    version: ClassVar[int] = 1
    limit_s: ClassVar[float] = 300.0
    is_pinned: ClassVar[bool] = False
    connections: ClassVar[int] = 4
    posts: int = 300
    warm_up: int = 20

    async def measure(self, ground: Ground) -> AsyncIterator[Block]:
        """Measure; what there is is told now and then."""
        times = _Times()
        await rawstream.provide(ground.nc)
        async with services(ground) as stack, http() as session:
            ground.progress.step(f"{self.posts:,} messages", self.posts + self.warm_up)
            for number in range(self.warm_up + self.posts):
                if number == self.warm_up:
                    times = _Times()
                await times.publish(ground, f"raw-{number}")
                await times.post(session, stack, f"accept-{number}")
                ground.progress.done(number + 1)
                if number and number % EVERY == 0:
                    yield self._block(times)
        yield self._block(times)

    def _block(self, times: "_Times") -> Block:
        raw, heard = times.latency("published"), times.latency("heard")
        accepted, first, word = (times.latency(what) for what in ("accepted", "first", "word"))
        one, two = "bare publish", "and a message"
        return Block(
            scenario=self.name,
            title="messages, one after the other; chunk and word at a viewer",
            ours="ours",
            timed="POST →",
            rows=(
                *latency_rows("POST → 202", accepted, {one: raw}),
                *latency_rows("POST → first chunk", first, {two: heard}),
                *latency_rows("POST → first word", word, {two: heard}),
            ),
            viewers=times.posts,
            exact=times.exact,
            curves=curves({"202": accepted, one: raw, "first chunk": first}),
        )


class _Times:
    def __init__(self) -> None:
        self.posts = self.exact = 0
        self._taken = {what: array("q") for what in ("published", "heard", "accepted", "first", "word")}

    def latency(self, what: str) -> Latency | None:
        return latency(self._taken[what])

    async def publish(self, ground: Ground, thread: str) -> None:
        inbox = ground.nc.new_inbox()
        subscription = await ground.nc.subscribe(inbox)
        await ground.nc.flush()
        began = time.monotonic_ns()
        subject = f"{rawstream.PREFIX}.{thread}"
        await ground.store.js.publish(subject, BODY, stream=rawstream.STREAM, headers={EXPECTED: "0"})
        self._taken["published"].append(time.monotonic_ns() - began)
        await ground.nc.publish(inbox, BODY)
        await subscription.next_msg(timeout=DEADLINE_S)
        self._taken["heard"].append(time.monotonic_ns() - began)
        await subscription.unsubscribe()

    async def post(self, session: aiohttp.ClientSession, stack: Services, thread: str) -> None:
        watcher = Watcher(session, [stack.door], thread)
        async with watching([watcher], DEADLINE_S):
            began = time.monotonic_ns()
            await post(session, stack.door, thread, f"/count {WORDS} 0")
            self._taken["accepted"].append(time.monotonic_ns() - began)
        self._taken["first"].append(watcher.seen[0].at_ns - began)
        word = next(seen for seen in watcher.seen if seen.chunk["type"] == "text-delta")
        self._taken["word"].append(word.at_ns - began)
        self.posts += 1
        self.exact += watcher.text == counted(WORDS)
