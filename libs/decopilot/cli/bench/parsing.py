"""Reading an event stream from bytes that come in pieces of any size, at the least cost a Python client can have.

Knows what a load client needs and no more: HTTP/1.1 responses, chunked or ended by the connection's end, and events
whose lines end with LF, as the gateway writes them.
"""

from collections.abc import Iterable
from zlib import crc32

_CRLF = b"\r\n"
_DATA = b"\ndata: "
_ID = b"id: "


class Chunked:
    """Takes the chunked coding off (RFC 9112, 7.1)."""

    def __init__(self) -> None:
        self._left = self._skip = 0
        self._rest = b""
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """Return what the piece holds of the body."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        found: list[bytes] = []
        at, size = 0, len(data)
        while at < size and not self.ended:
            if self._skip:
                step = min(self._skip, size - at)
                self._skip -= step
                at += step
            elif self._left:
                piece = data[at : at + self._left]
                found.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._skip = 0 if self._left else len(_CRLF)
            elif (end := data.find(_CRLF, at)) < 0:
                self._rest = data[at:]
                break
            else:
                self._left = int(data[at:end].partition(b";")[0], 16)
                self.ended = not self._left
                at = end + len(_CRLF)
        return found[0] if len(found) == 1 else b"".join(found)


class Body:
    """Takes a response's head and coding off; `status` is 0 until the head is there."""

    def __init__(self) -> None:
        self.status = 0
        self._head = b""
        self._chunked: Chunked | None = None

    def feed(self, data: bytes) -> bytes:
        """Return what the piece holds of the body.

        Raises:
            ValueError: it is no HTTP.

        """
        if not self.status:
            self._head += data
            head, end, data = self._head.partition(_CRLF * 2)
            if not end:
                return b""
            protocol, _, rest = head.partition(b" ")
            if not protocol.startswith(b"HTTP/1."):
                msg = f"no HTTP: {head[:80]!r}"
                raise ValueError(msg)
            self.status = int(rest[:3])
            if b"transfer-encoding: chunked" in head.lower():
                self._chunked = Chunked()
        return data if self._chunked is None else self._chunked.feed(data)


class Events:
    """Cuts a body into events."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, body: bytes) -> list[bytes]:
        """Return the events that are complete now, without the empty line that ends them."""
        *events, self._rest = ((self._rest + body) if self._rest else body).split(b"\n\n")
        return events


class Transcript:
    """What of a stream's chunks was seen, small enough for thousands of viewers: two are the same if it says so.

    A chunk that is lost, doubled, changed or out of its order makes another `crc`; `is_ordered` is about the ids.
    """

    __slots__ = ("_position", "count", "crc", "is_ordered")

    def __init__(self) -> None:
        self.count = self.crc = 0
        self.is_ordered = True
        self._position = (-1, -1)

    def add(self, data: bytes) -> None:
        """Take a chunk in, as it is encoded."""
        self.crc = crc32(data, self.crc)
        self.count += 1

    def take(self, event: bytes) -> bytes:
        """Take an event in; returns its chunk, encoded, or nothing where the event is none of a chunk.

        Raises:
            ValueError: its id is no cursor.

        """
        if not event.startswith(_ID) or _DATA not in event:
            return b""
        head, _, data = event.partition(_DATA)
        sequence, _, index = head[len(_ID) :].partition(b"-")
        position = (int(sequence), int(index))
        if position <= self._position:
            self.is_ordered = False
        self._position = position
        self.add(data)
        return data

    def take_all(self, events: Iterable[bytes]) -> None:
        """Take events in."""
        for event in events:
            self.take(event)
