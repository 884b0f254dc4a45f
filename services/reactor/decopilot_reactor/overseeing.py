"""Overseeing: the active run of a thread is ended from outside where its driver does not, or is not to."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import NoReturn, assert_never

import structlog

from decopilot.contracts.events import (
    FailureReason,
    Recorded,
    RunCancelRequested,
    RunHandedBack,
    RunQueued,
    RunRequested,
    RunStarted,
    UnknownEventError,
)
from decopilot.contracts.frames import Frame
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.domain.commands import StaleError
from decopilot.domain.judging import EndAsSealed, Limits, Seal, SealBehind, Times, Verdict, Wait, judge
from decopilot.domain.thread import ThreadState
from decopilot.domain.tracing import asked_in
from decopilot.kit import telemetry
from decopilot.log.chunklog import ChunkLog
from decopilot.log.ending import Attempt, Ender
from decopilot.log.journal import Journal
from decopilot.log.signs import signs_of
from decopilot.log.store import UNCERTAIN
from decopilot_reactor.handling import NotYetError

ENDING_S = 4.0
"""So long an end waits for room in the log, and no longer, because others are to have their turn."""
AGAIN_S = 0.5

log = structlog.get_logger()


class Overseer:
    """Judges active runs, and ends those that are due, `at_once` of them at a time.

    Those who are left over purge what has ended: in a full log nothing else makes room for what is to be ended.
    """

    def __init__(
        self,
        journal: Journal,
        ender: Ender,
        chunks: ChunkLog,
        *,
        limits: Limits,
        may_be_held: Callable[[OrgId, RunId], Awaitable[bool]],
        at_once: int,
    ) -> None:
        self._journal = journal
        self._ender = ender
        self._chunks = chunks
        self._limits = limits
        self._may_be_held = may_be_held
        self._free = asyncio.Semaphore(at_once)

    async def oversee(
        self, org: OrgId, thread: ThreadId, state: ThreadState, events: Iterable[Recorded], *, now: datetime
    ) -> None:
        """End the thread's active run if that is due; `events` are those that tell of it.

        `now` is a moment before they were read: what came since is younger than anything that is due.

        Returns once it has been ended.

        Raises:
            NotYetError: it goes on.

        """
        attempt = Attempt.of(org, thread, state)
        last = await self._chunks.last_of_run(org, thread, attempt.run)
        verdict = await self._verdict(attempt, state, _times(events, attempt.run, last), now)
        if isinstance(verdict, Wait):
            await self._leave(attempt, state, verdict.again_s)
        if self._free.locked():
            raise NotYetError(AGAIN_S)
        try:
            async with self._free:
                with telemetry.span("end run", _about(attempt), headers=asked_in(attempt.requested)):
                    await self._end(attempt, last, verdict)
                    if isinstance(verdict, SealBehind) and verdict.unless_held:
                        await self._tell_lost(attempt, state)
        except StaleError as error:
            # Somebody else has ended it meanwhile.
            raise NotYetError(AGAIN_S) from error

    async def _verdict(self, attempt: Attempt, state: ThreadState, times: Times, now: datetime) -> Verdict:
        verdict = judge(state, times, now, self._limits)
        if not (isinstance(verdict, SealBehind) and verdict.unless_held):
            return verdict
        if not await self._may_be_held(attempt.org, attempt.run):
            return verdict
        held = judge(state, times, now, self._limits, is_held=True)
        # It is lost as soon as nobody answers any more.
        return Wait(min(AGAIN_S, held.again_s)) if isinstance(held, Wait) else held

    async def _leave(self, attempt: Attempt, state: ThreadState, again_s: float) -> NoReturn:
        if state.active is not None and state.active.cancel is not None:
            # Whoever drives it may not have heard.
            await self._ender.wake(attempt.org, attempt.run)
        raise NotYetError(again_s)

    async def _end(self, attempt: Attempt, last: Frame | None, verdict: EndAsSealed | Seal | SealBehind) -> None:
        match verdict:
            case EndAsSealed():
                await self._end_as_sealed(attempt, last)
            case Seal(reason):
                await self._ender.seal(attempt, reason)
                _log_sealed(attempt, reason)
            case SealBehind(reason):
                await self._seal_behind(attempt, last, reason)
            case _:
                assert_never(verdict)

    async def _tell_lost(self, attempt: Attempt, state: ThreadState) -> None:
        """Write the span of an attempt whose runner is gone: no other one will."""
        if not telemetry.is_traced() or state.active is None or state.active.is_let_go:
            return
        with suppress(UnknownEventError, *UNCERTAIN):
            signs = await signs_of(self._journal, self._chunks, attempt)
            if signs is not None:
                telemetry.lost_attempt(signs, headers=asked_in(attempt.requested))

    async def _end_as_sealed(self, attempt: Attempt, closed: Frame | None) -> None:
        if closed is None:
            msg = f"{attempt.run} was judged sealed without a frame"
            raise ValueError(msg)
        await self._ender.end_as_sealed(attempt, closed)

    async def _seal_behind(self, attempt: Attempt, judged: Frame | None, reason: FailureReason) -> None:
        if not await self._ender.seal_behind(attempt, judged, reason):
            # Something was written since: it is judged again.
            raise NotYetError(AGAIN_S)
        _log_sealed(attempt, reason)


def _about(attempt: Attempt) -> dict[str, str | int]:
    return {
        telemetry.ORG: attempt.org,
        telemetry.THREAD: attempt.thread,
        telemetry.RUN: attempt.run,
        telemetry.ATTEMPT: attempt.number,
    }


def _log_sealed(attempt: Attempt, reason: FailureReason) -> None:
    log.info("run_sealed", org=attempt.org, thread=attempt.thread, run_id=attempt.run, reason=reason)


def _times(events: Iterable[Recorded], run: RunId, last: Frame | None) -> Times:
    requested = driven = cancel = None
    for recorded in events:
        match recorded.event:
            case RunRequested(run_id=of) if of == run:
                requested = recorded.at
            case RunStarted(run_id=of) | RunHandedBack(run_id=of) if of == run:
                driven = recorded.at
            case RunCancelRequested(run_id=of) if of == run:
                cancel = cancel or recorded.at
            case RunQueued(supersedes=of) if of == run:
                cancel = cancel or recorded.at
            case _:
                pass
    return Times(
        requested=requested,
        driven=driven,
        cancel=cancel,
        frame=None if last is None else last.stored_at,
        is_sealed=last is not None and last.outcome is not None,
    )
