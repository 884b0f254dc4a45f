"""Entering: whether who is attached to a thread may have what comes next of it.

A stream may be open before its thread is begun, and while it becomes private: so the question arises again with each
run, and whenever this gateway hears that somebody has changed who reads a thread. One answer is for all who are there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

from nats.aio.client import Client
from nats.aio.msg import Msg

from decopilot.contracts import subjects
from decopilot.contracts.frames import Frame
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.contracts.watch import THREAD_VISIBILITY
from decopilot.domain.access import Room, may_read
from decopilot.log.blocks import Block
from decopilot.log.feed import Feed
from decopilot.log.journal import Journal
from decopilot.log.store import UNCERTAIN
from decopilot.log.tail import Stretch
from decopilot_gateway.auth import Caller
from decopilot_gateway.following import OddError

StartT = TypeVar("StartT")


class ShutOutError(OddError):
    """What the viewer was let in to is not theirs to read any more."""

    def __init__(self, run: RunId) -> None:
        self.run = run
        super().__init__(f"{run} is not for this viewer any more")


class UnknownRoomError(OddError):
    """It is not known here who may have what comes next."""

    def __init__(self, run: RunId) -> None:
        self.run = run
        super().__init__(f"it is not known who may read {run}")


class Known(NamedTuple):
    """Who may enter a thread, as its log had it once everything up to frame `head` was stored."""

    room: Room | None
    private_to: str | None
    head: int

    def lets_in(self, caller: Caller) -> bool:
        """Tell whether it lets a caller in."""
        return may_read(caller.role, caller.user, self.private_to)


class Gate:
    """What is known of who may enter one thread: `known` is None where that is in doubt."""

    def __init__(self, journal: Journal, org: OrgId, thread: ThreadId) -> None:
        self.known: Known | None = None
        self.doubts = 0
        """How often there was reason to ask anew."""
        self._journal = journal
        self._org = org
        self._thread = thread
        self._asking = asyncio.Lock()
        self._asked = 0
        self._answers: tuple[int, Known | Exception] = (0, TimeoutError())
        """The newest answer, and to which question."""

    async def ask(self, feed: Feed[Frame, Stretch]) -> Known:
        """Ask the log, as of now: where others have come meanwhile, one question that is asked later is for all.

        Raises:
            nats.errors.Error, TimeoutError: the broker does not answer.

        """
        before = self._asked
        async with self._asking:
            if self._answers[0] <= before:
                self._asked += 1
                self._answers = self._asked, await self._look(feed)
            answer = self._answers[1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _look(self, feed: Feed[Frame, Stretch]) -> Known | Exception:
        head, doubts = feed.head, self.doubts
        try:
            state = (await self._journal.load(self._org, self._thread)).state
        except UNCERTAIN as error:
            return error
        known = Known(state.room, state.private_to, head)
        self.known = known if doubts == self.doubts else None
        return known

    def doubt(self) -> None:
        """Hear that something else may hold by now."""
        self.doubts += 1
        self.known = None


class Gates:
    """The gates of the threads that somebody is attached to."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._gates: WeakValueDictionary[tuple[OrgId, ThreadId], Gate] = WeakValueDictionary()

    def at(self, org: OrgId, thread: ThreadId) -> Gate:
        """Share the gate of a thread; it is kept for as long as somebody holds it."""
        gate = self._gates.get((org, thread))
        if gate is None:
            gate = self._gates[org, thread] = Gate(self._journal, org, thread)
        return gate

    def doubt(self) -> None:
        """Ask anew at every gate: something may have gone unheard."""
        for gate in list(self._gates.values()):
            gate.doubt()

    async def listen(self, nc: Client) -> None:
        """Hear of threads that others may read from now on: it is not promised to come, and makes us ask sooner."""

        async def heard(msg: Msg) -> None:
            org, thread, _ = subjects.owner_of(msg.subject)
            if (gate := self._gates.get((org, thread))) is not None:
                gate.doubt()

        await nc.subscribe(subjects.watchtail_of_type(THREAD_VISIBILITY), cb=heard)


class Visit:
    """One caller at a gate: inside, or outside, where nothing shows that there is anything inside.

    Who came before there was a thread, and may not read what was begun then, stays outside and is told nothing. Who was
    let in to a thread that is private by now is sent away, and comes back to none.
    """

    def __init__(self, gate: Gate, caller: Caller) -> None:
        self.is_outside = False
        self.is_settled = caller.role == "owner"
        """Whether they are inside for good: nothing is to be asked any more."""
        self._caller = caller
        self._gate = gate
        self._known: Known | None = None
        self._run: RunId | None = None
        self._was_let_in = False
        """Into a thread that was there."""

    async def begin(
        self,
        feed: Feed[Frame, Stretch],
        locate: Callable[[], Awaitable[StartT]],
        nowhere: Callable[[], Awaitable[StartT]],
    ) -> StartT:
        """Find where the caller's stream begins: as on a thread that there is not, where they may not enter."""
        if self.is_settled:
            return await locate()
        while True:
            doubts = self._gate.doubts
            known = await self.ask(feed)
            if not known.lets_in(self._caller):
                self.is_outside = True
                return await nowhere()
            start = await locate()
            # A thread that was begun meanwhile may have been found, and need not be theirs; nor need one be any more
            # that others were to read.
            if doubts == self._gate.doubts and (known.room is not None or feed.head == known.head):
                self._known, self._was_let_in = known, known.room is not None
                return start

    def goes_on(self, run: RunId | None) -> None:
        """Stand in a run, or before one, as a start says."""
        self._run = run

    async def ask(self, feed: Feed[Frame, Stretch]) -> Known:
        """Ask who may enter.

        Raises:
            nats.errors.Error, TimeoutError: the broker does not answer.

        """
        known = await self._gate.ask(feed)
        self.is_settled = known.room is not None and known.room.owner == self._caller.user
        return known

    def may_have(self, block: Block[Stretch]) -> bool:
        """Tell whether a block is for the caller: asked anew with each run, and where there is doubt.

        Raises:
            UnknownRoomError: it has to be asked.
            ShutOutError: it is not any more.

        """
        known, run = self._gate.known, block.kind.run
        if run == self._run and known is self._known:
            return not self.is_outside
        if known is None or (run != self._run and block.previous >= known.head):
            raise UnknownRoomError(run)
        if not known.lets_in(self._caller):
            if self._was_let_in:
                raise ShutOutError(run)
            self.is_outside = True
        elif run != self._run or not self.is_outside:
            # Whoever is outside in the middle of a run comes in with the next one.
            self.is_outside, self._was_let_in = False, known.room is not None
        self._known, self._run = known, run
        return not self.is_outside
