"""Watch events that a test tells itself."""

from datetime import UTC, datetime

from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.contracts.watch import WatchEvent
from decopilot.log.store import Store
from decopilot.log.watchlog import WatchLog
from support.gateways import ORG


class Teller:
    """Appends watch events, each on a thread of its own."""

    def __init__(self, store: Store, org: str = ORG) -> None:
        self._log = WatchLog(store)
        self._org = OrgId(org)
        self._count = 0

    async def tell(self, kind: str, **data: object) -> str:
        """Append one; returns its cursor."""
        self._count += 1
        thread = ThreadId(f"t{self._count}")
        event = WatchEvent(
            id=f"{self._count}-0", type=f"decopilot.{kind}", subject=thread, data=data, time=datetime.now(UTC)
        )
        return str(await self._log.append(self._org, thread, kind, event, after=0))
