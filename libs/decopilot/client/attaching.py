"""Attaching: a thread's chunks from a cursor on, over as many connections as it takes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from decopilot.client.streaming import Stream, decoded
from decopilot.contracts.chunks import Chunk

Replay = Literal["full", "compact", "message", "none"]
"""How a stream without a cursor begins (docs/protocol.md, 22 and 29 to 31)."""


@dataclass(frozen=True, slots=True)
class Event:
    """A chunk, and the position behind it: empty before the first one, as among the chunks of a compact beginning."""

    cursor: str
    chunk: Chunk


async def attach(stream: Stream, cursor: str | None) -> AsyncGenerator[Event, None]:
    """Yield a thread's chunks, each once, for as long as one likes."""
    async with aclosing(stream.events(cursor)) as events:
        async for event in events:
            yield Event(event.id, decoded(event))
