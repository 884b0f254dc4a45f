"""Server-Sent Events, parsed from bytes that come in pieces of any size (WHATWG HTML, 9.2.6)."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event; `id` is its own or the last one before it, empty where there was none, and so is its `name`."""

    id: str
    data: str
    name: str = ""


_RETRY_DIGITS = 9
"""A pause of more milliseconds than that, eleven days, is none that anybody means."""


class EventParser:
    """Takes bytes, gives events. Lines end with LF, or CRLF where a proxy made it so."""

    retry_s: float | None = None
    """When to come back, as the server asked last."""

    @property
    def last_id(self) -> str:
        """The id that came last, also of an event that has nothing else; empty where there was none."""
        return self._id

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._id = ""
        self._data: list[str] = []
        self._name = ""

    def push(self, data: bytes) -> Iterator[ServerEvent]:
        """Yield the events that are complete now."""
        self._buffer += data
        begin = 0
        while (end := self._buffer.find(b"\n", max(begin, self._scanned))) >= 0:
            line = self._buffer[begin:end].removesuffix(b"\r").decode(errors="replace")
            begin = end + 1
            if line:
                self._field(line)
            else:
                if self._data:
                    yield ServerEvent(self._id, "\n".join(self._data), self._name)
                self._data, self._name = [], ""
        del self._buffer[:begin]
        # A line of megabytes is not looked through again with each of its pieces.
        self._scanned = len(self._buffer)

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) <= _RETRY_DIGITS:
            self.retry_s = int(value) / 1000
