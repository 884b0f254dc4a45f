"""Files for agents: what a message refers to is read from the store, and nothing is ever asked of another host."""

import structlog

from decopilot.agent import File, ReadFile
from decopilot.contracts.files import file_ref
from decopilot.contracts.ids import OrgId
from decopilot.log.blobs import BlobDamagedError, BlobNotFoundError, Blobs
from decopilot.log.store import patiently

log = structlog.get_logger()


def reading(blobs: Blobs, org: OrgId) -> ReadFile:
    """Read files of an org's threads: the gateway takes no message that refers to one it may not refer to."""

    async def read(url: str, at_most_bytes: int) -> File | None:
        ref = file_ref(url)
        if ref is None or ref.org != org:
            return None
        blob = await patiently(lambda: blobs.info(*ref))
        if blob is None or blob.size > at_most_bytes:
            return None
        try:
            data = await patiently(lambda: blobs.read(*ref))
        except (BlobNotFoundError, BlobDamagedError) as error:
            log.warning("file_not_read", org=org, thread=ref.thread, error=str(error))
            return None
        return File(data, blob.media_type, blob.name)

    return read
