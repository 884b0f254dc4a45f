"""Leftovers: blobs that nobody will ask for, and what writers left behind that died or were refused."""

from dataclasses import dataclass
from datetime import datetime

from nats.aio.msg import Msg

from decopilot.log.metas import Metas, absent
from decopilot.log.objects import STREAM, ObjectInfo, Place
from decopilot.log.store import Store


@dataclass(frozen=True, slots=True)
class Told:
    """What was said of a blob at some time: that it is there, or (announced, or erased) that it is not."""

    place: Place
    sequence: int
    is_there: bool
    at: datetime


def told(message: Msg) -> Told | None:
    """Read what a consumer was handed; None for an object that is none of ours."""
    delivered = message.metadata
    try:
        info = ObjectInfo.model_validate_json(message.data)
        return Told(info.place, delivered.sequence.stream, not info.deleted, delivered.timestamp)
    except ValueError:
        return None


class Leftovers:
    """Removes them from one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._metas = Metas(store)

    async def drop(self, blob: Told) -> None:
        """Erase a blob, if nothing newer was said of it."""
        there = await self._metas.find(blob.place)
        if there.sequence == blob.sequence and there.info is not None:
            writing = there.info.writing
            if await self._metas.replace(blob.place, absent(blob.place, writing), blob.sequence) is not None:
                await self._metas.purge(blob.place.chunks(writing))

    async def forget(self, blob: Told) -> None:
        """Remove what is left of a blob that is not there, if nothing newer was said of it.

        Whoever wrote when that was said must have stopped by now, and who begins later is not touched: what is removed
        stood there before it was read that nobody had.
        """
        newest = (await self._store.js.stream_info(STREAM)).state.last_seq
        if (await self._metas.find(blob.place)).sequence == blob.sequence:
            await self._metas.purge(blob.place.chunks(), before=newest + 1)
            await self._metas.purge(blob.place.meta, before=blob.sequence + 1)
