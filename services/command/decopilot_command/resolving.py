"""Resolving what a run waits for: once all of it is resolved, another run goes on with the answer."""

import uuid

from decopilot.contracts.commands import Accepted, ResolveInteractions
from decopilot.contracts.events import RunRequested
from decopilot.contracts.ids import MessageId, RunId
from decopilot.domain.commands import Resolve
from decopilot.domain.thread import ThreadState
from decopilot.kit import telemetry
from decopilot.log.journal import Executed
from decopilot_command.choosing import Chooser
from decopilot_command.executing import Executor, accepted, wisher


class Resolver:
    """Takes approvals and answers."""

    def __init__(self, executor: Executor, chooser: Chooser) -> None:
        self._executor = executor
        self._chooser = chooser

    async def resolve(self, request: ResolveInteractions) -> Accepted:
        """Append what is resolved, or find it resolved so; raises what `Executor.execute` does.

        The run that is told is the one that goes on, or the one that waits, where it still does.
        """
        command = Resolve(
            **wisher(request),
            resolutions=request.resolutions,
            run_id=RunId(f"run_{uuid.uuid4().hex}"),
            message_id=request.message_id,
            is_whole_message=request.is_whole_message,
            traceparent=telemetry.inject({}).get("traceparent"),
        )
        executed = await self._executor.execute(request, command, check=self._chooser.check_still)
        run_id, message_id = _told(request, executed)
        return accepted("interactions_accepted", request, executed, run_id, message_id)


def _told(request: ResolveInteractions, executed: Executed) -> tuple[RunId, MessageId]:
    event = None if executed.appended is None else executed.appended.event
    if isinstance(event, RunRequested):
        return event.run_id, event.assistant_id
    keys = {resolution.key for resolution in request.resolutions}
    waiting = executed.state.waiting
    if waiting is not None and any(resolution.key in keys for resolution in waiting.resolved):
        return waiting.run_id, waiting.assistant_id
    return _continuation(keys, request.message_id, executed.state)


def _continuation(keys: set[str], message_id: MessageId | None, state: ThreadState) -> tuple[RunId, MessageId]:
    """Find the run that goes on with what a repeated request resolved; the newest, where it speaks of several."""
    runs = {
        settled.continued_by: settled.message_id
        for key, settled in state.settled.items()
        if key in keys and settled.continued_by is not None and message_id in {settled.message_id, None}
    }
    newest = next(run for run in reversed(state.runs) if run in runs)
    return newest, runs[newest]
