"""Threads brought forward as runners do it, event by event, where no runner is needed."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from decopilot.contracts.frames import Cursor, Outcome
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.commands import End, Promote
from decopilot.domain.thread import ActiveRun, ThreadState
from decopilot.log.journal import Journal

ENDED_AT = Cursor(7, 3)


def approval(number: int = 1) -> dict[str, Any]:
    """Make the part of a call that asks for approval."""
    return {
        "type": "tool-deploy",
        "toolCallId": f"call_{number}",
        "state": "approval-requested",
        "input": {},
        "approval": {"id": f"approval_{number}"},
    }


def question(number: int = 1) -> dict[str, Any]:
    """Make the part of a call that waits for its output as the answer."""
    return {"type": "dynamic-tool", "toolName": "ask", "toolCallId": f"q_{number}", "state": "input-available"}


@dataclass(frozen=True, slots=True)
class Threads:
    """Brings threads of an org forward."""

    journal: Journal
    org: OrgId

    async def state(self, thread: str) -> ThreadState:
        """Read how a thread stands."""
        return (await self.journal.load(self.org, ThreadId(thread))).state

    async def active(self, thread: str) -> ActiveRun:
        """Read the active run."""
        active = (await self.state(thread)).active
        assert active is not None
        return active

    async def wait(self, thread: str, *parts: dict[str, Any]) -> RunId:
        """End the active run as one that waits for what these parts ask; returns its id."""
        return await self._end(thread, Outcome(status="requires_action", finish_reason="tool-calls"), parts)

    async def complete(self, thread: str, *parts: dict[str, Any]) -> RunId:
        """End the active run with an answer that holds these parts, too; returns its id."""
        return await self._end(thread, Outcome(status="completed", finish_reason="stop"), parts)

    async def fail(self, thread: str, reason: Literal["cancelled", "error"]) -> RunId:
        """End the active run without one; returns its id."""
        return await self._end(thread, Outcome(status="failed", finish_reason="other", reason=reason), ())

    async def promote(self, thread: str) -> None:
        """Let the head of the queue start."""
        await self.journal.execute(self.org, ThreadId(thread), Promote(now=datetime.now(UTC)))

    async def _end(self, thread: str, outcome: Outcome, parts: tuple[dict[str, Any], ...]) -> RunId:
        active = await self.active(thread)
        said = {"type": "text", "text": "Hi.", "state": "done"}
        message = UIMessage(id=active.requested.assistant_id, role="assistant", parts=[said, *parts])
        command = End(
            now=datetime.now(UTC), run_id=active.run_id, attempt=1, outcome=outcome, message=message, end=ENDED_AT
        )
        await self.journal.execute(self.org, ThreadId(thread), command)
        return active.run_id
