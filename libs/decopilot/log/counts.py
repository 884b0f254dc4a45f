"""Counts: what was asked for in a minute, counted by the broker (NATS ADR-49), so that all copies count together."""

from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId
from decopilot.log.store import Store

_INCREMENT = "Nats-Incr"


class Counts:
    """Counters over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, org: OrgId, who: str, window: int, more: int = 1) -> int:
        """Count one more of somebody's in a window, or take one back; returns how many that makes.

        Raises:
            nats.errors.Error, TimeoutError, OSError: nobody knows whether it was counted.

        """
        # A counter takes no guard, not even that of the stream's name (2.15.1).
        acked = await self._store.js.publish(subjects.count(org, who, window), headers={_INCREMENT: f"{more:+d}"})
        return int(acked.val or 0)
