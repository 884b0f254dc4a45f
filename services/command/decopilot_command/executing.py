"""Executing: what all wishes have in common: who may wish at all, the deadline, and room for what starts a run."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypedDict

import structlog

from decopilot.contracts.commands import (
    Accepted,
    ArchiveThread,
    CancelRun,
    DeleteThread,
    ForkThread,
    RegenerateAnswer,
    ResolveInteractions,
    RetitleThread,
    Role,
    SendMessage,
    SetVisibility,
    WithdrawMessage,
)
from decopilot.contracts.events import Event, RunQueued, RunRequested
from decopilot.contracts.ids import MessageId, RunId, UserId
from decopilot.contracts.messages import RunConfig
from decopilot.domain.access import check_beginner, check_changer, may_begin
from decopilot.domain.commands import Fork, RefusedError, Regenerate, Send, UserCommand
from decopilot.domain.quotas import who_asks
from decopilot.domain.thread import ThreadState
from decopilot.log.capacity import Capacity
from decopilot.log.journal import Executed, Journal
from decopilot_command.giving_up import Tries
from decopilot_command.limiting import Limiter

log = structlog.get_logger()
DEADLINE_S = 4.0

Request = (
    SendMessage
    | RegenerateAnswer
    | ResolveInteractions
    | CancelRun
    | WithdrawMessage
    | RetitleThread
    | ArchiveThread
    | SetVisibility
    | ForkThread
    | DeleteThread
)


class Wisher(TypedDict):
    """Who wishes, and when: what every wish begins with."""

    now: datetime
    user_id: UserId
    role: Role


def wisher(request: Request) -> Wisher:
    """Tell who wishes, now."""
    return Wisher(now=datetime.now(UTC), user_id=request.user, role=request.role)


class Executor:
    """Has wishes decided and appended."""

    def __init__(self, journal: Journal, capacity: Capacity, limiter: Limiter, tries: Tries) -> None:
        self._journal = journal
        self._capacity = capacity
        self._limiter = limiter
        self._tries = tries

    async def execute(
        self, request: Request, command: UserCommand, *, check: Callable[[RunConfig], None] | None = None
    ) -> Executed:
        """Decide and append; what was granted before is found, and nothing appended.

        `check` raises what speaks against a run that would begin; one that is found is as it is.

        Raises:
            RefusedError: the thread's state, the user's rights, the check, a limit or the store speak against it.
            GivenUpError: nothing is to be appended for it any more, and nothing was.
            TimeoutError, nats.errors.Error: unknown whether it was appended; the same request may be sent again.

        """
        check_changer(request.role)
        async with asyncio.timeout(DEADLINE_S), self._limiter.admitting(request.org, request.thread) as admission:
            known = None
            if isinstance(command, Send | Fork) and not may_begin(request.user, request.thread):
                known = await self._journal.load(request.org, request.thread)
                check_beginner(known.state, request.role, request.user, request.thread)
            if isinstance(command, Send | Regenerate):
                admission.begin(who_asks(request.role, request.user), command.run_id)

            async def admit(event: Event) -> None:
                if isinstance(event, RunRequested | RunQueued):
                    if check is not None:
                        check(event.config)
                    if await self._capacity.is_nearly_full():
                        raise RefusedError("storage_full", "The chunk log has no room for new runs at the moment.")
                    await admission.admit(event)
                # The last word before the append, which goes out with no pause behind it.
                self._tries.check()

            executed = await self._journal.execute(request.org, request.thread, command, known=known, before=admit)
            await admission.settle(executed)
            return executed

    async def state(self, request: Request) -> ThreadState:
        """Read how the thread that a request is about stands.

        Raises:
            TimeoutError, nats.errors.Error: the broker does not say.

        """
        async with asyncio.timeout(DEADLINE_S):
            return (await self._journal.load(request.org, request.thread)).state


def accepted(said: str, request: Request, executed: Executed, run_id: RunId, message_id: MessageId) -> Accepted:
    """Make the answer that a run is in the log, and log what was `said` of it."""
    record = executed.state.runs[run_id]
    repeated = executed.appended is None
    log.info(said, org=request.org, thread=request.thread, run_id=run_id, status=record.status, repeated=repeated)
    return Accepted(
        thread=request.thread,
        run_id=run_id,
        message_id=message_id,
        status=record.status,
        cursor=str(record.cursor),
        repeated=repeated,
    )
