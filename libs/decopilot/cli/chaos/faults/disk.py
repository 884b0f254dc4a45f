"""No more room: the broker's store is filled to the brim, with a stream of ballast, and kept so."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from nats.js.api import StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from decopilot.log.store import UNCERTAIN, Store, patiently

BALLAST = "CHAOS_BALLAST"
_SUBJECT = "chaos.ballast"
LARGEST_BYTES, SMALLEST_BYTES = 1 << 20, 1 << 10
TOP_UP_S = 0.1
AT_ONCE = 16
"""So many messages of ballast are under way, so that a load that writes too leaves it a share."""


class StoreTooLargeError(Exception):
    """It would take too many bytes to fill it: chaos is not to write for minutes, nor to fill a real disk."""

    def __init__(self, free_bytes: int | None, at_most_bytes: int) -> None:
        self.free_bytes, self.at_most_bytes = free_bytes, at_most_bytes
        room = "no limit" if free_bytes is None else f"{free_bytes} free bytes"
        super().__init__(f"the broker's store has {room}; at most {at_most_bytes} are filled. Set a max_file_store.")


@dataclass(slots=True)
class StoreFull:
    """The store at its limit (`max_file_store`): every append is refused, until the ballast goes.

    What is purged meanwhile makes room, as ever; it is filled again. `free_bytes` is what is free, as far as is known.
    """

    store: Store
    free_bytes: int | None
    at_most_bytes: int = 2 << 30
    target: str = "nats"
    kind: str = "store-full"
    _filling: asyncio.Task[None] | None = None
    _full: asyncio.Event = field(default_factory=asyncio.Event)
    _is_over: bool = True

    @property
    def is_begun(self) -> bool:
        """Whether it is filled, or on the way to it."""
        return self._filling is not None

    async def begin(self) -> None:
        """Fill it; returns once nothing fits any more.

        Raises:
            StoreTooLargeError: there is too much room.

        """
        if self.free_bytes is None or self.free_bytes > self.at_most_bytes:
            raise StoreTooLargeError(self.free_bytes, self.at_most_bytes)
        if self._filling is None:
            self._full.clear()
            self._is_over = False
            self._filling = asyncio.create_task(self._keep_full())
            full = asyncio.create_task(self._full.wait())
            try:
                await asyncio.wait([full, self._filling], return_when=asyncio.FIRST_COMPLETED)
            finally:
                full.cancel()
            if self._filling.done():
                self._filling.result()

    async def end(self) -> None:
        """Remove the ballast."""
        # Not by a cancel: a publish that is answered in that moment would lose it.
        self._is_over = True
        if self._filling is not None:
            await asyncio.wait([self._filling])
        await patiently(self._drop)
        self._filling = None

    async def _drop(self) -> None:
        with suppress(NotFoundError):
            await self.store.js.delete_stream(BALLAST)

    async def _keep_full(self) -> None:
        config = StreamConfig(name=BALLAST, subjects=[_SUBJECT], storage=StorageType.FILE)
        await patiently(lambda: self.store.js.add_stream(config))
        while not self._is_over:
            size = LARGEST_BYTES
            while size >= SMALLEST_BYTES and not self._is_over:
                if not all(await asyncio.gather(*(self._fits(size) for _ in range(AT_ONCE)))):
                    size //= 4
            self._full.set()
            await asyncio.sleep(TOP_UP_S)

    async def _fits(self, size: int) -> bool:
        try:
            await self.store.publish(BALLAST, _SUBJECT, bytes(size))
        except ServiceUnavailableError:
            return False
        except APIError:
            raise
        except UNCERTAIN:
            await asyncio.sleep(TOP_UP_S)
        return True
