"""Projecting: the views that a thread's events add up to, messages first, the thread last."""

from decopilot.contracts.events import Recorded
from decopilot.domain.thread import FOLD_VERSION, INITIAL, evolve
from decopilot.log.history import messages_of
from decopilot.log.journal import Journal
from decopilot.log.views import ThreadView, ViewConflictError, Views


class Projector:
    """Writes views."""

    def __init__(self, journal: Journal, views: Views) -> None:
        self._journal = journal
        self._views = views

    async def project(self, recorded: Recorded) -> None:
        """Bring the thread's views up to this event at least.

        Raises:
            UnknownEventError: a newer version wrote to the log.

        """
        org, thread = recorded.org, recorded.thread
        while True:
            view, revision = await self._views.read_thread(org, thread)
            state, sequence = (INITIAL, 0) if view is None else (view.state, view.sequence)
            if sequence >= recorded.sequence:
                return
            for newer in await self._journal.events(org, thread, after=sequence, until=recorded.sequence):
                state, sequence = evolve(state, newer.event), newer.sequence
                for message in messages_of(newer):
                    await self._views.write_message(org, thread, message)
            try:
                view = ThreadView(fold_version=FOLD_VERSION, sequence=sequence, state=state)
                await self._views.write_thread(org, thread, view, revision)
            except ViewConflictError:
                continue
            return
