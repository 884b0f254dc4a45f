"""The clock that counts: the broker's, which stamps what is stored, whatever this machine's says."""

import asyncio
import json
from datetime import datetime, timedelta

from decopilot.contracts import subjects
from decopilot.log.store import Store

FRESH_S = 10.0
"""So long a monotonic clock is trusted to go as fast as the broker's."""
ANSWER_S = 2.0


class BrokerClock:
    """Tells the time of the event log's leader, behind by no more than an answer takes, and never ahead.

    What is judged by the age of what is stored is judged by it: a machine whose own clock is wrong by minutes would
    end runs that go on, and purge what is still read.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asking = asyncio.Lock()
        self._told: datetime | None = None
        self._heard_at = 0.0

    async def now(self) -> datetime:
        """Tell the time.

        Raises:
            nats.errors.Error, TimeoutError: the broker does not say.

        """
        async with self._asking:
            clock = asyncio.get_running_loop().time
            if self._told is None or clock() - self._heard_at >= FRESH_S:
                self._told = await self._ask()
                self._heard_at = clock()
            return self._told + timedelta(seconds=clock() - self._heard_at)

    async def age_s(self, at: datetime) -> float:
        """Tell how long ago something was stored; raises as `now` does."""
        return (await self.now() - at).total_seconds()

    async def _ask(self) -> datetime:
        subject = f"$JS.API.STREAM.INFO.{subjects.EVENTS_STREAM}"
        told = json.loads((await self._store.nc.request(subject, timeout=ANSWER_S)).data).get("ts")
        if told is None:
            # It has no leader at the moment, or is not there.
            raise TimeoutError
        return moment(told)


def moment(told: str) -> datetime:
    """Read a time as the broker says it: with nanoseconds, which are more than a datetime takes."""
    head, dot, rest = told.rstrip("Z").partition(".")
    offset = rest.lstrip("0123456789")
    digits = rest[: len(rest) - len(offset)][:6] if dot else ""
    zone = offset or ("+00:00" if told.endswith("Z") else "")
    return datetime.fromisoformat(head + (f".{digits.ljust(6, '0')}" if digits else "") + zone)
