"""The topology: every stream, bucket and consumer on one page, and how they come to be."""

from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    KeyValueConfig,
    ObjectStoreConfig,
    PersistMode,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from decopilot.contracts import subjects
from decopilot.contracts.events import TERMINAL_TYPES
from decopilot.log.unfinished import ensure_restored

DAY_S = 86_400
GIB = 1 << 30

ACK_WAIT_S = 5.0
"""An item whose copy of a service died in mid-handling is handed to the next one after this time."""
MAX_ACK_PENDING = 20_000
"""Above every run at once: an item that waits for its redelivery counts too."""
UNLIMITED = -1
COUNTS_MAX_AGE_S = 180
"""A counter is of one minute, by clocks that may differ."""
READERS_TTL_S = 30.0
"""How long an announced reader is believed: it may say so again after a broker's failover (4 to 8 s), and what a
gateway announced that is dead keeps nobody waiting for long."""
_BEGINS_ELSEWHERE = 10012
JANITOR_TYPES = ("run_requested", "run_queued", "run_cancel_requested", *TERMINAL_TYPES, "thread_deleted")
"""What the janitor looks after until it is done."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What differs between a laptop and production. Ages in seconds, sizes in bytes."""

    replicas: int = 1
    chunks_max_age_s: int = DAY_S
    chunks_max_bytes: int = 8 * GIB
    watch_max_age_s: int = 3_600
    readers_ttl_s: float = READERS_TTL_S


def streams(sizes: Sizes) -> list[StreamConfig]:
    """Every stream of ours."""
    return [
        _stream(sizes, subjects.EVENTS_STREAM, subjects.EVENT_PREFIX, duplicate_window=120, discard=DiscardPolicy.NEW),
        _stream(
            sizes,
            subjects.CHUNKS_STREAM,
            subjects.CHUNK_PREFIX,
            # Discarding old frames would behead live runs and reopen sealed subjects.
            discard=DiscardPolicy.NEW,
            max_age=sizes.chunks_max_age_s,
            max_bytes=sizes.chunks_max_bytes,
            duplicate_window=1,
            # Not `persist_mode: async`: it acknowledges before it writes, so that kill -9 of the server takes
            # back frames that viewers have seen (2.15.1: up to 100 of them); the pump gathers instead.
            republish=RePublish(src=f"{subjects.CHUNK_PREFIX}.>", dest=f"{subjects.TAIL_PREFIX}.>"),
        ),
        _stream(
            sizes,
            subjects.WATCH_STREAM,
            subjects.WATCH_PREFIX,
            discard=DiscardPolicy.OLD,
            max_age=sizes.watch_max_age_s,
            duplicate_window=1,
            republish=RePublish(src=f"{subjects.WATCH_PREFIX}.>", dest=f"{subjects.WATCHTAIL_PREFIX}.>"),
        ),
    ]


def tallies(sizes: Sizes) -> list[StreamConfig]:
    """Every stream that what users may ask for is measured by (ADR 0040): never truth, one message a subject."""

    def tally(name: str, prefix: str, **rest: Any) -> StreamConfig:  # noqa: ANN401  fields of the broker's
        # What a killed server forgets of them loosens a limit once; every message waits for what they say.
        mode = PersistMode.ASYNC if sizes.replicas == 1 else PersistMode.DEFAULT
        return _stream(sizes, name, prefix, max_msgs_per_subject=1, duplicate_window=1, persist_mode=mode, **rest)

    return [
        tally(subjects.COUNTS_STREAM, subjects.COUNT_PREFIX, allow_msg_counter=True, max_age=COUNTS_MAX_AGE_S),
        tally(subjects.PLACES_STREAM, subjects.PLACE_PREFIX, allow_msg_ttl=True),
    ]


def _stream(sizes: Sizes, name: str, prefix: str, **rest: Any) -> StreamConfig:  # noqa: ANN401  fields of the broker's
    return StreamConfig(
        name=name,
        subjects=[f"{prefix}.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        num_replicas=sizes.replicas,
        allow_direct=True,
        **rest,
    )


def buckets(sizes: Sizes) -> list[KeyValueConfig]:
    """Every key-value bucket of ours."""

    def bucket(name: str, **rest: Any) -> KeyValueConfig:  # noqa: ANN401  fields of the broker's
        return KeyValueConfig(bucket=name, history=1, direct=True, replicas=sizes.replicas, **rest)

    return [
        bucket(subjects.THREADS_BUCKET),
        bucket(subjects.MESSAGES_BUCKET),
        bucket(subjects.AUTOMATIONS_BUCKET),
        # Never truth, and yet not in memory: a server that restarts by itself forgets such a bucket whole (2.15.1).
        bucket(subjects.READERS_BUCKET, ttl=sizes.readers_ttl_s),
    ]


def consumers() -> list[ConsumerConfig]:
    """Every durable consumer of the event log. Deliveries are not limited: attempts are counted from the log."""
    looked_after = [subjects.events_of_type(name) for name in JANITOR_TYPES]
    return [
        _consumer(subjects.RUNNER_CONSUMER, subjects.events_of_type("run_requested")),
        # From now on: threads that were there before it keep the titles they have.
        _consumer(subjects.TITLER_CONSUMER, subjects.events_of_type("run_requested"), deliver_policy=DeliverPolicy.NEW),
        _consumer(subjects.REACTOR_CONSUMER, f"{subjects.EVENT_PREFIX}.>"),
        # Every item of it waits most of its time: a limit would be one on runs, queues and graces at once.
        _consumer(subjects.JANITOR_CONSUMER, *looked_after, max_ack_pending=UNLIMITED),
    ]


def sweeper() -> ConsumerConfig:
    """Make the durable consumer of what is said of blobs: each waits there until it is certain what becomes of it."""
    return _consumer(subjects.SWEEPER_CONSUMER, subjects.BLOBS_FILTER, max_ack_pending=UNLIMITED)


def _consumer(name: str, *filters: str, max_ack_pending: int = MAX_ACK_PENDING, **rest: Any) -> ConsumerConfig:  # noqa: ANN401  fields of the broker's
    return ConsumerConfig(
        name=name,
        durable_name=name,
        filter_subjects=list(filters),
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_S,
        max_deliver=UNLIMITED,
        max_ack_pending=max_ack_pending,
        **rest,
    )


class TopologyError(Exception):
    """What the server holds is not what was asked for; it would corrupt silently."""

    def __init__(self, stream: str, field: str, wanted: object, found: object) -> None:
        self.stream, self.field, self.wanted, self.found = stream, field, wanted, found
        super().__init__(f"{stream}: {field} is {found!r} where {wanted!r} is needed")


async def provision(nc: Client, sizes: Sizes | None = None) -> None:
    """Create or update everything; safe to repeat, and to run while services work.

    Raises:
        UnfinishedRestoreError: a restore was begun and not finished; nothing was changed.
        TopologyError: the server accepted a stream without an option that the log relies on.

    """
    await ensure_restored(nc.jetstream(timeout=10))
    await make(nc, sizes or Sizes())


async def make(nc: Client, sizes: Sizes) -> None:
    """Create or update everything, whatever is there; raises `TopologyError` as `provision` does."""
    js = nc.jetstream(timeout=10)
    for config in streams(sizes):
        await _put_stream(js, config)
    for config in tallies(sizes):
        await _put_tally(js, config)
    for bucket in buckets(sizes):
        if not await _has_bucket(js, f"KV_{bucket.bucket}", sizes.replicas, bucket.ttl or 0):
            await js.create_key_value(bucket)
    if not await _has_bucket(js, subjects.BLOBS_STREAM, sizes.replicas, 0):
        await js.create_object_store(subjects.BLOBS_BUCKET, ObjectStoreConfig(replicas=sizes.replicas))
    for consumer in consumers():
        await _put_consumer(js, subjects.EVENTS_STREAM, consumer)
    await _put_consumer(js, subjects.BLOBS_STREAM, sweeper())


async def _put_consumer(js: JetStreamContext, stream: str, config: ConsumerConfig) -> None:
    try:
        await js.add_consumer(stream, config)
    except APIError as error:
        if error.err_code != _BEGINS_ELSEWHERE:
            raise
        # Where one begins can't be changed: after a restore, behind what was done by the time of the backup.
        there = (await js.consumer_info(stream, str(config.name))).config
        begins = {"deliver_policy": there.deliver_policy, "opt_start_seq": there.opt_start_seq}
        await js.add_consumer(stream, config.evolve(**begins))


async def _has_bucket(js: JetStreamContext, stream: str, replicas: int, ttl_s: float) -> bool:
    """Tell whether a bucket is there, and give it its replicas and its TTL (0: none)."""
    try:
        found = (await js.stream_info(stream)).config
    except NotFoundError:
        return False
    # The broker refuses a stream that remembers ids for longer than messages.
    window_s = min(found.duplicate_window, ttl_s or found.duplicate_window)
    wanted = found.evolve(num_replicas=replicas, max_age=ttl_s, duplicate_window=window_s)
    if wanted != found:
        await js.update_stream(wanted)
    return True


async def _put_tally(js: JetStreamContext, config: StreamConfig) -> None:
    name = str(config.name)
    try:
        there = (await js.stream_info(name)).config
    except NotFoundError:
        await js.add_stream(config)
    else:
        if (there.persist_mode or PersistMode.DEFAULT) == config.persist_mode:
            await js.update_stream(config)
        else:
            # Only a new one can be kept otherwise, as several replicas need it.
            await js.delete_stream(name)
            await js.add_stream(config)
    found = (await js.stream_info(name)).config
    for field in ("num_replicas", "max_msgs_per_subject", "allow_msg_counter", "allow_msg_ttl"):
        if (getattr(config, field) or None) != (getattr(found, field) or None):
            raise TopologyError(name, field, getattr(config, field), getattr(found, field))


async def _put_stream(js: JetStreamContext, config: StreamConfig) -> None:
    name = str(config.name)
    try:
        there = (await js.stream_info(name)).config
    except NotFoundError:
        await js.add_stream(config)
    else:
        # Can't be changed: left as it is, so that what is wrong with it is said below.
        await js.update_stream(config.evolve(persist_mode=there.persist_mode))
    found = (await js.stream_info(name)).config
    for field in ("allow_direct", "discard", "num_replicas"):
        wanted = getattr(config, field)
        if wanted and getattr(found, field) != wanted:
            raise TopologyError(name, field, wanted, getattr(found, field))
    if found.persist_mode == PersistMode.ASYNC:
        raise TopologyError(name, "persist_mode", PersistMode.DEFAULT, found.persist_mode)
    if config.republish and (found.republish is None or found.republish.dest != config.republish.dest):
        raise TopologyError(name, "republish", config.republish, found.republish)
