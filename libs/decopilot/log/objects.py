"""Objects: how the broker's object store has things on the wire (NATS ADR-20), so that `nats object ls` reads ours."""

import base64
from datetime import datetime
from typing import NamedTuple, Self

from pydantic import Field

from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, ThreadId, is_id
from decopilot.contracts.messages import Frozen
from decopilot.log.store import Stored

STREAM = subjects.BLOBS_STREAM
CHUNK_BYTES = 128 * 1024
"""What the object store's own clients use: all but an object's last chunk have this size."""
_DIGEST = "SHA-256="


class Place(NamedTuple):
    """Where a blob is: its name in the store is the three ids, and so are the subjects of its chunks.

    What tells of it (its meta) stands on a subject that nobody can filter by thread; its chunks can be.
    """

    org: OrgId
    thread: ThreadId
    blob: str

    @classmethod
    def of(cls, org: OrgId, thread: ThreadId, blob: str) -> Self:
        """Name a place.

        Raises:
            ValueError: the blob's id can't be part of a subject.

        """
        if not is_id(blob):
            msg = f"a blob's id is 1 to 64 of A-Z, a-z, 0-9, _ and -, unlike {blob[:80]!r}"
            raise ValueError(msg)
        return cls(org, thread, blob)

    @property
    def name(self) -> str:
        """The object's name."""
        return "/".join(self)

    @property
    def meta(self) -> str:
        """Subject of what tells of it."""
        return f"$O.{subjects.BLOBS_BUCKET}.M.{base64.urlsafe_b64encode(self.name.encode()).decode()}"

    def chunks(self, writing: str = "*") -> str:
        """Subject of the chunks of one writing of it; without one, filter over those of all."""
        return f"$O.{subjects.BLOBS_BUCKET}.C.{'.'.join(self)}.{writing}"


def chunks_of(org: OrgId, thread: ThreadId) -> str:
    """Filter over the chunks of all blobs of a thread."""
    return f"$O.{subjects.BLOBS_BUCKET}.C.{org}.{thread}.>"


class _Options(Frozen):
    max_chunk_size: int = CHUNK_BYTES


class ObjectInfo(Frozen):
    """What the store says of an object. One that is `deleted` is announced, or erased: there is none to be read."""

    name: str
    bucket: str = subjects.BLOBS_BUCKET
    nuid: str
    size: int = 0
    chunks: int = 0
    digest: str = ""
    mtime: datetime
    deleted: bool = False
    options: _Options = _Options()
    metadata: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def read(cls, stored: Stored) -> Self:
        """Read what stands on a meta subject.

        Raises:
            pydantic.ValidationError: no object store wrote it.

        """
        return cls.model_validate_json(stored.data)

    @property
    def place(self) -> Place:
        """Where it is.

        Raises:
            ValueError: it is none of ours.

        """
        org, thread, blob = self.name.split("/")
        return Place.of(OrgId(org), ThreadId(thread), blob)

    @property
    def writing(self) -> str:
        """Which writing its chunks are of."""
        return self.nuid.rpartition(".")[2]

    @property
    def sequences(self) -> list[int]:
        """Where its chunks are in the stream: what makes reading from the middle as quick as from the start."""
        return [int(sequence) for sequence in self.metadata["sequences"].split()]


def nuid(place: Place, writing: str) -> str:
    """Name a writing as the store does: it is what the subject of its chunks ends with."""
    return f"{'.'.join(place)}.{writing}"


def digest(sha256: bytes) -> str:
    """Tell a digest as the store does."""
    return _DIGEST + base64.urlsafe_b64encode(sha256).decode()


def undigest(text: str) -> bytes:
    """Read a digest."""
    return base64.urlsafe_b64decode(text.removeprefix(_DIGEST))
