"""Ask a process over HTTP whether it is ready."""

import asyncio
import contextlib
from urllib.parse import urlsplit

from decopilot.cli.logs import clean

TIMEOUT_S = 2.0
MAX_ANSWER_BYTES = 4096
MAX_REASON_CHARS = 300


async def probe(url: str) -> str | None:
    """Return None where `url` answers 200 within two seconds, else why not, for a person to read."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            head, _, body = (await _get(url)).partition(b"\r\n\r\n")
    except TimeoutError:
        return f"no answer from {url} within {TIMEOUT_S:g} s"
    except OSError:
        return f"nothing listens at {url}"
    status = head.split(b"\r\n", 1)[0].split(b" ")[1:2]
    if status == [b"200"]:
        return None
    words = clean(" ".join(body.decode(errors="replace").split()))[:MAX_REASON_CHARS]
    return f"{url} answers {b''.join(status).decode(errors='replace') or 'no HTTP'}: {words}"


async def _get(url: str) -> bytes:
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        # HTTP/1.0: the answer comes unchunked and ends with the connection.
        writer.write(f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
        answer = b""
        while len(answer) < MAX_ANSWER_BYTES and (more := await reader.read(MAX_ANSWER_BYTES)):
            answer += more
        return answer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
