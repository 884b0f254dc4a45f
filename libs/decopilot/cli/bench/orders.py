"""What the crowd is told to do, and what it answers: one JSON object a line."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from decopilot.cli.bench.latency import Latency
from decopilot.contracts.messages import Frozen


class Door(Frozen):
    """A server to ask, and the token that opens it."""

    port: int
    token: str = ""


class Stream(Frozen):
    """A stream to attach to; viewers of the same `thread` see the same."""

    thread: str
    path: str


class Expected(Frozen):
    """What a viewer of a thread has seen in the end, as `Transcript` counts it."""

    chunks: int
    crc: int


class Attach(Frozen):
    """Let viewers attach; the first `unmeasured` chunks of each don't count for the latencies."""

    do: Literal["attach"] = "attach"
    group: str
    door: Door
    streams: tuple[Stream, ...]
    unmeasured: int = 0
    slow_bytes_s: int = 0
    """Read so much a second and no more, through a small buffer; 0: as it comes."""


class Settle(Frozen):
    """Wait until all viewers have seen what is expected of their threads, and tell what they saw."""

    do: Literal["settle"] = "settle"
    group: str
    expected: dict[str, Expected]
    timeout_s: float


class Hurry(Frozen):
    """Let slow viewers read as fast as they can from now on."""

    do: Literal["hurry"] = "hurry"
    group: str


class Drop(Frozen):
    """Let viewers go."""

    do: Literal["drop"] = "drop"
    group: str


class Read(Frozen):
    """Read a stream as fast as can be, once, up to the event of this chunk (empty: up to the first id)."""

    do: Literal["read"] = "read"
    door: Door
    path: str
    until: str = ""
    keep: str
    """The file to write the body to."""
    timeout_s: float


class Attached(Frozen):
    """All viewers have their first bytes."""

    took_s: float


class Settled(Frozen):
    """What viewers saw; `troubles` says of some what they did not see as expected."""

    viewers: int
    exact: int
    latency: Latency | None
    bytes_read: int
    troubles: tuple[str, ...]


class Done(Frozen):
    """There is nothing to tell, but how many bytes the group has read."""

    bytes_read: int = 0


class WasRead(Frozen):
    """A stream was read; `took_s` from the request to the last byte asked for."""

    status: int
    took_s: float
    body_bytes: int


class Failed(Frozen):
    """It could not be done."""

    failed: str


Order = Annotated[Attach | Settle | Hurry | Drop | Read, Field(discriminator="do")]
ORDERS: TypeAdapter[Order] = TypeAdapter(Order)
