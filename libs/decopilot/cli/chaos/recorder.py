"""The recorder: reads the logs all the time, so that what is purged in the end is known all the same."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from nats.aio.msg import Msg
from nats.js.api import StreamSource

from decopilot.cli.chaos.doors import ORG
from decopilot.contracts import subjects
from decopilot.contracts.events import Recorded
from decopilot.contracts.frames import Frame, decode_frame
from decopilot.contracts.ids import OrgId
from decopilot.log.journal import decode
from decopilot.log.store import UNCERTAIN, Store, Stored

PAUSE_S = 0.1
CHUNKS = f"{subjects.CHUNK_PREFIX}.{ORG}.>"
EVENTS = f"{subjects.EVENT_PREFIX}.{ORG}.>"
COPY = "CHAOS_COPY"
SOURCE = "Nats-Stream-Source"
TAIL = f"{subjects.TAIL_PREFIX}.{ORG}.>"


@dataclass(slots=True)
class Recorder:
    """Every frame and event that was ever stored, by its sequence.

    Frames are heard live too, and copied by the broker: what was stored and purged between two readings is not missed.
    `conflicts` are frames that were re-published and are not what is stored in their place.
    """

    store: Store
    frames: dict[int, Frame] = field(default_factory=dict)
    events: dict[int, Recorded] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)

    @property
    def newest_event(self) -> int:
        """The sequence of the newest event that was read."""
        return max(self.events, default=0)

    async def listen(self) -> None:
        """Hear frames live from now on; the broker itself keeps a copy for when nobody here finds the time to."""
        # Not a mirror: the server has one answer direct gets for its origin, where what was purged is still there.
        await self.store.js.add_stream(
            name=COPY, sources=[StreamSource(name=subjects.CHUNKS_STREAM)], allow_direct=True
        )
        await self.store.nc.subscribe(TAIL, cb=self._heard)

    async def follow(self) -> None:
        """Read until cancelled."""
        await asyncio.gather(self._repeat(self.read_frames), self._repeat(self.read_events))

    async def read_frames(self) -> None:
        """Read the frames that are new."""
        async for batch in self.store.read(subjects.CHUNKS_STREAM, CHUNKS, self._read_up_to):
            for stored in batch:
                self._take(frame_of(stored))
                self._read_up_to = stored.sequence

    async def read_copy(self) -> None:
        """Read what the broker has copied."""
        for copied in await whole(self.store, COPY, CHUNKS):
            _, sequence, *_ = copied.headers[SOURCE].split(" ")
            self._take(frame_of(replace(copied, sequence=int(sequence))))

    _read_up_to: int = 0

    async def read_events(self) -> None:
        """Read the events that are new."""
        async for batch in self.store.read(subjects.EVENTS_STREAM, EVENTS, self.newest_event):
            for stored in batch:
                self.events[stored.sequence] = decode(stored)

    async def _repeat(self, read: Callable[[], Awaitable[None]]) -> None:
        while True:
            with suppress(*UNCERTAIN):  # the broker is down, which is what this is about
                await read()
            await asyncio.sleep(PAUSE_S)

    async def _heard(self, msg: Msg) -> None:
        headers = msg.headers or {}
        self._take(frame_of(Stored(int(headers["Nats-Sequence"]), headers["Nats-Subject"], headers, msg.data)))

    def _take(self, frame: Frame) -> None:
        known = self.frames.setdefault(frame.sequence, frame)
        if known.frame_id != frame.frame_id:
            self.conflicts.append(f"frame {frame.sequence} of {frame.run} was told as one of {known.run}")


def frame_of(stored: Stored) -> Frame:
    """Read a frame with the time at which it was stored."""
    told = stored.headers.get("Nats-Time-Stamp")
    at = None if told is None else datetime.fromisoformat(told)
    return decode_frame(stored.subject, stored.sequence, stored.headers, stored.data, at)


async def whole(store: Store, stream: str, filter_: str) -> list[Stored]:
    """Read all that a stream holds under a filter."""
    last = await store.last(stream, filter_)
    until = 0 if last is None else last.sequence
    return [stored async for batch in store.read(stream, filter_, 0, until=until) for stored in batch]


ORG_ID = OrgId(ORG)
