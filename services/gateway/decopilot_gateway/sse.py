"""Server-Sent Events: framing as pure functions, and each frame encoded once however many read it."""

from decopilot.contracts.chunks import RESET, Chunk, encode_chunk, transient
from decopilot.contracts.frames import Cursor, Frame, Ranges
from decopilot.domain.resuming import is_void
from decopilot_gateway.rewinding import is_cut

KEEPALIVE = b": keepalive\n\n"
DONE = b"data: [DONE]\n\n"
HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
    "X-Vercel-AI-UI-Message-Stream": "v1",
}


def event(data: bytes, *, id_: str | None = None, name: str | None = None) -> bytes:
    """Frame one event; `data` must be one line, as encoded JSON is."""
    head = b"" if id_ is None else b"id: %s\n" % id_.encode()
    if name is not None:
        head += b"event: %s\n" % name.encode()
    return b"%sdata: %s\n\n" % (head, data)


def retry(milliseconds: int) -> bytes:
    """Tell clients how long to wait before they come back."""
    return b"retry: %d\n\n" % milliseconds


def chunk_events(frame: Frame, *, after: int = -1, void: Ranges = ()) -> bytes:
    """Frame a frame's chunks behind an index, but for void ones, each with its cursor as id."""
    sequence, first = frame.sequence, frame.index
    return b"".join(
        b"id: %d-%d\ndata: %s\n\n" % (sequence, index, line)
        for index, line in enumerate(frame.lines)
        if index > after and not (void and is_void(first + index, void))
    )


def reset_event(cursor: Cursor, reason: str) -> bytes:
    """Frame the chunk that tells a client that it may have a hole, and the cursor from which this stream goes on."""
    chunk: Chunk = transient(RESET, {"cursor": str(cursor), "reason": reason})
    return event(encode_chunk(chunk), id_=str(cursor))


class EncodedFrame:
    """A frame with its events, made when first asked for and shared by all viewers."""

    __slots__ = ("_events", "frame")

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self._events: bytes | None = None

    @property
    def sequence(self) -> int:
        """The frame's sequence."""
        return self.frame.sequence

    @property
    def body(self) -> bytes:
        """The frame's chunks as stored."""
        return self.frame.body

    @property
    def events(self) -> bytes:
        """The frame's events."""
        if self._events is None:
            self._events = chunk_events(self.frame)
        return self._events

    def living_events(self, void: Ranges) -> bytes:
        """Return the frame's events but for void ones: the shared encoding, wherever nothing is cut out of it."""
        return chunk_events(self.frame, void=void) if void and is_cut(self.frame, void) else self.events
