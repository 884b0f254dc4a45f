"""Sampling: which chunks of a stream are dated, so that clients measure how long they take until they are painted."""

import time
import zlib
from dataclasses import replace

from decopilot.contracts.frames import Frame
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.chunklog import frame_of
from decopilot.log.store import Stored
from decopilot.log.tail import Source, Stretch, frames
from decopilot_gateway import sse

TIME = "Decopilot-Time"
"""The header with our clock (ms since the epoch): where a client finds it, chunks may be dated."""
_WHOLE = 1 << 32


class Sampling:
    """Has the chunks dated of a share of all frames; the same ones for every viewer and at every gateway.

    A date is a comment, which is nothing to whoever does not look for it.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def __bool__(self) -> bool:
        return self._share > 0

    @property
    def headers(self) -> dict[str, str]:
        """What tells a client that something is measured, and the time to measure by; nothing where nothing is."""
        return {TIME: f"{time.time() * 1000:.1f}"} if self else {}

    def source(self, org: OrgId, thread: ThreadId) -> Source[Frame, Stretch]:
        """Follow a thread's frames, with dates."""
        if not self:
            return frames(org, thread, sse.chunk_events)
        return frames(org, thread, self._encode, decode=self._decode)

    def takes(self, sequence: int) -> bool:
        """Tell whether a frame is one of them."""
        return zlib.crc32(b"%d" % sequence) < self._share * _WHOLE

    def _decode(self, stored: Stored) -> Frame:
        # The broker's date is read only where it is told: it comes with every message.
        frame = frame_of(stored)
        return replace(frame, stored_at=stored.stored_at) if self.takes(stored.sequence) else frame

    def _encode(self, frame: Frame) -> bytes:
        if frame.stored_at is None or not self.takes(frame.sequence):
            return sse.chunk_events(frame)
        return sse.chunk_events(frame, stored_at_ms=frame.stored_at.timestamp() * 1000)
