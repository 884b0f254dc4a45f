"""Drift: how what a broker holds differs from what `provision` would make of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from nats.js.api import ConsumerConfig, DiscardPolicy, RePublish, RetentionPolicy, StorageType, StreamConfig

from decopilot.contracts import subjects
from decopilot.log.topology import Sizes, buckets, consumers, streams, sweeper, tallies

_OF_STREAMS = (
    "subjects",
    "retention",
    "storage",
    "num_replicas",
    "max_age",
    "max_bytes",
    "max_msgs",
    "max_msgs_per_subject",
    "max_msg_size",
    "discard",
    "duplicate_window",
    "allow_direct",
    "republish",
    "persist_mode",
    "allow_msg_counter",
    "allow_msg_ttl",
    "sealed",
    "no_ack",
    "deny_delete",
    "deny_purge",
    "mirror",
    "sources",
)
_OF_CONSUMERS = (
    "filters",
    "ack_policy",
    "ack_wait",
    "max_deliver",
    "max_ack_pending",
    "backoff",
)
"""Not where they begin: after a restore that is where they had come to, and `provision` leaves it."""
_CHOSEN_BY_BROKER = {"allow_msg_ttl", "duplicate_window", "discard", "max_ack_pending", "deny_delete"}
"""Where we say nothing, the broker's own choice is fine."""
_UNSET: tuple[object, ...] = (None, 0, -1, "", "default", [], {})


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that is not as it is to be."""

    field: str
    wanted: object
    found: object

    def __str__(self) -> str:
        return f"{self.field} is {_told(self.found)}, not {_told(self.wanted)}"


def wanted_streams(sizes: Sizes) -> list[StreamConfig]:
    """Every stream, those of buckets included, as `provision` has the broker make it."""
    kept = [
        StreamConfig(
            name=f"KV_{bucket.bucket}",
            subjects=[subjects.bucket_key(bucket.bucket, ">")],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            num_replicas=sizes.replicas,
            max_msgs_per_subject=bucket.history,
            max_age=bucket.ttl or 0,
            discard=DiscardPolicy.NEW,
            allow_direct=True,
            deny_delete=True,
        )
        for bucket in buckets(sizes)
    ]
    prefix = f"$O.{subjects.BLOBS_BUCKET}"
    blobs = StreamConfig(
        name=subjects.BLOBS_STREAM,
        subjects=[f"{prefix}.C.>", f"{prefix}.M.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        num_replicas=sizes.replicas,
        discard=DiscardPolicy.NEW,
        allow_direct=True,
    )
    return [*streams(sizes), *tallies(sizes), *kept, blobs]


def wanted_consumers() -> list[tuple[str, ConsumerConfig]]:
    """Every durable consumer, each with its stream."""
    ours = [(subjects.EVENTS_STREAM, consumer) for consumer in consumers()]
    return [*ours, (subjects.BLOBS_STREAM, sweeper())]


def stream_differences(wanted: StreamConfig, found: StreamConfig) -> list[Difference]:
    """Tell every field that `provision` would make otherwise; what it leaves to the broker is none."""
    return list(_differences(wanted, found, _OF_STREAMS))


def consumer_differences(wanted: ConsumerConfig, found: ConsumerConfig) -> list[Difference]:
    """Tell every field of a consumer that `provision` would make otherwise."""
    return list(_differences(wanted, found, _OF_CONSUMERS))


def _differences(wanted: object, found: object, names: tuple[str, ...]) -> Iterator[Difference]:
    for name in names:
        want, have = _value(wanted, name), _value(found, name)
        if want != have and not (want is None and name in _CHOSEN_BY_BROKER):
            yield Difference(name, want, have)


def _value(config: object, name: str) -> object:
    if name == "filters" and isinstance(config, ConsumerConfig):
        return sorted(config.filter_subjects or [config.filter_subject or ""])
    value = getattr(config, name)
    if isinstance(value, RePublish):
        return value.src, value.dest
    if name == "subjects":
        return sorted(value or [])
    return None if value in _UNSET else value


def _told(value: object) -> str:
    if value is None:
        return "not set"
    return str(getattr(value, "value", value))
