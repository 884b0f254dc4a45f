"""The recorder: reads the logs all the time, so that what is purged in the end is known all the same."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from nats.aio.msg import Msg
from nats.js.api import StreamSource
from nats.js.errors import NotFoundError

from decopilot.cli.chaos.doors import ORG
from decopilot.contracts import subjects
from decopilot.contracts.events import Recorded
from decopilot.contracts.frames import Frame, decode_frame
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.journal import decode
from decopilot.log.store import UNCERTAIN, Store, Stored

PAUSE_S = 0.1
EVENTS = f"{subjects.EVENT_PREFIX}.{ORG}.>"
COPY = "DECOPILOT_CHAOS_COPY"
SOURCE = "Nats-Stream-Source"
ORG_ID = OrgId(ORG)


@dataclass(slots=True)
class Recorder:
    """Every frame and event of some threads that is stored from `listen` on, by its sequence.

    Frames are heard live too, and copied by the broker: what was stored and purged between two readings is not missed.
    `conflicts` are frames that were re-published and are not what is stored in their place.
    """

    store: Store
    names: frozenset[str]
    org: OrgId = ORG_ID
    frames: dict[int, Frame] = field(default_factory=dict)
    events: dict[int, Recorded] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    _frames_read: int = 0
    _events_read: int = 0

    @property
    def newest_event(self) -> int:
        """The sequence of the newest event that was read."""
        return next(reversed(self.events), 0)

    async def listen(self) -> None:
        """Hear frames live from now on; the broker itself keeps a copy for when nobody here finds the time to."""
        # Not a mirror: the server has one answer direct gets for its origin, where what was purged is still there.
        await self.forget()
        found = await self.store.js.stream_info(subjects.CHUNKS_STREAM)
        await self.store.js.add_stream(
            name=COPY,
            sources=[
                StreamSource(name=subjects.CHUNKS_STREAM, filter_subject=self.chunks_of(name))
                for name in sorted(self.names)
            ],
            allow_direct=True,
            num_replicas=found.config.num_replicas,
        )
        self._frames_read = await self._last(subjects.CHUNKS_STREAM, f"{subjects.CHUNK_PREFIX}.>")
        self._events_read = await self._last(subjects.EVENTS_STREAM, f"{subjects.EVENT_PREFIX}.>")
        await self.store.nc.subscribe(f"{subjects.TAIL_PREFIX}.{self.org}.>", cb=self._heard)

    async def forget(self) -> None:
        """Remove what the broker has copied, if it has."""
        with suppress(NotFoundError):
            await self.store.js.delete_stream(COPY)

    def chunks_of(self, name: str) -> str:
        """Name the frames of a thread."""
        return subjects.chunks_of(self.org, ThreadId(name))

    async def _last(self, stream: str, filter_: str) -> int:
        last = await self.store.last(stream, filter_)
        return 0 if last is None else last.sequence

    async def follow(self) -> None:
        """Read until cancelled."""
        await asyncio.gather(self._repeat(self.read_frames), self._repeat(self.read_events))

    async def read_frames(self) -> None:
        """Read the frames that are new."""
        every = f"{subjects.CHUNK_PREFIX}.{self.org}.>"
        async for batch in self.store.read(subjects.CHUNKS_STREAM, every, self._frames_read):
            for stored in batch:
                self._take(frame_of(stored))
                self._frames_read = stored.sequence

    async def read_copy(self) -> None:
        """Read what the broker has copied."""
        for copied in await whole(self.store, COPY, f"{subjects.CHUNK_PREFIX}.{self.org}.>"):
            _, sequence, *_ = copied.headers[SOURCE].split(" ")
            self._take(frame_of(replace(copied, sequence=int(sequence))))

    async def read_events(self) -> None:
        """Read the events that are new."""
        every = f"{subjects.EVENT_PREFIX}.{self.org}.>"
        async for batch in self.store.read(subjects.EVENTS_STREAM, every, self._events_read):
            for stored in batch:
                if subjects.owner_of(stored.subject)[1] in self.names:
                    self.events[stored.sequence] = decode(stored)
                self._events_read = stored.sequence

    async def _repeat(self, read: Callable[[], Awaitable[None]]) -> None:
        while True:
            with suppress(*UNCERTAIN):  # the broker is down, which is what this is about
                await read()
            await asyncio.sleep(PAUSE_S)

    async def _heard(self, msg: Msg) -> None:
        headers = msg.headers or {}
        self._take(frame_of(Stored(int(headers["Nats-Sequence"]), headers["Nats-Subject"], headers, msg.data)))

    def _take(self, frame: Frame) -> None:
        if frame.thread not in self.names:
            return
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
