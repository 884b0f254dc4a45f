"""Holding a run: whoever drives one answers when asked, so that a slow broker is not taken for a dead runner."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, RunId

ASK_TIMEOUT_S = 0.5


class Holding:
    """Answers for the runs of this process, and asks for those of others."""

    def __init__(self, nc: Client, runner_id: str) -> None:
        self._nc = nc
        self._answer = runner_id.encode()

    @asynccontextmanager
    async def held(self, org: OrgId, run: RunId) -> AsyncIterator[None]:
        """Answer for a run while the context is open."""

        async def answer(msg: Msg) -> None:
            if msg.reply:
                await msg.respond(self._answer)

        subscription = await self._nc.subscribe(subjects.signal(org, run), cb=answer)
        try:
            yield
        finally:
            if not self._nc.is_closed:
                await subscription.unsubscribe()

    async def is_held(self, org: OrgId, run: RunId) -> bool:
        """Ask whether any runner drives the run; half a second of silence is a no."""
        try:
            await self._nc.request(subjects.signal(org, run), b"", timeout=ASK_TIMEOUT_S)
        except (NatsError, TimeoutError):
            return False
        return True
