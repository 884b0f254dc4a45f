"""Many who attach at any moment and any cursor, while much is written: each sees the log from its start on."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from decopilot.cli.broker import EmbeddedBroker
from decopilot.log.store import Store
from support.authors import Author, stored
from support.gateways import gateway_process, make_token, until
from support.returning import Returning, Seen, all_watch, fault

THREADS = ("t1", "t2", "t3", "t4")
ATTACHES = 600
AT_ONCE = 24
DEADLINE_S = 90.0


@dataclass(frozen=True, slots=True)
class Attach:
    """One who attached: with which cursor, and between which runs' beginnings the gateway answered."""

    viewer: Returning
    cursor: str | None
    at_least: int
    at_most: list[int]

    def fault(self, there: Seen) -> str | None:
        """Say what is wrong with what it saw."""
        start = self._start(there)
        found = fault(there[start : start + len(self.viewer.seen)], self.viewer.seen)
        return found and f"from {self.cursor}, place {start} of {len(there)}: {found}"

    def _start(self, there: Seen) -> int:
        ids = [id_ for id_, _ in there]
        if self.cursor is not None:
            return 0 if self.cursor == "0-0" else ids.index(self.cursor) + 1
        # Without a cursor: at the beginning of the run that was active when the gateway looked, or of the next where
        # that had just ended.
        begins = [place for place, (_, chunk) in enumerate(there) if chunk["type"] == "start"]
        found = self.viewer.seen[0]
        return next(
            (at for at in begins[self.at_least - 1 : self.at_most[0] + 1] if there[at] == found),
            begins[self.at_least - 1],
        )


async def test_whoever_attaches_at_any_moment_under_load_sees_every_chunk_from_its_start_on(
    own_broker: EmbeddedBroker,
    store: Store,
    tmp_path: Path,
    chance: random.Random,
    record_property: Callable[[str, object], None],
) -> None:
    authors = {thread: Author(store, thread, random.Random(chance.random()), frames_per_run=60) for thread in THREADS}
    attaches: list[Attach] = []
    begun = 0
    async with gateway_process(own_broker.url, tmp_path) as gateway:
        await until(partial(gateway.answers, 200))
        present = {thread: Returning(make_token(), thread, [gateway.url]) for thread in THREADS}

        async def attach() -> None:
            thread = chance.choice(THREADS)
            # What this one saw, the gateway has.
            seen, author = present[thread].seen, authors[thread]
            cursor = chance.choice([None, "0-0", *(id_ for id_, _ in chance.choices(seen, k=6))])
            viewer = Returning(make_token(), thread, [gateway.url], cursor=cursor)
            at_most: list[int] = []
            viewer.begins = lambda: at_most.append(author.run)
            at_least = sum(chunk["type"] == "start" for _, chunk in seen)
            await viewer.stay(chance.randint(1, 200))
            attaches.append(Attach(viewer, cursor, at_least, at_most))

        async def attach_often() -> None:
            nonlocal begun
            await until(lambda: all(viewer.seen for viewer in present.values()))
            while begun < ATTACHES:
                begun += 1
                await attach()
                # At random moments; nobody waits for anything here.
                await asyncio.sleep(chance.uniform(0, 0.2))

        began_at = time.monotonic()
        writing = [
            author.write(lambda: len(attaches) == ATTACHES, partial(asyncio.sleep, 0)) for author in authors.values()
        ]
        crowd = [attach_often() for _ in range(AT_ONCE)]
        await all_watch(list(present.values()), *writing, *crowd, deadline_s=DEADLINE_S)
        took_s = time.monotonic() - began_at
    record_property("chunks_per_s", round(sum(author.written for author in authors.values()) / took_s))
    there = {thread: await stored(store, thread) for thread in THREADS}
    assert [] == [found for thread in THREADS if (found := fault(there[thread], present[thread].seen))]
    assert [] == [found for attach in attaches if (found := attach.fault(there[attach.viewer.thread]))]
    assert ATTACHES == sum(bool(attach.viewer.seen) for attach in attaches)
