"""The topology: safe to repeat, and never content with less than the log relies on."""

import json
from typing import Any

import pytest
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    KeyValueConfig,
    PersistMode,
    RePublish,
    StorageType,
    StreamConfig,
)

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.store import Store
from decopilot.log.topology import (
    ACK_WAIT_S,
    MAX_ACK_PENDING,
    READERS_TTL_S,
    UNLIMITED,
    Sizes,
    TopologyError,
    provision,
)
from support.proxy import proxied

NAMES = (
    subjects.EVENTS_STREAM,
    subjects.CHUNKS_STREAM,
    subjects.WATCH_STREAM,
    f"KV_{subjects.THREADS_BUCKET}",
    f"KV_{subjects.MESSAGES_BUCKET}",
    f"KV_{subjects.READERS_BUCKET}",
    f"OBJ_{subjects.BLOBS_BUCKET}",
)


async def shape(store: Store) -> dict[str, Any]:
    streams = {name: (await store.js.stream_info(name)).config for name in NAMES}
    consumers = {info.name: info.config for info in await store.js.consumers_info(subjects.EVENTS_STREAM)}
    return streams | consumers


async def test_provisioning_twice_changes_nothing_and_keeps_what_is_stored(store: Store) -> None:
    before = await shape(store)
    sequence = await store.publish(subjects.EVENTS_STREAM, "decopilot.event.o.t.x", b"kept")
    await provision(store.nc)
    assert before == await shape(store)
    kept = await store.get(subjects.EVENTS_STREAM, sequence)
    assert kept is not None


async def test_everything_is_as_the_log_relies_on(store: Store) -> None:
    found = await shape(store)
    for stream, prefix in ((subjects.CHUNKS_STREAM, "chunk"), (subjects.WATCH_STREAM, "watch")):
        republish = found[stream].republish
        assert (f"decopilot.{prefix}.>", {"chunk": "decopilot.tail.>", "watch": "decopilot.watchtail.>"}[prefix]) == (
            republish.src,
            republish.dest,
        )
    for stream in NAMES[:3]:
        assert found[stream].allow_direct
        assert found[stream].persist_mode in {None, PersistMode.DEFAULT}
    assert (DiscardPolicy.NEW, DiscardPolicy.NEW) == (
        found[subjects.EVENTS_STREAM].discard,
        found[subjects.CHUNKS_STREAM].discard,
    )
    for bucket, ttl_s in ((subjects.THREADS_BUCKET, 0), (subjects.MESSAGES_BUCKET, 0), (subjects.READERS_BUCKET, 30)):
        config = found[f"KV_{bucket}"]
        assert (ttl_s, 1, StorageType.FILE) == (config.max_age, config.max_msgs_per_subject, config.storage)
        assert config.allow_direct
        assert not config.subject_delete_marker_ttl
    assert (86_400, 0) == (found[subjects.CHUNKS_STREAM].max_age, found[subjects.EVENTS_STREAM].max_age)
    ours = {subjects.RUNNER_CONSUMER, subjects.TITLER_CONSUMER, subjects.REACTOR_CONSUMER, subjects.JANITOR_CONSUMER}
    assert ours < set(found)
    for consumer in ours:
        assert (-1, ACK_WAIT_S) == (found[consumer].max_deliver, found[consumer].ack_wait)
    for consumer in (subjects.RUNNER_CONSUMER, subjects.REACTOR_CONSUMER):
        assert MAX_ACK_PENDING == found[consumer].max_ack_pending
    assert UNLIMITED == found[subjects.JANITOR_CONSUMER].max_ack_pending
    heard = {filter_.rpartition(".")[2] for filter_ in found[subjects.JANITOR_CONSUMER].filter_subjects}
    assert {
        "run_requested",
        "run_queued",
        "run_cancel_requested",
        "run_completed",
        "run_requires_action",
        "run_failed",
        "thread_deleted",
    } == heard


async def test_provisioning_gives_consumers_of_an_older_version_their_new_form_and_keeps_their_place(
    store: Store,
) -> None:
    name = subjects.JANITOR_CONSUMER
    await store.js.delete_consumer(subjects.EVENTS_STREAM, name)
    older = ConsumerConfig(
        name=name,
        durable_name=name,
        filter_subjects=[subjects.events_of_type("run_completed")],
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=15,
        max_deliver=-1,
        max_ack_pending=MAX_ACK_PENDING,
    )
    await store.js.add_consumer(subjects.EVENTS_STREAM, older)
    await store.publish(subjects.EVENTS_STREAM, "decopilot.event.o.t.run_completed", b"first")
    handling = await store.js.pull_subscribe_bind(name, subjects.EVENTS_STREAM)
    await (await handling.fetch(1, timeout=5))[0].ack_sync()
    await provision(store.nc)
    info = await store.js.consumer_info(subjects.EVENTS_STREAM, name)
    assert (UNLIMITED, ACK_WAIT_S, 7) == (
        info.config.max_ack_pending,
        info.config.ack_wait,
        len(info.config.filter_subjects or []),
    )
    assert 0 == info.num_pending
    await store.publish(subjects.EVENTS_STREAM, "decopilot.event.o.t.thread_deleted", b"second")
    assert [b"second"] == [message.data for message in await handling.fetch(1, timeout=5)]


async def test_provisioning_again_applies_other_sizes_and_mends_what_somebody_changed(store: Store) -> None:
    there = (await store.js.stream_info(subjects.CHUNKS_STREAM)).config
    await store.js.update_stream(there.evolve(republish=None, allow_direct=False))
    await provision(store.nc, Sizes(chunks_max_bytes=1 << 20, watch_max_age_s=60, readers_ttl_s=2))
    found = await shape(store)
    assert 2 == found[f"KV_{subjects.READERS_BUCKET}"].max_age
    assert (1 << 20, 60) == (found[subjects.CHUNKS_STREAM].max_bytes, found[subjects.WATCH_STREAM].max_age)
    assert found[subjects.CHUNKS_STREAM].allow_direct
    assert "decopilot.tail.>" == found[subjects.CHUNKS_STREAM].republish.dest


async def test_provisioning_adds_what_an_older_version_did_not_have(store: Store) -> None:
    before = await shape(store)
    sequence = await store.publish(subjects.EVENTS_STREAM, "decopilot.event.o.t.x", b"kept")
    await store.js.delete_stream(f"KV_{subjects.READERS_BUCKET}")
    await provision(store.nc)
    assert before == await shape(store)
    assert None is not await store.get(subjects.EVENTS_STREAM, sequence)


@pytest.mark.parametrize(
    ("bucket", "older_s", "wanted_s"),
    [
        (subjects.READERS_BUCKET, None, READERS_TTL_S),
        (subjects.READERS_BUCKET, 600, READERS_TTL_S),
        (subjects.READERS_BUCKET, 10, READERS_TTL_S),
        (subjects.THREADS_BUCKET, 600, 0),
    ],
)
async def test_provisioning_gives_a_bucket_its_ttl_and_keeps_its_keys(
    store: Store, bucket: str, older_s: float | None, wanted_s: float
) -> None:
    await store.js.delete_stream(f"KV_{bucket}")
    kv = await store.js.create_key_value(KeyValueConfig(bucket=bucket, history=1, direct=True, ttl=older_s))
    await kv.put("o.t.r", b"kept")
    for _ in range(2):
        await provision(store.nc)
        assert wanted_s == (await shape(store))[f"KV_{bucket}"].max_age
        kept = await store.last(f"KV_{bucket}", subjects.bucket_key(bucket, "o.t.r"))
        assert kept is not None
        assert b"kept" == kept.data


async def test_a_chunk_log_that_acknowledges_before_it_writes_is_refused(settings: Settings) -> None:
    async with connected(settings, "test") as nc:
        await nc.jetstream().add_stream(
            StreamConfig(
                name=subjects.CHUNKS_STREAM,
                subjects=["decopilot.chunk.>"],
                persist_mode=PersistMode.ASYNC,
                republish=RePublish(src="decopilot.chunk.>", dest="decopilot.tail.>"),
            )
        )
        with pytest.raises(TopologyError) as refused:
            await provision(nc)
    assert (subjects.CHUNKS_STREAM, "persist_mode") == (refused.value.stream, refused.value.field)


@pytest.mark.parametrize("dropped", ["allow_direct", "republish", "discard", "num_replicas"])
async def test_a_server_that_drops_an_option_is_refused(own_broker: EmbeddedBroker, dropped: str) -> None:
    def drop(message: bytes) -> list[bytes]:
        """Answer as a server would that does not know the option: it ignores it without a word."""
        head, _, body = message.partition(b"\r\n")
        if not head.startswith(b"MSG ") or b'"config":' not in body:
            return [message]
        said = json.loads(body)
        said["config"].pop(dropped, None)
        changed = json.dumps(said).encode()
        start = head.rpartition(b" ")[0]
        return [b"%s %d\r\n%s\r\n" % (start, len(changed), changed)]

    async with proxied(own_broker.port) as proxy:
        proxy.treat = drop
        async with connected(Settings(nats_url=proxy.url, instance="test"), "test") as nc:
            with pytest.raises(TopologyError) as refused:
                await provision(nc)
    assert dropped == refused.value.field
