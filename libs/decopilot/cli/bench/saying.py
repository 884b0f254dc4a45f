"""What a measured run says: chunks that carry the instant of their publishing, all by the same clock."""

import time

from decopilot.contracts.chunks import Chunk, encode_chunk

_DIGITS = 19
_HEAD = encode_chunk({"type": "text-delta", "id": "t", "delta": ""})[:-2]


def delta(number: int, padding: int = 0, at_ns: int | None = None) -> Chunk:
    """Make the chunk of this number, said now, or when it was due; `padding` so many bytes make it large."""
    text = (
        f"{time.monotonic_ns() if at_ns is None else at_ns:0{_DIGITS}d} {number}" + " " * bool(padding) + "x" * padding
    )
    return {"type": "text-delta", "id": "t", "delta": text}


def said_at(data: bytes) -> int | None:
    """Tell when a chunk, encoded, was said: nanoseconds of the clock that all processes share; None if it is none."""
    if not data.startswith(_HEAD):
        return None
    return int(data[len(_HEAD) : len(_HEAD) + _DIGITS])
