"""Backup and restore: what a broker holds in a folder and back, every cursor good, whatever went on meanwhile."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from decopilot.contracts import subjects
from decopilot.contracts.frames import Frame
from decopilot.contracts.ids import ThreadId
from decopilot.kit.connection import connected
from decopilot.kit.health import broker_answers
from decopilot.kit.settings import Settings
from decopilot.log import snapshots
from decopilot.log.backups import KEPT, MANIFEST, BackupError, Manifest, back_up
from decopilot.log.blobs import Blobs
from decopilot.log.drift import consumer_differences, wanted_consumers
from decopilot.log.erasures import Erased, Erasures, Owned
from decopilot.log.history import Histories
from decopilot.log.pump import Pump
from decopilot.log.readers import Readers
from decopilot.log.restoring import InUseError, OccupiedError, Restored, Restorer
from decopilot.log.running import running_services
from decopilot.log.snapshots import ABOUT, DATA
from decopilot.log.store import Store
from decopilot.log.topology import Sizes, provision
from decopilot.log.unfinished import Mark, UnfinishedRestoreError
from support.brokers import embedded
from support.reactors import ByHand, reactors
from support.services import ORG, USER, Record

T1, T2 = ThreadId("t1"), ThreadId("t2")
SKIPPED = 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Record]:
    """A broker that nobody has provisioned."""
    with embedded(tmp_path / "other") as broker:
        async with connected(Settings(nats_url=broker.url, instance="other"), "test") as nc, Store(nc) as store:
            yield Record.of(store)


async def restore(record: Record, folder: Path, *erased: Erased, forces: bool = False, skipped: int = 0) -> Restored:
    restorer = Restorer(record.store, folder, sizes=Sizes(), skipped=skipped)
    return await restorer.restore(erased=erased, forces=forces)


async def frames(record: Record) -> list[Frame]:
    found = []
    async for batch in record.store.read(subjects.CHUNKS_STREAM, "decopilot.chunk.>", 0):
        found += [await record.frames.get(ORG, subjects.owner_of(s.subject)[1], s.sequence) for s in batch]
    return [frame for frame in found if frame is not None]


async def last_of(record: Record, stream: str) -> int:
    return (await record.store.js.stream_info(stream)).state.last_seq


async def test_what_is_restored_is_what_was_backed_up_with_its_sequences_and_what_is_written_later_comes_far_behind(
    record: Record, other: Record, folder: Path
) -> None:
    one = ByHand(record, T1)
    await one.whole_run("m1")
    purged = await one.whole_run("m2")
    await record.frames.purge(ORG, T1, purged)
    waits = await ByHand(record, T2).post("m1")
    blob = await Blobs(record.store).put(ORG, T1, "b1", b"x" * 300_000, name="x.bin")
    events, chunks = await record.events(T1), await frames(record)
    manifest = await back_up(record.store, folder)
    assert {*KEPT} == {*manifest.parts}
    await one.whole_run("lost")

    assert Restored(2, (), ()) == await restore(other, folder, skipped=SKIPPED)
    assert events == await other.events(T1)
    assert [waits] == [*(await other.journal.load(ORG, T2)).state.runs]
    # The times of the broker are those of then, too.
    assert chunks == await frames(other)
    histories = [await Histories(r.journal, r.views).read(ORG, T1) for r in (record, other)]
    assert histories[0].messages[:4] == histories[1].messages
    assert b"x" * 300_000 == await Blobs(other.store).read(ORG, T1, "b1")
    assert blob == await Blobs(other.store).info(ORG, T1, "b1")
    assert 2 == len([entry async for entry in other.views.threads(ORG)])
    await ByHand(other, T1).whole_run("m3")
    newest = await other.frames.last_of_thread(ORG, T1)
    assert newest is not None
    assert newest.sequence > manifest.parts[subjects.CHUNKS_STREAM].last_sequence + SKIPPED
    assert await last_of(other, subjects.WATCH_STREAM) >= SKIPPED - 1
    # Whoever provisions later, as every update has it, changes nothing of that.
    await provision(other.store.nc)
    config = (await other.store.js.stream_info(subjects.CHUNKS_STREAM)).config
    assert config.republish is not None
    assert (None, 86_400, "decopilot.tail.>") == (config.mirror, config.max_age, config.republish.dest)
    for stream, wanted in wanted_consumers():
        config = (await other.store.js.consumer_info(stream, str(wanted.durable_name))).config
        assert [] == consumer_differences(wanted, config)


async def test_a_run_that_went_on_while_it_was_backed_up_is_as_its_events_know_it(
    record: Record, other: Record, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between events and chunks: a run is taken over, another one begins, and a thread is deleted and erased."""
    one, two, gone = ByHand(record, T1), ByHand(record, T2), ByHand(record, ThreadId("gone"))
    run = await one.post("m1")
    await one.start(run)
    await two.whole_run("m1")
    await gone.whole_run("m1")
    pump = await one.pump(run)
    async with pump:
        await one.open(run, pump)
        await one.say(pump)
    known = await record.frames.last_of_run(ORG, T1, run)
    assert known is not None

    async def meanwhile(stream: str) -> None:
        if stream != subjects.CHUNKS_STREAM:
            return
        await one.start(run, attempt=2)
        later = Pump(record.store, ORG, T1, run, attempt=2, previous=known.sequence, after=known)
        async with later:
            await one.say(later)
        unknown = await two.post("m2")
        await two.start(unknown)
        async with await two.pump(unknown) as newer:
            await two.open(unknown, newer)
        await gone.delete()
        await record.frames.erase(ORG, gone.thread)

    async def pack(nc: object, stream: str, *args: object, **options: object) -> object:
        await meanwhile(stream)
        return await snapshots.pack(nc, stream, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("decopilot.log.backups.pack", pack)
    await back_up(record.store, folder)
    restored = await restore(other, folder)
    assert [gone.thread] == [entry.thread for entry in restored.erased]
    state = (await other.journal.load(ORG, T1)).state
    assert state.active is not None
    assert 1 == state.active.attempt
    last = await other.frames.last_of_run(ORG, T1, run)
    assert last is not None
    assert known.sequence == last.sequence
    newest = await other.frames.last_of_thread(ORG, T2)
    assert newest is not None
    assert newest.outcome is not None
    assert newest.end == (await other.journal.load(ORG, T2)).state.cursor


async def test_what_was_erased_since_stays_erased_and_a_ledger_tells_it(
    record: Record, other: Record, folder: Path
) -> None:
    for thread in (T1, T2):
        await ByHand(record, thread).whole_run()
    await back_up(record.store, folder)
    assert await Erasures(record.store, record.journal).delete(ORG, T1)
    assert not await Erasures(record.store, record.journal).delete(ORG, T1)
    later = ByHand(record, ThreadId("later"))
    await later.whole_run()
    await later.delete()
    ledger = [entry async for entry in Erasures(record.store, record.journal).ledger()]
    assert [(T1, "operator"), (later.thread, USER)] == [(entry.thread, entry.by) for entry in ledger]
    old = Erased.model_validate_json('{"org":"acme","thread":"long-ago"}')
    restored = await restore(other, folder, *ledger, old)
    assert [T1] == [entry.thread for entry in restored.erased]
    # Those that the backup knows nothing of have their tombstones as they were.
    kept = [entry async for entry in Erasures(other.store, other.journal).ledger()]
    assert ledger[1] in kept
    assert {T1, later.thread, old.thread} == {entry.thread for entry in kept}
    url = other.store.nc.connected_url
    assert url is not None
    settings = Settings(nats_url=url.geturl(), instance="other")
    erasures = Erasures(other.store, other.journal)
    assert [True, None] == [await erasures.left_of(ORG, thread) for thread in (T1, T2)]
    async with reactors(settings, copies=1), asyncio.timeout(60):
        await erasures.wait(ledger)
    assert await erasures.left_of(ORG, T1) is False
    assert ["thread_deleted"] == [recorded.event.type for recorded in await other.events(T1)]


async def test_a_users_threads_are_told_from_those_that_they_only_wrote_in(record: Record) -> None:
    await ByHand(record, T1).whole_run()
    found = Erasures(record.store, record.journal)
    assert [Owned(ORG, T1, USER)] == [owned async for owned in found.find(ORG)]
    assert [Owned(ORG, T1, USER)] == [owned async for owned in found.find(ORG, user=USER)]
    assert [] == [owned async for owned in found.find(ORG, user=type(USER)("nobody"))]


async def test_a_backup_that_is_damaged_or_none_and_a_broker_that_holds_data_are_refused_and_nothing_changes(
    record: Record, folder: Path
) -> None:
    await ByHand(record, T1).whole_run()
    await back_up(record.store, folder)
    with pytest.raises(BackupError, match="is there already"):
        await back_up(record.store, folder)
    with pytest.raises(OccupiedError):
        await restore(record, folder)
    damaged = folder.with_name("damaged")
    shutil.copytree(folder, damaged)
    path = damaged / subjects.EVENTS_STREAM / DATA
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BackupError, match="is damaged"):
        await restore(record, damaged, forces=True)
    shutil.rmtree(damaged)
    shutil.copytree(folder, damaged)
    about = damaged / KEPT[0] / ABOUT
    about.write_text(about.read_text()[:-9])
    with pytest.raises(BackupError, match="is damaged"):
        await restore(record, damaged, forces=True)
    (damaged / MANIFEST).unlink()
    with pytest.raises(BackupError, match="is no backup"):
        await restore(record, damaged, forces=True)
    assert 1 == len([entry async for entry in Erasures(record.store, record.journal).find(ORG)])
    await ByHand(record, T2).whole_run()
    assert 1 == (await restore(record, folder, forces=True)).threads
    assert [] == await record.events(T2)


async def test_a_restore_that_fails_leaves_nothing_and_one_that_was_killed_is_begun_anew(
    record: Record, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ByHand(record, T1).whole_run()
    manifest = await back_up(record.store, folder)
    path = folder / KEPT[-1] / DATA
    path.write_bytes(b"no stream")
    monkeypatch.setattr("decopilot.log.restoring.read_manifest", lambda _: manifest)
    with pytest.raises(Exception, match="OBJ_decopilot_blobs"):
        await restore(record, folder, forces=True)
    assert [] == [stream.config.name for stream in await record.store.js.streams_info()]
    monkeypatch.undo()
    # What one leaves that was killed: some streams, and the mark that they are worth nothing.
    shutil.rmtree(folder)
    await provision(record.store.nc)
    await ByHand(record, T1).whole_run()
    await back_up(record.store, folder)
    await Mark(str(folder), await last_of(record, subjects.EVENTS_STREAM)).put(record.store.js)
    assert 1 == (await restore(record, folder)).threads
    with pytest.raises(OccupiedError):
        await restore(record, folder)


async def test_a_backup_fails_that_cant_keep_runs_from_being_purged(
    record: Record, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def announce(*_: object) -> None:
        raise RuntimeError

    await ByHand(record, T1).whole_run()
    monkeypatch.setattr(Readers, "announce", announce)
    with pytest.raises(RuntimeError):
        await back_up(record.store, folder)
    assert [] == list(folder.parent.glob("*backup*"))


async def test_on_a_restore_that_is_unfinished_nobody_builds_and_what_was_accepted_there_is_not_lost(
    record: Record, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ByHand(record, T1).whole_run()
    await back_up(record.store, folder)
    js = record.store.js

    class KilledError(BaseException):
        """What can't be cleaned up behind."""

    async def killed(*_: object) -> None:
        raise KilledError

    monkeypatch.setattr("decopilot.log.restoring._rebuild", killed)
    monkeypatch.setattr("decopilot.log.restoring._clear", killed)
    assert await broker_answers(record.store.nc)
    with pytest.raises(KilledError):
        await restore(record, folder, Erased(org=ORG, thread=T1), forces=True)
    monkeypatch.undo()
    assert not await broker_answers(record.store.nc)
    with pytest.raises(UnfinishedRestoreError, match=f"decopilot restore {folder}"):
        await provision(record.store.nc)
    with pytest.raises(UnfinishedRestoreError):
        await back_up(record.store, folder.with_name("other"))
    # What the restore itself appended is no reason to refuse the next one; what others did is.
    assert 1 == (await restore(record, folder)).threads
    assert await broker_answers(record.store.nc)
    await Mark(str(folder), await last_of(record, subjects.EVENTS_STREAM)).put(js)
    await ByHand(record, T2).whole_run()
    with pytest.raises(OccupiedError):
        await restore(record, folder)
    assert 1 == (await restore(record, folder, forces=True)).threads
    await provision(record.store.nc)


async def test_a_restore_under_running_services_is_refused_whoever_forces_it(record: Record, folder: Path) -> None:
    await back_up(record.store, folder)
    nc = record.store.nc
    assert [] == await running_services(nc)

    async def answer(message: Msg) -> None:
        await message.respond(b"{}")

    heard = await nc.subscribe(subjects.command("*"), subjects.COMMAND_QUEUE, cb=answer)
    pull = await record.store.js.pull_subscribe_bind(subjects.REACTOR_CONSUMER, subjects.EVENTS_STREAM)

    async def pull_now_and_then() -> None:
        while True:  # as services do: between two pulls nobody is seen waiting
            with suppress(TimeoutError):
                await pull.fetch(1, timeout=0.5)
            await asyncio.sleep(0.3)

    waiting = asyncio.create_task(pull_now_and_then())
    async with asyncio.timeout(60):
        while len(await running_services(nc)) < 2:
            await asyncio.sleep(0.05)
    with pytest.raises(InUseError, match="services use the broker: command, reactor; end all of them"):
        await restore(record, folder, forces=True)
    waiting.cancel()
    await asyncio.wait([waiting])
    await pull.unsubscribe()
    await heard.unsubscribe()
    async with asyncio.timeout(60):
        while await running_services(nc):
            await asyncio.sleep(0.05)
    assert 0 == (await restore(record, folder, forces=True)).threads


def test_a_manifest_of_another_format_is_not_read() -> None:
    with pytest.raises(ValueError, match="format"):
        Manifest.model_validate({"format": 2})
