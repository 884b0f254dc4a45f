"""What a run that waits for several answers still waits for, once some are there."""

import asyncio
from collections.abc import AsyncGenerator

from decopilot.client import Accepted, Event, History, Interaction, UIMessage
from decopilot.client.waiting import Waiter
from decopilot.contracts.ids import MessageId, RunId, ThreadId

APPROVALS = [
    {"type": f"tool-{name}", "toolCallId": f"c{name}", "state": "approval-requested", "approval": {"id": f"a{name}"}}
    for name in ("pay", "ship")
]
MESSAGE = UIMessage(id=MessageId("answer"), role="assistant", parts=APPROVALS)
ACCEPTED = Accepted(
    thread=ThreadId("t1"), run_id=RunId("r1"), message_id=MessageId("answer"), status="requires_action", cursor="0-0"
)


async def test_what_is_resolved_already_is_not_told_as_pending() -> None:
    left = Interaction(kind="approval", id="aship", tool_call_id="cship", tool_name="ship")

    async def ask() -> Accepted:
        return ACCEPTED

    async def read() -> History:
        return History(messages=(MESSAGE,), cursor="1-0", status="requires_action", pending=(left,))

    waiter = Waiter(ACCEPTED, attach=silence, ask=ask, read=read, on_chunk=None, silence_s=1)
    result = await asyncio.wait_for(waiter.wait(), 5)
    assert ("requires_action", (left,)) == (result.status, result.pending)


async def silence(_cursor: str) -> AsyncGenerator[Event, None]:
    await asyncio.Event().wait()
    yield Event("0-0", {"type": "finish"})
