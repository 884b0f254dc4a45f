"""Changing a thread: wishes that start no run, and get a receipt of what came of them."""

from typing import Literal

import structlog

from decopilot.contracts.commands import (
    ArchiveThread,
    CancelRun,
    DeleteThread,
    Receipt,
    RetitleThread,
    SetVisibility,
    WithdrawMessage,
)
from decopilot.contracts.events import InteractionsDenied
from decopilot.contracts.ids import RunId
from decopilot.domain import commands
from decopilot.domain.commands import Archive, Cancel, Delete, Retitle, Withdraw
from decopilot.domain.thread import ThreadState
from decopilot.log.journal import Executed
from decopilot_command.executing import Executor, Request, wisher
from decopilot_command.waking import Bell

log = structlog.get_logger()


class Changer:
    """Takes wishes that start no run; all raise what `Executor.execute` does."""

    def __init__(self, executor: Executor, bell: Bell) -> None:
        self._executor = executor
        self._bell = bell

    async def cancel(self, request: CancelRun) -> Receipt:
        """Ask for a run's end, take it out of the queue, or drop what it waits for; an ended one stays as it is."""
        executed = await self._executor.execute(request, Cancel(**wisher(request), run_id=request.run_id))
        active = executed.state.active
        if active is not None and request.run_id in {active.run_id, None}:
            # Again, where it was asked for before: whoever drives the run may have missed it.
            await self._bell.ring(request.org, active.run_id)
            receipt = Receipt(thread=request.thread, run_id=active.run_id, status="cancelling")
        else:
            receipt = _without_active(request, executed)
        return _noted(request, receipt, executed)

    async def withdraw(self, request: WithdrawMessage) -> Receipt:
        """Take a queued message back."""
        wish = Withdraw(**wisher(request), message_id=request.message_id)
        executed = await self._executor.execute(request, wish)
        run_id = executed.state.sent[request.message_id].run_id
        return _noted(request, Receipt(thread=request.thread, run_id=run_id, status="withdrawn"), executed)

    async def retitle(self, request: RetitleThread) -> Receipt:
        """Give the thread another title."""
        executed = await self._executor.execute(request, Retitle(**wisher(request), title=request.title))
        return _noted(request, Receipt(thread=request.thread, status="titled"), executed)

    async def archive(self, request: ArchiveThread) -> Receipt:
        """Put the thread aside, or take it back; what runs in it goes on."""
        executed = await self._executor.execute(request, Archive(**wisher(request), archived=request.archived))
        status: Literal["archived", "unarchived"] = "archived" if request.archived else "unarchived"
        return _noted(request, Receipt(thread=request.thread, status=status), executed)

    async def set_visibility(self, request: SetVisibility) -> Receipt:
        """Say who may read the thread."""
        wish = commands.SetVisibility(**wisher(request), visibility=request.visibility)
        executed = await self._executor.execute(request, wish)
        return _noted(request, Receipt(thread=request.thread, status=request.visibility), executed)

    async def delete(self, request: DeleteThread) -> Receipt:
        """Delete the thread; a run that is active in it is ended."""
        executed = await self._executor.execute(request, Delete(**wisher(request)))
        if executed.state.active is not None:
            await self._bell.ring(request.org, executed.state.active.run_id)
        return _noted(request, Receipt(thread=request.thread, status="deleted"), executed)


def _without_active(request: CancelRun, executed: Executed) -> Receipt:
    state, run_id = executed.state, request.run_id
    event = None if executed.appended is None else executed.appended.event
    if isinstance(event, InteractionsDenied):
        return Receipt(thread=request.thread, run_id=event.run_id, status="denied")
    record = None if run_id is None else state.runs.get(run_id)
    if run_id is None or record is None:
        return Receipt(thread=request.thread, run_id=run_id, status="idle")
    # Asked again it is told the same: what waits no more, and was not gone on with, was dropped.
    was_denied = record.status == "requires_action" and not _is_continued(run_id, state)
    return Receipt(thread=request.thread, run_id=run_id, status="denied" if was_denied else record.status)


def _is_continued(run: RunId, state: ThreadState) -> bool:
    return any(settled.run_id == run and settled.continued_by is not None for settled in state.settled.values())


def _noted(request: Request, receipt: Receipt, executed: Executed) -> Receipt:
    log.info(
        "receipt_given",
        org=request.org,
        thread=request.thread,
        run_id=receipt.run_id,
        status=receipt.status,
        repeated=executed.appended is None,
    )
    return receipt
