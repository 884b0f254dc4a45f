"""Carrying files over: a fork's messages name files of its own, so that it outlives its source."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

from decopilot.contracts.files import FileRef, file_ref, kept_output
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.contracts.messages import Part, UIMessage
from decopilot.log.blobs import BlobNotFoundError, Blobs

AT_ONCE = 4


class Carrier:
    """Copies the blobs that messages name; asked again, it finds what it has copied."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def carry(
        self, org: OrgId, source: ThreadId, target: ThreadId, messages: Sequence[UIMessage]
    ) -> list[UIMessage]:
        """Return the messages as the target has them, once it has their files; one that is gone stays named as it was.

        Raises:
            TimeoutError, nats.errors.Error: the broker did not take them all.

        """
        named = {blob for message in messages for part in message.parts for blob in _blobs_of(part, org, source)}
        free = asyncio.Semaphore(AT_ONCE)

        async def copied(blob: str) -> str | None:
            async with free:
                with suppress(BlobNotFoundError):
                    if await self._blobs.copy(org, source, target, blob) is not None:
                        return blob
            return None

        copies = {blob for blob in await asyncio.gather(*map(copied, sorted(named))) if blob is not None}
        return [
            message.model_copy(update={"parts": [_named(part, org, source, target, copies) for part in message.parts]})
            for message in messages
        ]


def _blobs_of(part: Part, org: OrgId, thread: ThreadId) -> Iterable[str]:
    """Tell which blobs of the thread a part names: a file, or an output that was too large for it."""
    ref = _file_of(part, org, thread)
    return [blob for blob in (None if ref is None else ref.file, kept_output(part)) if blob is not None]


def _file_of(part: Part, org: OrgId, thread: ThreadId) -> FileRef | None:
    ref = file_ref(part.get("url")) if part.get("type") == "file" else None
    return ref if ref is not None and (ref.org, ref.thread) == (org, thread) else None


def _named(part: Part, org: OrgId, source: ThreadId, target: ThreadId, copies: set[str]) -> Part:
    ref = _file_of(part, org, source)
    if ref is None or ref.file not in copies:
        return part
    return part | {"url": str(part["url"]).replace(ref.path, ref._replace(thread=target).path)}
