"""Branching: an earlier message of a thread is gone on from, in its own thread or in a new one."""

import asyncio
import uuid
from dataclasses import replace

import structlog

from decopilot.contracts.commands import Accepted, Forked, ForkThread, RegenerateAnswer
from decopilot.contracts.ids import MessageId
from decopilot.domain.access import check_beginner, check_changer, check_reader
from decopilot.domain.branching import regenerating_run
from decopilot.domain.commands import Fork, RefusedError, Regenerate
from decopilot.domain.thread import INITIAL
from decopilot.kit import telemetry
from decopilot.log.history import Histories, History, left_behind
from decopilot_command.carrying import Carrier
from decopilot_command.choosing import Chooser
from decopilot_command.executing import DEADLINE_S, Executor, accepted, wisher

log = structlog.get_logger()


class Brancher:
    """Takes wishes for other answers and for forks; both raise what `Executor.execute` does."""

    def __init__(self, executor: Executor, chooser: Chooser, histories: Histories, carrier: Carrier) -> None:
        self._executor = executor
        self._chooser = chooser
        self._histories = histories
        self._carrier = carrier

    async def regenerate(self, request: RegenerateAnswer) -> Accepted:
        """Append the run that answers anew, or find the one that does."""
        config, check = self._chooser.choose(request.config, request.role)
        command = Regenerate(
            **wisher(request),
            message_id=request.message_id,
            config=config,
            run_id=request.run_id,
            assistant_id=MessageId(f"msg_{uuid.uuid4().hex}"),
            traceparent=telemetry.inject({}).get("traceparent"),
        )
        executed = await self._executor.execute(request, command, check=check)
        state = executed.state
        run_id = regenerating_run(request.run_id, request.message_id, state)
        if run_id is None:
            msg = f"nobody regenerates {request.message_id}"
            raise ValueError(msg)
        return accepted("regeneration_accepted", request, executed, run_id, state.regenerations[run_id])

    async def fork(self, request: ForkThread) -> Forked:
        """Append the thread that begins as a fork, or find it there."""
        # Before anything is read or copied.
        check_changer(request.role)
        there = await self._executor.state(request)
        check_beginner(there, request.role, request.user, request.thread)
        # Asked again it is found, whatever has become of its source.
        source = None if there.owner is not None else await self._source(request)
        state, messages = (INITIAL, []) if source is None else (source.state, source.messages)
        messages = await self._carrier.carry(request.org, request.source, request.thread, messages)
        command = Fork(
            **wisher(request),
            source=request.source,
            asked_until=request.message_id,
            messages=tuple(messages),
            agent_id=state.agent_id,
            title=state.title,
            visibility=request.visibility or state.visibility,
        )
        executed = await self._executor.execute(request, command)
        forked = executed.state.forked
        if forked is None:
            msg = f"{request.thread} is no fork"
            raise ValueError(msg)
        log.info(
            "fork_accepted",
            org=request.org,
            thread=request.thread,
            source=forked.source,
            repeated=executed.appended is None,
        )
        return Forked(thread=request.thread, source=forked.source, message_id=forked.until)

    async def _source(self, request: ForkThread) -> History:
        """Read what is to be copied: finished messages, which stay as they are, so that nothing guards them.

        Raises:
            RefusedError: to the user there is no such thread, or no such message in it that is finished.

        """
        async with asyncio.timeout(DEADLINE_S):
            history = await self._histories.read(
                request.org,
                request.source,
                check=lambda state: check_reader(state, request.role, request.user),
                show=left_behind,
            )
        active = history.state.active
        # One that is being gone on with is not finished.
        messages = [one for one in history.messages if active is None or one.id != active.requested.assistant_id]
        if request.message_id is None:
            return replace(history, messages=messages)
        for end, message in enumerate(messages, 1):
            if message.id == request.message_id:
                return replace(history, messages=messages[:end])
        raise RefusedError("message_not_found", f"{request.source} has no finished message {request.message_id}.")
