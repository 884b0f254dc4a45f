"""Our producer: an agent of one's own, as docs/agents.md says; its message is the work."""

import json
from collections.abc import AsyncIterator

from bench.peers.saying import STEP, Chunk, Work, saying
from decopilot.agent import AgentRequest


async def talk(request: AgentRequest) -> AsyncIterator[Chunk]:
    """Say what is asked for; behind a dead runner, from the first step that was not finished."""
    work: Work = json.loads(request.history[-1].text)
    finished = 0
    if request.partial:
        finished = sum(part["type"] == "step-start" for part in request.partial.parts) - request.in_step
        if request.in_step:
            yield {"type": "finish-step"}
    async for chunk in saying(work, finished * STEP):
        yield chunk
