"""Telling: the watch events that a thread's events cause, each once and in order."""

from datetime import timedelta

from decopilot.contracts.events import Recorded
from decopilot.contracts.watch import THREAD_VISIBILITY
from decopilot.domain.thread import ThreadState
from decopilot.domain.watching import watch_events_of
from decopilot.log.clock import BrokerClock
from decopilot.log.journal import Journal
from decopilot.log.topology import Sizes
from decopilot.log.watchlog import WatchConflictError, WatchLog

MEMORY = timedelta(seconds=Sizes().watch_max_age_s)
"""How long the watch log keeps what was told."""


class Teller:
    """Appends watch events."""

    def __init__(self, journal: Journal, watch: WatchLog, clock: BrokerClock) -> None:
        self._journal = journal
        self._watch = watch
        self._clock = clock

    async def tell(self, recorded: Recorded, state: ThreadState | None = None) -> None:
        """Append what this event causes, and what earlier ones cause that was not told yet.

        `state` is the thread's behind this event, or later: to whom that shows it, they are told. It is looked up where
        there is none any more.
        """
        org, thread = recorded.org, recorded.thread
        if state is None:
            state = (await self._journal.load(org, thread, until=recorded.sequence)).state
        while True:
            position, cause = await self._watch.position(org, thread)
            if cause is not None and cause[0] > recorded.sequence:
                return
            untold = await self._untold(recorded, after=0 if cause is None else cause[0] - 1)
            if cause is None:
                # What is younger than the log's memory and not in it was never told, by an event that overtook it;
                # what is older was told before.
                since = await self._clock.now() - MEMORY
                untold = [event for event in untold if event.at > since or event.sequence == recorded.sequence]
            try:
                for told in untold:
                    for kind, event in watch_events_of(told):
                        if cause is not None and _cause(event.id) <= cause:
                            continue
                        # Who may read it no more is to learn just that.
                        to = None if kind == THREAD_VISIBILITY else state.private_to
                        position = await self._watch.append(org, thread, kind, event, after=position, private_to=to)
            except WatchConflictError:
                continue
            return

    async def _untold(self, recorded: Recorded, *, after: int) -> list[Recorded]:
        # Only up to this event: the view behind later ones may not be written yet.
        known = await self._journal.events(recorded.org, recorded.thread, after=after, until=recorded.sequence)
        return [event for event in known if event.sequence <= recorded.sequence]


def _cause(event_id: str) -> tuple[int, int]:
    sequence, _, ordinal = event_id.partition("-")
    return int(sequence), int(ordinal)
