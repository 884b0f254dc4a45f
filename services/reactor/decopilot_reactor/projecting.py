"""Projecting: the views that a thread's events add up to, messages first, the thread last."""

from decopilot.contracts.events import Recorded
from decopilot.domain.thread import FOLD_VERSION, INITIAL, ThreadState, evolve
from decopilot.log.history import messages_of
from decopilot.log.journal import Journal
from decopilot.log.views import ThreadView, ViewConflictError, Views


class Projector:
    """Writes views."""

    def __init__(self, journal: Journal, views: Views) -> None:
        self._journal = journal
        self._views = views

    async def project(self, recorded: Recorded) -> ThreadState | None:
        """Bring the thread's views up to this event at least; return its state, None for a deleted thread.

        Raises:
            UnknownEventError: a newer version wrote to the log.

        """
        org, thread = recorded.org, recorded.thread
        while True:
            view, revision = await self._views.read_thread(org, thread)
            if view is None and revision and await self._views.is_deleted(org, thread):
                return None
            state, sequence = (INITIAL, 0) if view is None else (view.state, view.sequence)
            if sequence >= recorded.sequence:
                return state
            events = await self._journal.events(org, thread, after=sequence, until=recorded.sequence)
            for newer in events:
                state, sequence = evolve(state, newer.event), newer.sequence
            is_cut_off = sequence < recorded.sequence
            if state.is_deleted or (is_cut_off and await self._views.is_deleted(org, thread)):
                # What a tombstone follows is not shown any more, however much of it is still there.
                await self._views.erase_thread(org, thread)
                return None
            if view is None and await self._views.is_left_to_newer(org, thread, recorded.sequence):
                # It holds more than this version could say, and is not to lose that.
                return state
            for newer in events:
                for message in messages_of(newer):
                    await self._views.write_message(org, thread, message)
            try:
                view = ThreadView(fold_version=FOLD_VERSION, sequence=sequence, state=state)
                await self._views.write_thread(org, thread, view, revision)
            except ViewConflictError:
                continue
            return state
