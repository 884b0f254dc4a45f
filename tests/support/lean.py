"""A lean way to read streams: crowds that come back ten thousand times must not weigh more than what they look at."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from urllib.parse import urlsplit

PIECE_BYTES = 8 * 1024


class ShutError(ConnectionError):
    """The door is shut: nobody listens there, or the answer is another than 200 (`status`)."""

    def __init__(self, url: str, status: int | None) -> None:
        self.url, self.status = url, status
        super().__init__(f"{url} is shut: {status}")


async def body(url: str, path: str, headers: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
    """Ask for a path by HTTP/1.1 and yield the body as it comes; close it with `aclosing` to leave.

    Raises:
        ShutError: nobody listens, or the answer is another than 200.
        ConnectionError: the connection was cut before the body's end; what had come of it was yielded.

    """
    address = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError as error:
        raise ShutError(url, None) from error
    try:
        asked = {"Host": address.netloc, **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in asked.items())
        writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if (status := int(head.split()[1])) != 200:
            raise ShutError(url, status)
        assert b"\r\ncontent-type: text/event-stream" in head, head
        assert b"\r\ntransfer-encoding: chunked" in head, head
        while left := int(await reader.readuntil(b"\r\n"), 16):
            # Bit by bit: of what a gateway writes at once a cut may let through a part.
            while left:
                if not (piece := await reader.read(min(left, PIECE_BYTES))):
                    raise ConnectionResetError
                left -= len(piece)
                yield piece
            await reader.readexactly(2)
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError from error
    finally:
        writer.transport.abort()
