"""The watch log: events that an org's stream tells, each once and in order, however late a writer repeats itself."""

from urllib.parse import quote, unquote

from nats.js.errors import APIError

from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.contracts.watch import CAUSE, PRIVATE_TO, WatchEvent
from decopilot.log.store import EXPECTED, EXPECTED_SUBJECT, Store, Stored, is_conflict


class WatchConflictError(Exception):
    """Another writer appended to the thread's watch events first."""


def private_to_of(stored: Stored) -> str | None:
    """Tell whom a watch event is private to; None where it is for all of its org."""
    to = stored.headers.get(PRIVATE_TO)
    return None if to is None else unquote(to)


class WatchLog:
    """Watch events over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def position(self, org: OrgId, thread: ThreadId) -> tuple[int, tuple[int, int] | None]:
        """Read the sequence of the thread's last watch event, and its cause: event sequence and ordinal."""
        last = await self._store.last(subjects.WATCH_STREAM, subjects.watch_of_thread(org, thread))
        if last is None:
            return 0, None
        sequence, _, ordinal = last.headers[CAUSE].partition("-")
        return last.sequence, (int(sequence), int(ordinal))

    async def append(
        self,
        org: OrgId,
        thread: ThreadId,
        kind: str,
        event: WatchEvent,
        *,
        after: int,
        private_to: str | None = None,
    ) -> int:
        """Append behind the thread's watch event of that sequence; returns the new one's.

        One that is private to a user is not for others but the org's owners.

        Raises:
            WatchConflictError: the thread's last watch event is another.

        """
        headers = {
            EXPECTED: str(after),
            EXPECTED_SUBJECT: subjects.watch_of_thread(org, thread),
            CAUSE: event.id,
        }
        if private_to is not None:
            headers[PRIVATE_TO] = quote(private_to, safe="")
        try:
            return await self._store.publish(
                subjects.WATCH_STREAM, subjects.watch(org, thread, kind), event.model_dump_json().encode(), headers
            )
        except APIError as error:
            if is_conflict(error):
                raise WatchConflictError from error
            raise
