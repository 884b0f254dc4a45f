"""Rebuilding: views are what the log says, whoever spoiled them, while reactors go on writing them."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial

import pytest

from decopilot.contracts import subjects
from decopilot.contracts.frames import Outcome
from decopilot.contracts.ids import MessageId, ThreadId
from decopilot.contracts.messages import UIMessage
from decopilot.contracts.views import StoredMessage
from decopilot.domain.thread import FOLD_VERSION
from decopilot.kit.settings import Settings
from decopilot.log.history import Histories
from decopilot.log.journal import Journal
from decopilot.log.rebuilding import Found, Progress, Rebuilder
from decopilot.log.store import Store
from decopilot.log.views import Views
from support.reactors import DONE, ByHand, reactors
from support.services import ORG, Record, until

BUCKETS = (subjects.THREADS_BUCKET, subjects.MESSAGES_BUCKET)
T1, T2, GONE = ThreadId("t1"), ThreadId("t2"), ThreadId("gone")


async def contents(store: Store) -> dict[str, bytes]:
    """What the views' buckets hold, byte by byte; markers are nothing."""
    found: dict[str, bytes] = {}
    for bucket in BUCKETS:
        async for batch in store.read(f"KV_{bucket}", f"$KV.{bucket}.>", 0):
            found |= {stored.subject: stored.data for stored in batch if stored.data}
    return found


async def wipe(store: Store) -> None:
    for bucket in BUCKETS:
        await store.js.purge_stream(f"KV_{bucket}")


async def rebuild(record: Record, *, writes: bool = True, after: int = 0) -> list[Found]:
    rebuilder = Rebuilder(record.store, record.journal, record.views, writes=writes)
    return [found async for found in rebuilder.rebuild(after=after)]


async def is_projected(record: Record, thread: ThreadId) -> bool:
    view, _ = await record.views.read_thread(ORG, thread)
    return view is not None and view.sequence == await record.journal.newest(ORG, thread)


@pytest.fixture
async def threads(record: Record, settings: Settings) -> AsyncIterator[Record]:
    """Threads of some runs each, one deleted, as a reactor projected them; which goes on."""
    async with reactors(settings, copies=1):
        for thread in (T1, T2, GONE):
            hand = ByHand(record, thread)
            for message in ("m1", "m2", "m3"):
                await hand.whole_run(message)
            if thread != GONE:
                await until(partial(is_projected, record, thread))
        tombstone = await ByHand(record, GONE).delete()

        async def is_erased() -> bool:
            first = await record.store.first(subjects.EVENTS_STREAM, subjects.events_of(ORG, GONE))
            return first is not None and first.sequence == tombstone

        await until(is_erased)
        yield record


async def test_views_that_are_right_are_left_alone(threads: Record) -> None:
    before = await contents(threads.store)
    assert [] == await rebuild(threads)
    assert before == await contents(threads.store)


async def test_views_that_were_wiped_are_rebuilt_byte_by_byte_and_a_deleted_thread_stays_away(threads: Record) -> None:
    before = await contents(threads.store)
    await wipe(threads.store)
    told = await rebuild(threads, writes=False)
    assert {} == await contents(threads.store)
    assert told == await rebuild(threads)
    assert {("missing", T1), ("missing", T2)} == {(found.difference, found.thread) for found in told}
    assert 14 == len(told)
    assert before == await contents(threads.store)
    assert [] == await rebuild(threads)


async def test_what_was_spoiled_is_told_and_mended_and_views_of_no_thread_go(threads: Record) -> None:
    before, store = await contents(threads.store), threads.store
    view, revision = await threads.views.read_thread(ORG, T1)
    assert view is not None
    spoiled = view.model_copy(update={"state": view.state.model_copy(update={"title": "forged"})})
    await threads.views.write_thread(ORG, T1, spoiled, revision)
    other, revision = await threads.views.read_thread(ORG, T2)
    assert other is not None
    await threads.views.write_thread(ORG, T2, other.model_copy(update={"fold_version": FOLD_VERSION - 1}), revision)
    await threads.views.write_thread(ORG, ThreadId("no-thread"), view, 0)
    forged = UIMessage(id=MessageId("m1"), role="user", parts=[{"type": "text", "text": "forged"}])
    await threads.views.write_message(ORG, T1, StoredMessage(message=forged), mends=True)
    await store.publish("KV_decopilot_messages", "$KV.decopilot_messages.acme.t2.m2", b"{not json")
    expected = {
        Found(ORG, T1, "wrong"),
        Found(ORG, T1, "wrong", MessageId("m1")),
        Found(ORG, T2, "outdated"),
        Found(ORG, T2, "missing", MessageId("m2")),
        Found(ORG, ThreadId("no-thread"), "leftover"),
    }
    assert expected == set(await rebuild(threads, writes=False))
    assert expected == set(await rebuild(threads))
    assert before == await contents(store)


async def test_a_view_of_a_newer_version_is_left_as_it_is(record: Record) -> None:
    await ByHand(record, T1).whole_run()
    newest = await record.journal.newest(ORG, T1)
    newer = {"fold_version": FOLD_VERSION + 1, "sequence": newest, "state": {"song": "la"}}
    body = json.dumps(newer).encode()
    assert await record.store.replace(subjects.THREADS_BUCKET, subjects.thread_key(ORG, T1), body, 0)
    assert {"missing"} == {found.difference for found in await rebuild(record)}
    assert [] == await rebuild(record, writes=False)
    kept = [json.loads(found) for name, found in (await contents(record.store)).items() if name.endswith(f".{T1}")]
    assert [newer] == kept


async def test_a_rebuild_that_was_stopped_goes_on_behind_what_it_told_last(threads: Record) -> None:
    before = await contents(threads.store)
    await wipe(threads.store)
    told: list[Progress] = []
    rebuilder = Rebuilder(threads.store, threads.journal, threads.views)
    async for found in rebuilder.rebuild(progress=told.append):
        if found.thread == T2:
            break
    assert [1] == [progress.threads for progress in told]
    rest = await rebuild(threads, after=told[-1].sequence)
    assert {T2} == {found.thread for found in rest}
    assert before == await contents(threads.store)


async def test_while_views_are_gone_and_rebuilt_histories_are_whole_and_runs_go_on(threads: Record) -> None:
    store = threads.store
    histories = Histories(threads.journal, threads.views)
    expected = (await histories.read(ORG, T1)).messages
    await wipe(store)
    await Rebuilder(store, threads.journal, threads.views).rebuild(thread=T1).aclose()
    view = (await threads.journal.load(ORG, T1)).state
    assert 3 == len(view.runs)
    # The view is there, and what it lists is not: the log is read instead.
    await rebuild(threads)
    await store.js.purge_stream(f"KV_{subjects.MESSAGES_BUCKET}")
    assert expected == (await histories.read(ORG, T1)).messages

    async def go_on() -> None:
        for number in range(4, 10):
            await ByHand(threads, T1).whole_run(f"m{number}")

    async with asyncio.TaskGroup() as group:
        going = group.create_task(go_on())
        while not going.done():
            await rebuild(threads)
            assert expected == (await histories.read(ORG, T1)).messages[: len(expected)]
    await until(lambda: is_projected(threads, T1))
    assert [] == await rebuild(threads)
    assert 18 == len((await histories.read(ORG, T1)).messages)


async def test_a_reactor_that_writes_at_the_same_time_is_never_overwritten_by_what_is_older(
    threads: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run ends between what the rebuild has read and what it writes."""
    await wipe(threads.store)
    slow = Views(threads.store)
    original = slow.write_thread
    held: list[object] = []

    async def held_up(*args: object) -> None:
        if not held:
            held.append(args)
            await ByHand(threads, T1).whole_run("m4", Outcome(status="completed", finish_reason="stop"))
            await until(lambda: is_projected(threads, T1))
        await original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(slow, "write_thread", held_up)
    rebuilder = Rebuilder(threads.store, Journal(threads.store, slow), slow)
    told = [found async for found in rebuilder.rebuild(thread=T1)]
    assert held
    assert await is_projected(threads, T1)
    view = await threads.views.snapshot(ORG, T1)
    assert view is not None
    assert DONE.status == view.state.status
    assert 4 == len(view.state.runs)
    assert T1 in {found.thread for found in told}
