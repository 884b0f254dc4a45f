"""Snapshots: a stream as the broker packs it, sequences and all, into a file and back (NATS ADR-10's protocol, raw).

The files are those of `nats stream backup`: `stream.tar.s2`, and `backup.json` with the stream's configuration.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

DATA, ABOUT = "stream.tar.s2", "backup.json"
_CHUNK_BYTES = 128 * 1024
_SILENCE_S = 30.0
"""For so long the broker may have nothing to send, or not take what it is sent."""
_CHECK_S = 600.0
"""For so long it may read a whole stream before it begins: it checks every message, 50 GB from a slow disk."""
_RESTORE_S = 3600.0
"""For so long it may unpack what it was sent."""
_END = "204"


class SnapshotError(Exception):
    """The broker did not hand out, or take, a stream."""

    def __init__(self, stream: str, reason: str) -> None:
        self.stream, self.reason = stream, reason
        super().__init__(f"{stream}: {reason}")


@dataclass(frozen=True, slots=True)
class Packed:
    """A stream in a file: its size, SHA-256 in hexadecimal digits, and the broker's word on its state when it began."""

    size: int
    sha256: str
    state: dict[str, Any]


async def pack(nc: Client, stream: str, folder: Path, *, told: Callable[[int], None] = lambda _: None) -> Packed:
    """Write a stream into a folder that is there; no more than a few chunks are in memory.

    Everything is in it that was stored before the call, and perhaps some of what is stored meanwhile: a beginning of
    it. `told` hears how many bytes have come.

    Raises:
        SnapshotError: the broker refused, gave up, or a chunk was lost on the way.
        nats.errors.Error, TimeoutError, OSError: it does not answer, or the file can't be written.

    """
    inbox, chunks = nc.new_inbox(), asyncio.Queue[Msg]()
    subscription = await nc.subscribe(inbox, cb=chunks.put)
    try:
        request = {"deliver_subject": inbox, "no_consumers": True, "jsck": True, "chunk_size": _CHUNK_BYTES}
        about = await _ask(nc, f"$JS.API.STREAM.SNAPSHOT.{stream}", json.dumps(request).encode(), stream, _SILENCE_S)
        digest, size, count = hashlib.sha256(), 0, 0
        with (folder / DATA).open("wb") as file:
            while True:
                async with asyncio.timeout(_SILENCE_S if count else _CHECK_S):
                    chunk = await chunks.get()
                if not chunk.data:
                    break
                count += 1
                # `….<bytes>.<number>`: the broker counts them; a file with a hole in it is worth nothing.
                if chunk.reply and chunk.reply.rpartition(".")[2] != str(count):
                    raise SnapshotError(stream, f"chunk {count} was lost")
                await asyncio.to_thread(file.write, chunk.data)
                digest.update(chunk.data)
                size += len(chunk.data)
                if chunk.reply:
                    await nc.publish(chunk.reply)
                told(size)
        status = (chunk.headers or {}).get("Status", _END)
        if status != _END:
            raise SnapshotError(stream, f"the broker gave up: {status} {(chunk.headers or {}).get('Description', '')}")
    finally:
        if not nc.is_closed:
            await subscription.unsubscribe()
    kept = {"config": about["config"], "state": about["state"]}
    (folder / ABOUT).write_text(json.dumps(kept, indent=1) + "\n")
    return Packed(size, digest.hexdigest(), about["state"])


async def unpack(
    nc: Client,
    folder: Path,
    stream: str,
    *,
    told: Callable[[int], None] = lambda _: None,
    **config: Any,  # noqa: ANN401  fields of the broker's
) -> dict[str, Any]:
    """Make a stream of a folder, under a name that nothing has; returns its state. `config` changes what it was.

    The stream is there at the end, or not at all.

    Raises:
        SnapshotError: the broker refused it, or what it was sent.
        nats.errors.Error, TimeoutError, OSError: it does not answer, or a file can't be read.

    """
    about = json.loads((folder / ABOUT).read_text())
    request = {"config": about["config"] | {"name": stream} | config, "state": about["state"]}
    begun = await _ask(nc, f"$JS.API.STREAM.RESTORE.{stream}", json.dumps(request).encode(), stream, _SILENCE_S)
    size = 0
    with (folder / DATA).open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            # One at a time: its answer is the flow control.
            await _ask(nc, begun["deliver_subject"], chunk, stream, _SILENCE_S)
            size += len(chunk)
            told(size)
    restored = await _ask(nc, begun["deliver_subject"], b"", stream, _RESTORE_S)
    return dict(restored["state"])


def sha256_of(path: Path) -> str:
    """Tell a file's SHA-256, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _ask(nc: Client, subject: str, body: bytes, stream: str, timeout_s: float) -> dict[str, Any]:
    answer = await nc.request(subject, body, timeout=timeout_s)
    if not answer.data:
        return {}
    try:
        said = json.loads(answer.data)
    except ValueError:
        said = {"error": {"description": answer.data.decode(errors="replace")}}
    if "error" in said:
        raise SnapshotError(stream, str(said["error"].get("description", said["error"])))
    return dict(said)
