"""Access: what the caller of a request may do with the thread that its path names, as the log has that now."""

from typing import NamedTuple

from aiohttp import web

from decopilot.contracts.ids import ThreadId
from decopilot.domain.access import check_beginner, check_changer, check_reader, may_read
from decopilot.domain.thread import ThreadState
from decopilot.log.journal import Journal
from decopilot_gateway.auth import Caller, Doorman, thread_in_path


class Reader(NamedTuple):
    """A caller that may read a thread, and the thread."""

    caller: Caller
    thread: ThreadId
    state: ThreadState


class Access:
    """Looks up what callers may do; what is hidden from one takes the same questions as what is not there."""

    def __init__(self, doorman: Doorman, journal: Journal) -> None:
        self._doorman = doorman
        self._journal = journal

    async def reader(self, request: web.Request) -> Reader:
        """Tell who asks for which thread, which is there and theirs to read.

        Raises:
            ProblemError: the request is no caller's, or names no thread.
            RefusedError: `thread_not_found`.

        """
        caller, thread = self._doorman.caller(request), thread_in_path(request)
        return Reader(caller, thread, await self.readable(caller, thread))

    async def readable(self, caller: Caller, thread: ThreadId) -> ThreadState:
        """Load a thread that is there and the caller's to read.

        Raises:
            RefusedError: `thread_not_found`.

        """
        state = await self._state(caller, thread)
        check_reader(state, caller.role, caller.user)
        return state

    async def check_writer(self, caller: Caller, thread: ThreadId) -> None:
        """Check that the caller may post to the thread, which may be new.

        Raises:
            RefusedError: as `command` would refuse a message.

        """
        check_changer(caller.role)
        check_beginner(await self._state(caller, thread), caller.role, caller.user, thread)

    async def is_known(self, caller: Caller, thread: ThreadId) -> bool:
        """Tell whether what belongs to a thread, which may not be there yet, is not hidden from the caller."""
        state = await self._state(caller, thread)
        return may_read(caller.role, caller.user, state.private_to)

    async def _state(self, caller: Caller, thread: ThreadId) -> ThreadState:
        return (await self._journal.load(caller.org, thread)).state
