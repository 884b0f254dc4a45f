"""Placing: the run that a thread has going on keeps its place, and one that has ended gives its own back."""

from decopilot.contracts.events import (
    InteractionsDenied,
    Recorded,
    RunRequested,
    RunWithdrawn,
    Terminal,
    ThreadDeleted,
)
from decopilot.domain.quotas import is_free
from decopilot.log.journal import Journal
from decopilot.log.places import Places

_Told = RunRequested | RunWithdrawn | InteractionsDenied | Terminal | ThreadDeleted
"""What a run's place may depend on."""


class Placer:
    """Keeps places as the log has it."""

    def __init__(self, journal: Journal, places: Places) -> None:
        self._journal = journal
        self._places = places

    async def place(self, recorded: Recorded) -> None:
        """Bring the places of a thread up to the newest of its log, this event at least.

        Events of a thread may be handled at once, by several copies, and again: what was kept is looked at again
        behind the write, so that none is kept that the end of its run was too early to give back.

        Raises:
            UnknownEventError: a newer version writes to the thread; what becomes of its places is that one's to say.

        """
        if not isinstance(recorded.event, _Told):
            return
        org, thread = recorded.org, recorded.thread
        state = (await self._journal.load(org, thread, until=recorded.sequence)).state
        while True:
            active = state.active
            if active is not None:
                await self._places.keep(org, thread, active.requested)
            for place in await self._places.of_thread(org, thread):
                if is_free(place.run, state):
                    await self._places.leave(org, place)
            if active is None:
                return
            state = (await self._journal.load(org, thread, until=recorded.sequence)).state
            if state.active is not None and state.active.run_id == active.run_id:
                return
