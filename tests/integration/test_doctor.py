"""`decopilot doctor`: each of many faults, made on a real broker, is found and its remedy named."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from nats.js.api import StreamConfig, StreamSource

from decopilot.cli.broker import EmbeddedBroker
from decopilot.cli.doctor import CANNOT_LOOK, Wish, doctor, examine, services
from decopilot.cli.doctor import runs as runs_checks
from decopilot.cli.doctor.findings import Finding
from decopilot.cli.nats_server import Server, write
from decopilot.cli.reaching import Broker, Where, find
from decopilot.contracts import subjects
from decopilot.domain.commands import Start
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.clock import moment
from decopilot.log.permissions import OPERATOR, users
from decopilot.log.store import UNCERTAIN, Store
from decopilot.log.topology import Sizes, provision
from support.brokers import PASSWORDS
from support.cluster import clustered
from support.reactors import ByHand, now, reactors
from support.services import ORG, Record, until

OF_SERVICES = {user: password for user, password in PASSWORDS.items() if user != OPERATOR}
NOBODY = {"command_missing", "nobody_pulls"}
"""What is found where no service runs."""
Seed = Callable[[Store], Awaitable[object]]


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "PAUSE_S", 0.0)


@asynccontextmanager
async def opened(
    folder: Path, config: Mapping[str, object] | None = None
) -> AsyncIterator[tuple[EmbeddedBroker, Settings, Store]]:
    # Not one that counts refusals: that the operator's subjects are refused to services is what is asked for.
    with EmbeddedBroker(folder / "nats", passwords=PASSWORDS, config=config) as broker:
        settings = Settings(nats_url=broker.url)
        async with connected(settings, "test") as nc, Store(nc) as store:
            await provision(nc)
            yield broker, settings, store


async def faults(broker: Broker, late_s: float = 0.0) -> dict[str, Finding]:
    found = [finding async for finding in examine(broker, late_s=late_s)]
    assert all(finding.why and finding.remedy for finding in found if finding.level == "fault")
    return {finding.check: finding for finding in found if finding.level == "fault"}


async def delete_watch_stream(store: Store) -> None:
    await store.js.delete_stream(subjects.WATCH_STREAM)


async def shorten_the_log(store: Store) -> None:
    config: StreamConfig = (await store.js.stream_info(subjects.EVENTS_STREAM)).config
    await store.js.update_stream(config.evolve(max_age=3_600))


async def delete_janitor(store: Store) -> None:
    await store.js.delete_consumer(subjects.EVENTS_STREAM, subjects.JANITOR_CONSUMER)


async def limit_janitor(store: Store) -> None:
    info = await store.js.consumer_info(subjects.EVENTS_STREAM, subjects.JANITOR_CONSUMER)
    await store.js.add_consumer(subjects.EVENTS_STREAM, info.config.evolve(max_deliver=5))


async def mirror_the_chunks(store: Store) -> None:
    await store.js.add_stream(StreamConfig(name="COPY", mirror=StreamSource(name=subjects.CHUNKS_STREAM)))
    await store.js.add_stream(StreamConfig(name="SOURCED", sources=[StreamSource(name=subjects.CHUNKS_STREAM)]))


async def fill_chunks(store: Store) -> None:
    run = await ByHand(Record.of(store)).whole_run()
    size = (await store.js.stream_info(subjects.CHUNKS_STREAM)).state.bytes
    config: StreamConfig = (await store.js.stream_info(subjects.CHUNKS_STREAM)).config
    await store.js.update_stream(config.evolve(max_bytes=int(size * 1.1)))
    assert run


async def ask_for_a_run(store: Store) -> None:
    await ByHand(Record.of(store)).post()


async def abandon_a_run(store: Store) -> None:
    hand = ByHand(Record.of(store))
    run = await hand.post()
    await hand.start(run)
    async with await hand.pump(run) as pump:
        await hand.open(run, pump)


async def seal_a_run(store: Store) -> None:
    hand = ByHand(Record.of(store))
    run = await hand.post()
    await hand.start(run)
    async with await hand.pump(run) as pump:
        await hand.open(run, pump)
        await hand.seal(run, pump)


async def end_a_run(store: Store) -> None:
    await ByHand(Record.of(store)).whole_run()


async def queue_behind_nothing(store: Store) -> None:
    hand = ByHand(Record.of(store))
    run = await hand.post()
    await hand.post("m2")
    async with await hand.pump(run) as pump:
        await hand.start(run)
        await hand.open(run, pump)
        await hand.end(run, await hand.seal(run, pump))


async def start_by_a_wrong_clock(store: Store) -> None:
    hand = ByHand(Record.of(store))
    run = await hand.post()
    command = Start(now=now() + timedelta(hours=1), run_id=run, attempt=1, runner_id="fast")
    await hand.record.journal.execute(ORG, hand.thread, command)


@pytest.mark.parametrize(
    ("seed", "expected", "words", "remedy"),
    [
        (delete_watch_stream, {"stream_missing"}, subjects.WATCH_STREAM, "decopilot provision"),
        (shorten_the_log, {"stream_changed"}, "max_age is 3600.0, not not set", "decopilot provision"),
        (delete_janitor, {"consumer_missing"}, "janitor", "decopilot provision"),
        (limit_janitor, {"consumer_changed"}, "max_deliver is 5", "decopilot provision"),
        (mirror_the_chunks, {"mirror"}, f"COPY is a mirror of {subjects.CHUNKS_STREAM}", "nats stream rm COPY"),
        (fill_chunks, {"chunks_full", "stream_changed", "view_behind"}, "The chunk log has", "nats stream edit"),
        (ask_for_a_run, {"run_not_started", "view_behind"}, "nobody has started it", "decopilot runner"),
        (abandon_a_run, {"run_undriven", "view_behind"}, "no runner drives it", "decopilot runner"),
        (seal_a_run, {"run_sealed", "view_behind"}, "has no terminal event", "decopilot reactor"),
        (end_a_run, {"view_behind"}, "The view of thread acme/t1 is behind", "decopilot reactor"),
        (queue_behind_nothing, {"queue_stuck", "view_behind"}, "1 queued messages wait", "decopilot reactor"),
        (start_by_a_wrong_clock, {"clock_skew", "run_undriven", "view_behind"}, "runner fast is 3", "timedatectl"),
    ],
)
async def test_what_is_wrong_with_streams_and_runs_is_found_and_its_remedy_named(
    tmp_path: Path, seed: Seed, expected: set[str], words: str, remedy: str
) -> None:
    async with opened(tmp_path) as (server, settings, store):
        broker = Broker(settings, {}, server.monitor_url)
        await seed(store)
        found = await faults(broker)
        assert expected == set(found) - NOBODY
        said = next(finding for finding in found.values() if words in finding.what)
        assert said.check in expected
        assert remedy in said.remedy


async def test_where_no_service_runs_that_is_all_that_is_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as (server, settings, _store):
        assert NOBODY == set(await faults(Broker(settings, OF_SERVICES, server.monitor_url)))


async def test_a_run_that_waits_for_a_runner_is_told_of_with_its_consumer(tmp_path: Path) -> None:
    async with opened(tmp_path) as (server, settings, store):
        async with reactors(settings, copies=1):
            await ask_for_a_run(store)
            await Record.of(store).drained(subjects.REACTOR_CONSUMER)
            found = [f async for f in examine(Broker(settings, {}, server.monitor_url), late_s=0)]
        idle = [finding.what for finding in found if finding.check == "nobody_pulls" and finding.level == "fault"]
        assert [what for what in idle if what.startswith("Nobody works off runner: 1 wait to be handed out")] == idle
        assert "run_not_started" in {finding.check for finding in found}
        assert "view_behind" not in {finding.check for finding in found}


async def test_chunks_that_nobody_purges_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_checks, "PURGE_LATEST_S", -60.0)
    async with opened(tmp_path) as (_, settings, store):
        await end_a_run(store)
        assert "decopilot reactor" in (await faults(Broker(settings)))["chunks_unpurged"].remedy


async def test_users_whom_the_server_does_not_know_so_are_found(tmp_path: Path) -> None:
    known = users(PASSWORDS)
    by_name = {str(user["user"]): user for user in known}
    del by_name["gateway"]["permissions"]
    publish = by_name["reactor"]["permissions"]["publish"]["allow"]
    publish.remove(f"$JS.API.STREAM.INFO.{subjects.PLACES_STREAM}")
    async with opened(tmp_path, {"authorization": {"users": known}}) as (_, settings, _store):
        found = await faults(Broker(settings, OF_SERVICES | {"runner": "an old one"}))
    assert "User 'gateway' may hear what is the operator's alone." == found["permission_broad"].what
    assert "User 'reactor' may not: $js.api.stream.info.decopilot_places." == found["permission_missing"].what
    assert "User 'runner' is not let in" in found["password"].what
    assert "decopilot nats-config" in found["permission_missing"].remedy
    assert "runner.env" in found["password"].remedy


async def test_a_payload_too_small_is_found(tmp_path: Path) -> None:
    async with opened(tmp_path, {"max_payload": 64 * 1024}) as (_, settings, _store):
        found = await faults(Broker(settings))
    assert {"max_payload"} == set(found) - NOBODY
    assert "max_payload: 8388608" in found["max_payload"].remedy


async def test_a_server_alone_that_acknowledges_before_it_writes_is_found(tmp_path: Path) -> None:
    async with opened(tmp_path, {"jetstream": {"sync_interval": "1s"}}) as (server, settings, _store):
        found = await faults(Broker(settings, {}, server.monitor_url))
    assert {"sync"} == set(found) - NOBODY
    assert "every 1 s" in found["sync"].what
    assert "sync_interval: always" in found["sync"].remedy


async def test_an_account_without_jetstream_is_found_and_nothing_is_looked_at_behind_it(tmp_path: Path) -> None:
    accounts = {"A": {"users": [{"user": OPERATOR, "password": PASSWORDS[OPERATOR]}]}, "B": {"jetstream": "enabled"}}
    with EmbeddedBroker(tmp_path / "nats", config={"accounts": accounts}) as server:
        found = await faults(Broker(Settings(nats_url=server.url)))
    assert {"jetstream"} == set(found)
    assert "decopilot nats-config" in found["jetstream"].remedy


async def test_a_node_that_is_lost_is_found(tmp_path: Path) -> None:
    with clustered(tmp_path) as cluster:
        settings = Settings(nats_url=cluster.url, replicas=3)
        async with connected(settings, "test") as nc, Store(nc) as store:

            async def is_provisioned() -> bool:
                try:
                    await provision(nc, Sizes(replicas=3))
                except UNCERTAIN:  # the nodes are only just finding each other
                    return False
                return True

            await until(is_provisioned, 60)
            leader = await cluster.leader_of(store, subjects.EVENTS_STREAM)
            lost = next(name for name in cluster.nodes if name != leader)
            cluster.nodes[lost].kill()

            async def look() -> Finding | None:
                return (await faults(Broker(settings))).get("replica_lost")

            found = await until(look, 60)
            assert found is not None
            assert f"{lost} is away" in found.what
            assert "Start that node again" in found.remedy


async def test_the_folder_of_nats_config_says_where_the_broker_is_and_as_whom_it_is_looked_at(tmp_path: Path) -> None:
    write(tmp_path / "secrets", Server(), url="nats://nats.example:4222")
    broker = find(Where(tmp_path, tmp_path / "secrets", {}), "http://m:8222")
    assert ("nats://nats.example:4222", OPERATOR) == (broker.settings.nats_url, broker.settings.nats_user)
    assert set(OF_SERVICES) == set(broker.passwords)


def test_a_broker_that_is_away_is_no_finding_but_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "secrets", Server(), url="nats://127.0.0.1:9")
    assert CANNOT_LOOK == doctor(Wish(tmp_path, tmp_path / "secrets"), {})
    assert "does not answer" in capsys.readouterr().err
    assert CANNOT_LOOK == doctor(Wish(tmp_path, as_json=True), {})
    assert '"status": "cannot_look"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("2026-11-28T12:00:00.123456789Z", "2026-11-28T12:00:00.123456+00:00"),
        ("2026-11-28T12:00:00Z", "2026-11-28T12:00:00+00:00"),
        ("2026-11-28T12:00:00.5+02:00", "2026-11-28T12:00:00.500000+02:00"),
    ],
)
def test_times_of_the_broker_are_read(told: str, expected: str) -> None:
    assert expected == moment(told).isoformat()
