"""Watching an org: what is asked for, each event once and in order, resumable, and never another org's."""

from collections.abc import AsyncIterator

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.log.store import Store, Stored
from support.gateways import ORG, running_gateway
from support.telling import Teller
from support.watcher import Told, watching

MEMORY_BYTES = 1 << 20


async def test_the_first_frame_says_to_whom_one_listens_and_for_what(own_broker: EmbeddedBroker, store: Store) -> None:
    teller = Teller(store)
    async with running_gateway(own_broker.url) as gateway:
        async with watching(gateway.api, " decopilot.*, ,x ") as watcher:
            wanted = {"organizationId": ORG, "typePatterns": ["decopilot.*", "x"], "resumed": False}
            assert Told("0", "connected", wanted) == await watcher.next()
        told = await teller.tell("step", stepCount=1)
        async with watching(gateway.api) as watcher:
            assert told == (await watcher.next()).id


@pytest.mark.parametrize(
    ("types", "wanted"),
    [
        (None, ["thread.status", "step", "finish"]),
        ("", ["thread.status", "step", "finish"]),
        ("decopilot.*", ["thread.status", "step", "finish"]),
        ("decopilot.thread.*,decopilot.finish", ["thread.status", "finish"]),
        ("decopilot.step", ["step"]),
        ("*", []),
        ("decopilot.ste", []),
        (".*", []),
    ],
)
async def test_only_the_types_that_are_asked_for_are_told(
    own_broker: EmbeddedBroker, store: Store, types: str | None, wanted: list[str]
) -> None:
    teller = Teller(store)
    asked = f"{types},decopilot.last" if types else types
    async with running_gateway(own_broker.url) as gateway, watching(gateway.api, asked) as watcher:
        await watcher.next()
        for kind in ("thread.status", "step", "finish", "last"):
            await teller.tell(kind)
        assert [f"decopilot.{kind}" for kind in [*wanted, "last"]] == await watcher.names(len(wanted) + 1)


async def test_a_watcher_that_comes_back_hears_what_it_missed_once_in_order_from_any_gateway(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    teller = Teller(store)
    async with running_gateway(own_broker.url) as one, running_gateway(own_broker.url) as two:
        async with watching(one.api) as watcher:
            await watcher.next()
            ids = [await teller.tell("step") for _ in range(5)]
            assert ids == [(await watcher.next()).id for _ in range(5)]
        for last in range(5):
            async with watching((one, two)[last % 2].api, last=ids[last]) as watcher:
                connected = await watcher.next()
                assert (ids[last], True) == (connected.id, connected.data["resumed"])
                ids.append(await teller.tell("step"))
                assert ids[last + 1 :] == [(await watcher.next()).id for _ in ids[last + 1 :]]


async def test_a_watcher_far_behind_reads_everything_from_the_log(own_broker: EmbeddedBroker, store: Store) -> None:
    teller = Teller(store)
    first = await teller.tell("step")
    large = "x" * (MEMORY_BYTES // 4)
    async with running_gateway(own_broker.url, memory_bytes=MEMORY_BYTES) as gateway, watching(gateway.api):
        for _ in range(12):
            await teller.tell("step", text=large)
        async with watching(gateway.api, last=first) as watcher:
            assert (await watcher.next()).data["resumed"]
            assert [f"t{number}" for number in range(2, 14)] == await watcher.subjects(12)


async def test_more_types_than_there_are_are_refused_and_one_said_twice_is_one(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    teller = Teller(store)
    async with running_gateway(own_broker.url) as gateway:
        status, problem = await gateway.api.get("watch?types=" + ",".join(f"t{number}" for number in range(33)))
        assert (400, "invalid_query") == (status, problem["code"])
        async with watching(gateway.api, "decopilot.step,decopilot.finish,decopilot.step") as watcher:
            wanted = ["decopilot.step", "decopilot.finish"]
            assert wanted == (await watcher.next()).data["typePatterns"]
            for kind in ("step", "thread.status", "finish"):
                await teller.tell(kind)
            assert wanted == await watcher.names(2)


@pytest.mark.parametrize("cursor", ["x", "-1", "1-0", "1.5", "1" * 19])
async def test_a_malformed_watch_cursor_is_refused(own_broker: EmbeddedBroker, store: Store, cursor: str) -> None:
    del store
    async with running_gateway(own_broker.url) as gateway:
        status, problem = await gateway.api.get(f"watch?cursor={cursor}")
    assert (400, "invalid_cursor") == (status, problem["code"])


async def test_a_watch_cursor_that_cannot_be_served_exactly_says_so_and_goes_on_with_what_there_is(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    teller, stranger = Teller(store), Teller(store, "elsewhere")
    expired, foreign = await teller.tell("step"), await stranger.tell("step")
    kept = [await teller.tell("step") for _ in range(2)]
    await store.js.delete_msg(subjects.WATCH_STREAM, int(expired))
    async with running_gateway(own_broker.url) as gateway:
        for last in (expired, foreign):
            async with watching(gateway.api, last=last) as watcher:
                assert not (await watcher.next()).data["resumed"]
                assert kept == [(await watcher.next()).id for _ in kept]
        async with watching(gateway.api, last="9999") as watcher:
            connected = await watcher.next()
            assert (kept[-1], False) == (connected.id, connected.data["resumed"])


async def test_what_expired_while_others_watched_is_looked_for_only_once(
    own_broker: EmbeddedBroker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    positions: list[int] = []
    read = Store.read

    def counting(self: Store, stream: str, subject: str, after: int, *, until: int = 0) -> AsyncIterator[list[Stored]]:
        if stream == subjects.WATCH_STREAM and until > after + 1:
            positions.append(after)
        return read(self, stream, subject, after, until=until)

    teller = Teller(store)
    first = await teller.tell("step")
    async with (
        running_gateway(own_broker.url, keepalive_s=0.05, memory_bytes=MEMORY_BYTES) as gateway,
        watching(gateway.api) as other,
    ):
        await other.next()
        await teller.tell("step")
        large = [await teller.tell("step", text="x" * (MEMORY_BYTES // 4)) for _ in range(6)]
        assert large[-1] == [(await other.next()).id for _ in range(7)][-1]
        await store.js.purge_stream(subjects.WATCH_STREAM)
        monkeypatch.setattr(Store, "read", counting)
        async with watching(gateway.api, last=first) as watcher:
            assert not (await watcher.next()).data["resumed"]
            remembered = await watcher.next()
            assert remembered.id in large
            assert large[large.index(remembered.id) + 1 :] == [
                (await watcher.next()).id for _ in large[large.index(remembered.id) + 1 :]
            ]
            await watcher.quiet()
            told = await teller.tell("finish")
            assert told == (await watcher.next()).id
    assert [int(first)] == positions


async def test_nothing_of_another_org_is_ever_told(own_broker: EmbeddedBroker, store: Store) -> None:
    teller, stranger = Teller(store), Teller(store, "elsewhere")
    async with running_gateway(own_broker.url) as gateway, watching(gateway.api) as watcher:
        await watcher.next()
        for _ in range(3):
            await stranger.tell("step", secret="of elsewhere")
        await teller.tell("finish")
        await stranger.tell("step", secret="of elsewhere")
        await teller.tell("step")
        assert ["decopilot.finish", "decopilot.step"] == await watcher.names(2)
