"""Metas: what the object store says of each blob, written in the place of what was read, or not at all."""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from nats.js.errors import APIError

from decopilot.log.objects import STREAM, ObjectInfo, Place, nuid
from decopilot.log.store import EXPECTED, UNCERTAIN, Store, Stored, is_conflict, is_passing, patiently

_PAUSE_S = 0.05
_ROLLUP = {"Nats-Rollup": "sub"}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Found:
    """What stands on a meta subject, and where; sequence 0 with nothing."""

    sequence: int
    info: ObjectInfo | None

    @property
    def present(self) -> ObjectInfo | None:
        """What there is to be read, if there is."""
        return None if self.info is None or self.info.deleted else self.info


def absent(place: Place, writing: str) -> ObjectInfo:
    """Say that a blob is not there: announced, or erased."""
    return ObjectInfo(name=place.name, nuid=nuid(place, writing), mtime=datetime.now(UTC), deleted=True)


class Metas:
    """Metas over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, place: Place) -> Found:
        """Read what is said of a blob, from the leader."""
        stored = await self._store.last(STREAM, place.meta)
        return Found(0, None) if stored is None else Found(stored.sequence, ObjectInfo.read(stored))

    async def replace(self, place: Place, info: ObjectInfo, guard: int) -> int | None:
        """Write in the place of a sequence; None where something else stands there. Returns its sequence."""
        body = info.model_dump_json().encode()
        headers = {EXPECTED: str(guard)} | _ROLLUP
        while True:
            try:
                return await self._store.publish(STREAM, place.meta, body, headers)
            except APIError as error:
                if is_conflict(error):
                    return await self._sequence_of(place, body)
                if not is_passing(error):
                    raise
                log.warning("blob_delayed", error=repr(error))
            except UNCERTAIN as error:
                log.warning("blob_uncertain", error=repr(error))
            await asyncio.sleep(_PAUSE_S)

    async def renew(self, place: Place, found: Found) -> ObjectInfo | None:
        """Say of a blob once more that it is there; None where something else is said by now."""
        if found.present is None:
            return None
        renewed = found.present.model_copy(update={"mtime": datetime.now(UTC)})
        return renewed if await self.replace(place, renewed, found.sequence) is not None else None

    async def mark(self, place: Place) -> None:
        """Put a marker in the place of a blob, or of one that is announced."""
        while True:
            there = await self.find(place)
            writing = uuid.uuid4().hex if there.info is None else there.info.writing
            if await self.replace(place, absent(place, writing), there.sequence) is not None:
                return

    async def purge(self, subject: str, *, before: int | None = None) -> None:
        """Remove what stands on subjects of the store."""
        await self._store.js.purge_stream(STREAM, subject=subject, seq=before)

    async def _sequence_of(self, place: Place, body: bytes) -> int | None:
        # One's own, if the answer to it was lost.
        there: Stored | None = await patiently(lambda: self._store.last(STREAM, place.meta))
        return there.sequence if there is not None and there.data == body else None
