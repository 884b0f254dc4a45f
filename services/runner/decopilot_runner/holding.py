"""Holding a run: whoever drives one answers when asked, so that a slow broker is not taken for a dead runner."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client
from nats.aio.msg import Msg

from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, RunId
from decopilot.kit.holding import Gaps, may_be_held


class Holding:
    """Answers for the runs of this process, and asks for those of others."""

    def __init__(self, nc: Client, runner_id: str, gaps: Gaps) -> None:
        self._nc = nc
        self._answer = runner_id.encode()
        self._gaps = gaps
        self._held: set[RunId] = set()

    @asynccontextmanager
    async def held(self, org: OrgId, run: RunId, woken: asyncio.Event) -> AsyncIterator[None]:
        """Answer for a run while the context is open; a signal that is no question sets `woken`."""

        async def answer(msg: Msg) -> None:
            if msg.reply:
                await msg.respond(self._answer)
            else:
                woken.set()

        subscription = await self._nc.subscribe(subjects.signal(org, run), cb=answer)
        self._held.add(run)
        try:
            yield
        finally:
            self._held.discard(run)
            if not self._nc.is_closed:
                await subscription.unsubscribe()

    async def may_be_held(self, org: OrgId, run: RunId) -> bool:
        """Tell whether a runner may still drive the run: it is our own, its runner answers, or nobody can tell."""
        return run in self._held or await may_be_held(self._nc, self._gaps, org, run)
