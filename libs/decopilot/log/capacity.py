"""Capacity: whether the chunk log has room for new runs."""

import time

from decopilot.contracts import subjects
from decopilot.log.store import Store

NEARLY_FULL = 0.8
FRESH_S = 2.0


class Capacity:
    """Looks at the chunk log's size, at most every two seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looked_at = -FRESH_S
        self._nearly_full = False

    async def is_nearly_full(self) -> bool:
        """Tell whether the chunk log is above 80 % of its bytes: running runs need what is left."""
        if time.monotonic() - self._looked_at >= FRESH_S:
            info = await self._store.js.stream_info(subjects.CHUNKS_STREAM)
            limit = info.config.max_bytes or 0
            self._nearly_full = limit > 0 and info.state.bytes > NEARLY_FULL * limit
            self._looked_at = time.monotonic()
        return self._nearly_full
