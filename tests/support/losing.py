"""What is lost when the power of brokers is cut: what they acknowledged, beside what they hold afterwards."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from nats.js.api import StorageType, StreamConfig
from nats.js.errors import NotFoundError

from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.store import UNCERTAIN, Store
from support.cluster import insistently
from support.powered import Powered, powered_servers

STREAM = "S"
WRITERS = 16
PACE_S = 0.02
"""Between two messages of a writer: that of a run that streams fast."""
BODY_BYTES = 200
SETTLE_S = 60.0
AFTERWARDS = 100
AT_ONCE = 100
SERVERS_DEFAULT = "2m"


@asynccontextmanager
async def reaching(url: str) -> AsyncIterator[Store]:
    """Be connected; that nobody may be there any more to take leave of does not matter."""
    is_over = False
    try:
        async with connected(Settings(nats_url=url), "power") as nc:
            yield Store(nc)
            is_over = True
    except OSError:
        if not is_over:
            raise


@dataclass(slots=True)
class Ledger:
    """Writers, and what was acknowledged to them, each message by its name, with the moment."""

    acknowledged: dict[str, float] = field(default_factory=dict)

    async def write(self, store: Store, writer: int, is_over: asyncio.Event) -> None:
        """Write, one message after the other, until it is over; a name is never used twice."""
        number = 0
        while not is_over.is_set():
            name = f"{writer}-{number}"
            number += 1
            try:
                await store.publish(STREAM, f"s.{writer}", name.encode().ljust(BODY_BYTES), timeout_s=2)
            except UNCERTAIN:
                pass  # nobody knows
            else:
                self.acknowledged[name] = time.monotonic()
            await asyncio.sleep(PACE_S)

    @asynccontextmanager
    async def writing(self, url: str) -> AsyncIterator[None]:
        """Write while the context is open."""
        async with reaching(url) as store:
            is_over = asyncio.Event()
            async with asyncio.TaskGroup() as writers:
                for writer in range(WRITERS):
                    writers.create_task(self.write(store, writer, is_over))
                try:
                    yield
                    await asyncio.sleep(0.2)  # what was acknowledged before a cut may still be on its way
                finally:
                    is_over.set()  # a cancellation may get lost in the client

    def judged(self, held: list[str] | None, cut_at: float) -> dict[str, object]:
        """Compare with what the stream holds, by its order; None where there is no stream any more."""
        names = Counter(held or [])
        lost = [name for name in self.acknowledged if name not in names]
        before = [at for name, at in self.acknowledged.items() if at <= cut_at + 0.2 and name not in names]
        order: dict[str, int] = {}
        disordered = 0
        for name in held or []:
            writer, _, number = name.partition("-")
            disordered += int(number) < order.get(writer, -1)
            order[writer] = int(number)
        return {
            "acknowledged": len(self.acknowledged),
            "lost": len(lost),
            "lost_s": round(cut_at - min(before), 2) if before else 0.0,
            "doubled": sum(count > 1 for count in names.values()),
            "disordered": disordered,
            "stream_gone": held is None,
        }


Cut = Callable[[Powered, Store, Ledger], Awaitable[float]]
"""What happens to servers under load; returns the moment of the cut."""


def all_at_once(seconds: float) -> Cut:
    """Cut the power of all servers at one moment."""

    async def cut(servers: Powered, store: Store, ledger: Ledger) -> float:
        del store
        async with ledger.writing(servers.url):
            await asyncio.sleep(seconds)
            servers.halt(*servers.nodes)
            moment = time.monotonic()
        servers.boot(*servers.nodes)
        return moment

    return cut


def the_leader(seconds: float) -> Cut:
    """Cut the power of the leader; the others go on, and it comes back."""

    async def cut(servers: Powered, store: Store, ledger: Ledger) -> float:
        async with ledger.writing(servers.url):
            await asyncio.sleep(seconds)
            leader, *_ = await roles(store)
            await asyncio.to_thread(servers.halt, leader)
            moment = time.monotonic()
            await asyncio.sleep(10)
            await asyncio.to_thread(servers.boot, leader)
            await asyncio.sleep(5)
        return moment

    return cut


def one_while_others_lag(seconds: float) -> Cut:
    """Cut the power of one follower only: the other one was out of touch before, and the leader is so afterwards.

    At any moment two of three run and see each other, and one disk of three loses something (as Jepsen found it).
    """

    async def cut(servers: Powered, store: Store, ledger: Ledger) -> float:
        leader, follower, other = await roles(store)
        async with ledger.writing(servers.nodes[leader].url):
            await asyncio.sleep(seconds / 2)
            servers.freeze(other)
            await asyncio.sleep(seconds / 2)
            servers.freeze(leader)
            servers.halt(follower)
            moment = time.monotonic()
        servers.thaw(other)
        servers.boot(follower)
        try:
            both = f"{servers.nodes[follower].url},{servers.nodes[other].url}"
            async with reaching(both) as survivors:
                await patiently_written(survivors)
        finally:
            servers.thaw(leader)
        return moment

    return cut


async def patiently_written(store: Store) -> None:
    """Write on: whoever leads now has something that the leader before does not have."""
    done = 0
    async with asyncio.timeout(SETTLE_S):
        while done < AFTERWARDS:
            try:
                await store.publish(STREAM, "s.after", f"9999-{done}".encode(), timeout_s=2)
                done += 1
            except NotFoundError:
                return
            except UNCERTAIN:
                await asyncio.sleep(0.1)


async def losses(folder: Path, sync_interval: str, replicas: int, cut: Cut) -> dict[str, object]:
    """Write, cut, and count what is gone."""
    ledger = Ledger()
    with powered_servers(folder, sync_interval, replicas) as servers:
        async with reaching(servers.url) as store:
            await made(store, replicas)
            moment = await cut(servers, store, ledger)
        async with reaching(servers.url) as store:
            held, is_at_rest = await _held(store, replicas)
        found = ledger.judged(held, moment)
        return found | {"at_rest": is_at_rest, "replicas": await asyncio.to_thread(servers.holdings, STREAM)}


async def roles(store: Store) -> list[str]:
    """Name the nodes: the leader, then the followers."""
    async with asyncio.timeout(SETTLE_S):
        while True:
            try:
                cluster = (await store.js.stream_info(STREAM)).cluster
                if cluster is not None and cluster.leader:
                    return [cluster.leader, *(peer.name for peer in cluster.replicas or [] if peer.name)]
            except UNCERTAIN:
                pass
            await asyncio.sleep(0.05)


async def made(store: Store, replicas: int) -> None:
    """Make the stream, once the nodes have found one another."""
    config = StreamConfig(
        name=STREAM, subjects=["s.>"], storage=StorageType.FILE, num_replicas=replicas, allow_direct=True
    )
    await insistently(lambda: store.js.add_stream(config))


async def _held(store: Store, replicas: int) -> tuple[list[str] | None, bool]:
    """Read the stream, once it has a leader with whom everybody has caught up; None where there is none any more.

    Tells, too, whether it came to rest so.
    """
    last, is_at_rest = await _settled(store, replicas)
    if last is None:
        return None, is_at_rest
    held: list[str] = []
    for begin in range(1, last + 1, AT_ONCE):
        # From the leader: any other node may hold something else by now.
        found = await asyncio.gather(
            *(
                insistently(partial(store.get, STREAM, sequence))
                for sequence in range(begin, min(begin + AT_ONCE, last + 1))
            )
        )
        held += [stored.data.decode().strip() for stored in found if stored and stored.subject != "s.after"]
    return held, is_at_rest


async def _settled(store: Store, replicas: int) -> tuple[int | None, bool]:
    deadline = time.monotonic() + SETTLE_S
    last: int | None = None
    gone = 0
    while time.monotonic() < deadline:
        try:
            info: Any = await store.js.stream_info(STREAM)
        except NotFoundError:
            gone += 1
            if gone > 10 * replicas:  # a cluster that has just begun may not know yet
                return None, True
        except UNCERTAIN:
            pass
        else:
            last = int(info.state.last_seq)
            peers = [] if info.cluster is None else info.cluster.replicas or []
            if replicas == 1 or (len(peers) == replicas - 1 and all(peer.current for peer in peers)):
                return last, True
        await asyncio.sleep(0.3)
    return last, False
