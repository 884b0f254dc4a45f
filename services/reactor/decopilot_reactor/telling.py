"""Telling: the watch events that a thread's events cause, each once and in order."""

from decopilot.contracts.events import Recorded
from decopilot.domain.watching import watch_events_of
from decopilot.log.journal import Journal
from decopilot.log.watchlog import WatchConflictError, WatchLog


class Teller:
    """Appends watch events."""

    def __init__(self, journal: Journal, watch: WatchLog) -> None:
        self._journal = journal
        self._watch = watch

    async def tell(self, recorded: Recorded) -> None:
        """Append what this event causes, and what earlier ones cause that was not told yet."""
        org, thread = recorded.org, recorded.thread
        while True:
            position, cause = await self._watch.position(org, thread)
            if cause is None:
                # The watch log keeps an hour; what was told before that is not told again.
                untold = [recorded]
            elif cause[0] > recorded.sequence:
                return
            else:
                # Only up to this event: the view behind later ones may not be written yet.
                known = await self._journal.events(org, thread, after=cause[0] - 1, until=recorded.sequence)
                untold = [event for event in known if event.sequence <= recorded.sequence]
            try:
                for told in untold:
                    for kind, event in watch_events_of(told):
                        if cause is not None and _cause(event.id) <= cause:
                            continue
                        position = await self._watch.append(org, thread, kind, event, after=position)
            except WatchConflictError:
                continue
            return


def _cause(event_id: str) -> tuple[int, int]:
    sequence, _, ordinal = event_id.partition("-")
    return int(sequence), int(ordinal)
