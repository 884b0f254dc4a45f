"""Server-Sent Events: framing as pure functions."""

from pydantic_core import from_json

from decopilot.contracts.chunks import RESET, Chunk, encode_chunk, transient
from decopilot.contracts.frames import Cursor, Frame

KEEPALIVE = b": keepalive\n\n"
DONE = b"data: [DONE]\n\n"
_END = b"\n\n"
_DATA = b"data: "
HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
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


def position(cursor: Cursor) -> bytes:
    """Frame an event of nothing but its id: clients remember it, and dispatch nothing (WHATWG HTML, 9.2.6)."""
    return b"id: %s\n\n" % str(cursor).encode()


def chunk_events(frame: Frame, *, stored_at_ms: float | None = None) -> bytes:
    """Frame a frame's chunks, each with its cursor as id, and dated by a comment if that is given."""
    sequence = frame.sequence
    date = b"" if stored_at_ms is None else b": stored %.1f\n" % stored_at_ms
    return b"".join(
        b"id: %d-%d\n%bdata: %s\n\n" % (sequence, index, date, line) for index, line in enumerate(frame.lines)
    )


def behind(events: bytes, index: int) -> bytes:
    """Leave out the first events, up to an index."""
    return b"".join(split(events)[index + 1 :])


def reset_event(cursor: Cursor, reason: str) -> bytes:
    """Frame the chunk that tells a client that it may have a hole, and the cursor from which this stream goes on."""
    chunk: Chunk = transient(RESET, {"cursor": str(cursor), "reason": reason})
    return event(encode_chunk(chunk), id_=str(cursor))


def split(events: bytes) -> list[bytes]:
    """Take events apart, each with its end."""
    return [event + _END for event in events.split(_END)[:-1]]


def count(events: bytes) -> int:
    """Count events."""
    return events.count(_END)


def cursor_of(event: bytes) -> Cursor:
    """Read the id of a chunk's event."""
    return Cursor.parse(event[len(b"id: ") : event.index(b"\n")].decode())


def chunks_of(events: bytes) -> list[Chunk]:
    """Read the chunks of events."""
    lines = (event.partition(_DATA)[2] for event in events.split(_END)[:-1])
    chunks: list[Chunk] = from_json(b"[%b]" % b",".join(lines))
    return chunks
