"""Where agents keep what is too large for their messages: a thread's blobs, once the broker is there."""

from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.log.blobs import Blobs


class Shelf:
    """Blobs for agents, which are loaded before the runner has a broker: what can't be loaded ends it at once."""

    def __init__(self, blobs: Blobs | None = None) -> None:
        self._blobs = blobs

    def stand_on(self, blobs: Blobs) -> None:
        """Begin to hold something."""
        self._blobs = blobs

    async def put(self, org: OrgId, thread: ThreadId, blob: str, data: bytes, *, media_type: str) -> None:
        """Keep it, in the place of what has this id."""
        await self._there().put(org, thread, blob, data, media_type=media_type)

    async def read(self, org: OrgId, thread: ThreadId, blob: str) -> bytes:
        """Read it.

        Raises:
            decopilot.log.blobs.BlobNotFoundError: there is none.

        """
        return await self._there().read(org, thread, blob)

    def _there(self) -> Blobs:
        if self._blobs is None:
            msg = "no run is driven before the broker is there"
            raise RuntimeError(msg)
        return self._blobs
