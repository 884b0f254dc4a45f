"""A stream beside ours, stored as ours are: what the broker can do when nothing else is wanted of it."""

from nats.aio.client import Client
from nats.js.api import RetentionPolicy, StorageType, StreamConfig

STREAM = "BENCH"
PREFIX = "bench.raw"


async def provide(nc: Client) -> None:
    """Make the stream; fine where it is there."""
    config = StreamConfig(
        name=STREAM,
        subjects=[f"{PREFIX}.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        num_replicas=1,
        allow_direct=True,
    )
    await nc.jetstream().add_stream(config)
